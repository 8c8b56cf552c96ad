//! A real image registry for tests: Debian's `docker-registry` on loopback, with its data in a folder of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What has to be installed: the registry, and the clients that are not ours.
pub const PACKAGES: [&str; 3] = ["docker-registry", "skopeo", "umoci"];
/// The longest it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A registry that ends when this is dropped.
pub struct Registry {
    address: SocketAddr,
    child: Child,
}

impl Registry {
    /// Starts it; `folder` exists and is its own. Fails where the program is not installed.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let configuration = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            folder.join("data").display()
        );
        let file = folder.join("config.yml");
        std::fs::write(&file, configuration)?;
        let log = std::fs::File::create(folder.join("registry.log"))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut registry = Self { address, child };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = registry.child.try_wait()? {
                return Err(io::Error::other(format!(
                    "docker-registry ended with {status}; see registry.log"
                )));
            }
            if started.elapsed() > START_LIMIT {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "docker-registry does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// `host:port`, for SAGEWAI_TEST_REGISTRY.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
