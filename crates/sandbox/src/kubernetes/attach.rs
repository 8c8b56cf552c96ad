//! The channel to a guest: the standard streams of its container over the API's attach, a WebSocket whose messages begin
//! with the number of the stream.
//!
//! Nothing that a container wrote before the attach comes through it, so the worker knocks until the guest answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::{Client, Resource};
use protocol::frame::knock::{self, ENTER, KNOCK_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

use super::pod::STEP_CONTAINER;
use crate::{Channel, SandboxError};

/// Number of the standard input.
const STDIN: u8 = 0;
/// Number of the standard output.
const STDOUT: u8 = 1;
/// Number of what the API says about the attach itself.
const STATUS: u8 = 3;
/// Bytes for the guest that may wait, and the largest message.
const WRITE_BYTES: usize = 64 * 1024;
/// How often an idle connection shows that it is alive, to whatever is in between.
const PING: Duration = Duration::from_secs(25);
/// Pause between two knocks.
const KNOCK: Duration = Duration::from_millis(200);
/// The longest a guest may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Attaches to the guest of a pod that runs.
pub(super) async fn attach(
    client: &Client,
    namespace: &str,
    pod: &str,
    obituary: Obituary,
) -> Result<Attached, kube::Error> {
    let parameters = AttachParams {
        container: Some(STEP_CONTAINER.to_owned()),
        stdin: true,
        stdout: true,
        stderr: false,
        tty: false,
        ..AttachParams::default()
    };
    let requests = kube::core::Request::new(Pod::url_path(&(), Some(namespace)));
    let request = requests.attach(pod, &parameters).map_err(kube::Error::BuildRequest)?;
    let (sink, stream) = client.connect(request).await?.into_stream().split();
    let (writer, from_session) = tokio::io::duplex(WRITE_BYTES);
    let sending = AbortOnDropHandle::new(tokio::spawn(send(sink, from_session)));
    let reader =
        Reader { stream: Box::new(stream), left: Bytes::new(), obituary: Some(obituary), _sending: sending };
    Ok(Attached { reader, writer })
}

/// Why the pod ended, once that is known; asked for when the connection ends.
pub(super) type Obituary = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Both directions, before the guest has answered.
pub(super) struct Attached {
    reader: Reader,
    writer: DuplexStream,
}

impl Attached {
    /// Knocks until the guest answers; from then on frames go over the channel.
    pub(super) async fn enter(mut self) -> Result<Channel, SandboxError> {
        timeout(ANSWER_LIMIT, self.knock()).await.map_err(|_| {
            SandboxError::Create(format!(
                "the guest does not answer through the pod's attach within {ANSWER_LIMIT:?}"
            ))
        })??;
        Ok(Channel { reader: Box::pin(self.reader), writer: Box::pin(self.writer) })
    }

    async fn knock(&mut self) -> Result<(), SandboxError> {
        let broken = |error: io::Error| SandboxError::Ended(Some(error.to_string()));
        let (mut number, mut answer, mut filled) = (0, [0; KNOCK_BYTES], 0);
        loop {
            number += 1;
            self.writer.write_all(&knock::encode(number)).await.map_err(broken)?;
            while let Ok(read) = timeout(KNOCK, self.reader.read(&mut answer[filled..])).await {
                filled += match read.map_err(broken)? {
                    0 => return Err(SandboxError::Ended(None)),
                    bytes => bytes,
                };
                if filled < KNOCK_BYTES {
                    continue;
                }
                filled = 0;
                match knock::decode(&answer) {
                    Some(answered) if answered == number => {
                        return self.writer.write_all(&knock::encode(ENTER)).await.map_err(broken);
                    }
                    Some(answered) if answered < number => {}
                    _ => {
                        return Err(SandboxError::Protocol(
                            "it does not answer a knock as a guest does".to_owned(),
                        ));
                    }
                }
            }
        }
    }
}

type Socket = tokio_tungstenite::WebSocketStream<hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>>;

/// Carries what the session writes to the guest's standard input, until either is gone.
async fn send(mut sink: SplitSink<Socket, Message>, mut from_session: DuplexStream) {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; WRITE_BYTES + 1];
    buffer[0] = STDIN;
    loop {
        let message = tokio::select! {
            read = from_session.read(&mut buffer[1..]) => match read {
                Ok(bytes @ 1..) => Message::Binary(Bytes::copy_from_slice(&buffer[..=bytes])),
                _ => break,
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    // The end of the connection is the end of the guest's input.
    _ = sink.close().await;
}

/// The guest's standard output.
struct Reader {
    stream: Box<SplitStream<Socket>>,
    left: Bytes,
    /// Until the end was told.
    obituary: Option<Obituary>,
    /// Ends the connection together with this.
    _sending: AbortOnDropHandle<()>,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.left.is_empty() {
                let bytes = self.left.len().min(into.remaining());
                into.put_slice(&self.left.split_to(bytes));
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.stream).poll_next(context)) {
                None => return self.poll_end(context),
                Some(Ok(message)) => match read(message)? {
                    Some(bytes) => self.left = bytes,
                    None => continue,
                },
                // A connection that breaks off is an end like any other; the pod's fate tells why.
                Some(Err(_)) => return self.poll_end(context),
            }
        }
    }
}

impl Reader {
    /// Tells why it ended, once.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(obituary) = &mut self.obituary else { return Poll::Ready(Ok(())) };
        let why = ready!(obituary.as_mut().poll(context));
        self.obituary = None;
        let why = why.unwrap_or_else(|| "the connection to its pod was cut".to_owned());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)))
    }
}

/// Output of the guest in a message, if there is any; an error where the API says that the attach failed.
fn read(message: Message) -> io::Result<Option<Bytes>> {
    let Message::Binary(mut bytes) = message else { return Ok(None) };
    if bytes.is_empty() {
        return Ok(None);
    }
    match bytes.get_u8() {
        STDOUT => Ok(Some(bytes)),
        STATUS => match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(status) if status["status"] == "Failure" => {
                let said = status["message"].as_str().unwrap_or("no reason given").to_owned();
                Err(io::Error::other(format!("the attach to its pod failed: {said}")))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_the_number_of_their_stream() {
        let message = |bytes: &'static [u8]| read(Message::Binary(Bytes::from_static(bytes)));
        assert_eq!(message(b"\x01out").unwrap().as_deref(), Some(&b"out"[..]));
        assert_eq!(message(b"\x02err").unwrap(), None);
        assert_eq!(message(b"").unwrap(), None);
        assert_eq!(message(br#"{"#).unwrap(), None);
        assert_eq!(message(b"\x03{\"status\":\"Success\"}").unwrap(), None);
        let failed = message(b"\x03{\"status\":\"Failure\",\"message\":\"no container\"}").unwrap_err();
        assert!(failed.to_string().contains("no container"));
    }
}
