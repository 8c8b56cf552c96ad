//! A TCP proxy on loopback that can break the way to a server: nobody answers, or nothing comes.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Hands everything on.
    Open,
    /// Closes connections as soon as they are made.
    Closed,
    /// Takes what comes and hands nothing on.
    Stalled,
}

/// The proxy. It runs until the process ends.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    way: Way,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// In front of a server.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { way: Way::Open, open: vec![] }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks is what the proxy is for.
                let _ = connect(stream, server, &shared);
            }
        });
        Ok(Proxy { address, state })
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the way for new connections and ends those that are there.
    pub fn set(&self, way: Way) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        state.way = way;
        for stream in state.open.drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn connect(stream: TcpStream, server: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let mut state = state.lock().expect("no holder of this lock panics");
    match state.way {
        Way::Closed => stream.shutdown(Shutdown::Both)?,
        Way::Stalled => state.open.push(stream),
        Way::Open => {
            let onward = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
            state.open.push(stream.try_clone()?);
            copy(stream.try_clone()?, onward.try_clone()?);
            copy(onward, stream);
        }
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
