//! One kept connection and one call on it: run a whole workflow and know that it has ended. Alike for every system.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer at most.
const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// How a run is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Where the system listens.
    pub(crate) address: SocketAddr,
    /// Path of the POST.
    pub(crate) path: String,
    /// Headers beside the usual ones; sent on every request of the call.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Body, JSON.
    pub(crate) body: Bytes,
    /// Reads the answer's body; an error where the run did not end well.
    pub(crate) judge: fn(&[u8]) -> Result<Judged>,
}

/// What an answer says of the run.
#[derive(Debug)]
pub(crate) enum Judged {
    /// What was asked for has been done.
    Done,
    /// It goes on: it has ended when the event stream at this path tells of `completed` and ends.
    Follow(String),
}

/// A kept connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // An error of the connection reaches the request that waits for its answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, address })
    }

    /// Makes the call and waits until its run has ended; the body of the first answer.
    pub(crate) async fn run(&mut self, call: &Call) -> Result<Bytes> {
        let request = self.request("POST", &call.path, call).body(Full::new(call.body.clone()))?;
        let answer = whole(self.send(request).await?).await?;
        if let Judged::Follow(path) = (call.judge)(&answer)? {
            let request = self.request("GET", &path, call).body(Full::default())?;
            let events = whole(self.send(request).await?).await?;
            let events = String::from_utf8_lossy(&events);
            if !events.contains(r#""event":"end","state":"completed""#) {
                bail!("the run did not complete: {events}");
            }
        }
        Ok(answer)
    }

    /// The body of an answer to GET.
    pub(crate) async fn read(&mut self, path: &str, call: &Call) -> Result<Bytes> {
        let request = self.request("GET", path, call).body(Full::default())?;
        whole(self.send(request).await?).await
    }

    fn request(&self, method: &str, path: &str, call: &Call) -> hyper::http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        request
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        if !answer.status().is_success() {
            let status = answer.status();
            bail!("{} answers {status}: {}", self.address, String::from_utf8_lossy(&whole(answer).await?));
        }
        Ok(answer)
    }
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES).collect().await;
    Ok(body.map_err(anyhow::Error::from_boxed).context("the answer broke off")?.to_bytes())
}
