//! The channel: the container's attached input and output. The daemon interleaves standard output and error on one
//! connection; here they part again.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use super::trouble::{Trouble, from_bollard};
use crate::Channel;

/// Bytes of what a container says on standard error that are kept: it is for the case that its guest does not start.
const MAX_LAST_WORDS_BYTES: usize = 4096;

/// What a container has said on standard error.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    fn add(&self, words: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_LAST_WORDS_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&words[..words.len().min(room)]);
    }

    pub(super) fn text(&self) -> Option<String> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&words).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// Attaches to a container that has not been started, so that nothing is missed.
pub(super) async fn attach(docker: &Docker, container: &str) -> Result<(Channel, LastWords), Trouble> {
    let options =
        AttachContainerOptionsBuilder::new().stdin(true).stdout(true).stderr(true).stream(true).build();
    let AttachContainerResults { output, input } =
        docker.attach_container(container, Some(options)).await.map_err(from_bollard)?;
    let words = LastWords::default();
    let reader = Output { parts: output, rest: Bytes::new(), words: words.clone() };
    Ok((Channel { reader: Box::pin(reader), writer: input }, words))
}

/// Standard output as bytes.
struct Output {
    parts: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    rest: Bytes,
    words: LastWords,
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.parts.as_mut().poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => {
                    self.rest = message
                }
                Some(Ok(LogOutput::StdErr { message })) => self.words.add(&message),
                Some(Ok(LogOutput::StdIn { .. })) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let bytes = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..bytes]);
        self.rest.advance(bytes);
        Poll::Ready(Ok(()))
    }
}
