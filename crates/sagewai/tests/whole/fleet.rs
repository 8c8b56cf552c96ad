//! Two ways to have everything running: `sagewai dev`, and each process by hand as an operator would, with a tap on
//! what the worker sends and receives.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::processes::{children, command_line};
use crate::sagewai::{Cli, Process, wait_for};

/// `sagewai dev` in a folder of its own.
pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) cli: Cli,
    _folder: tempfile::TempDir,
}

impl Dev {
    pub(crate) fn start(flags: &[&str]) -> Dev {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data").display().to_string();
        Self::start_with(folder, &data, flags)
    }

    /// With its data where the test wants it.
    pub(crate) fn start_in(data: &str, flags: &[&str]) -> Dev {
        Self::start_with(tempfile::tempdir().unwrap(), data, flags)
    }

    fn start_with(folder: tempfile::TempDir, data: &str, flags: &[&str]) -> Dev {
        let mut arguments =
            vec!["dev", "--output", "json", "--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"];
        arguments.extend(["--data", data]);
        arguments.extend(flags);
        let process = Process::start(&arguments, &folder.path().join("dev.log"));
        let data = Path::new(data);
        let cli = Cli {
            server: process.text("server"),
            token_file: data.join("cli/token"),
            broker_data: data.join("broker"),
        };
        Dev { process, cli, _folder: folder }
    }

    /// The process of a part: `server`, `broker` or `worker`.
    pub(crate) fn part(&self, name: &str) -> Option<u32> {
        children(self.process.pid())
            .into_iter()
            .find(|pid| command_line(*pid).get(1).is_some_and(|word| word == name))
    }

    /// The worker's spawner.
    pub(crate) fn spawner(&self) -> Option<u32> {
        children(self.part("worker")?).into_iter().next()
    }
}

/// Server, broker and worker, each started and introduced by hand.
pub(crate) struct Fleet {
    pub(crate) server: Process,
    pub(crate) broker: Process,
    pub(crate) worker: Process,
    /// Everything between worker and server, and between worker and broker, both directions.
    pub(crate) wire: Tap,
    pub(crate) cli: Cli,
    pub(crate) folder: tempfile::TempDir,
}

impl Fleet {
    pub(crate) fn start() -> Fleet {
        Self::start_with(&[], &[])
    }

    /// With further flags and environment of the worker.
    pub(crate) fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = |path: PathBuf| path.display().to_string();
        let token = "swt_test-token-for-the-whole";
        std::fs::write(at("token"), token).unwrap();
        restrict(&at("token"));
        let broker = Process::start(
            &[
                "broker",
                "--data",
                &text(at("broker")),
                "--init",
                "--recovery-key-file",
                &text(at("recovery.key")),
                "--ready-line",
                "--listen",
                "127.0.0.1:0",
            ],
            &at("broker.log"),
        );
        let server = Process::start(
            &[
                "server",
                "--data",
                &text(at("server")),
                "--admin-token-sha256",
                &sha256_hex(token),
                "--ready-line",
                "--listen",
                "127.0.0.1:0",
            ],
            &at("server.log"),
        );
        let cli = Cli {
            server: format!("http://{}", server.text("listen")),
            token_file: at("token"),
            broker_data: at("broker"),
        };
        cli.ok(&["identity", "server", "trust", "sagewai", &format!("@{}", text(at("server/grant.pub")))]);
        let join = cli.ok(&["workers", "join-token", "create", "test"]);
        std::fs::write(at("join"), join["secret"].as_str().expect("a join token")).unwrap();
        restrict(&at("join"));
        let worker_data = text(at("worker"));
        let key = cli.call(&["worker", "--data", &worker_data, "--show-key"]);
        let key = String::from_utf8(key.stdout).unwrap();
        cli.ok(&["identity", "worker", "trust", "w1", key.trim()]);
        let wire = Tap::default();
        let to_server = wire.clone().in_front_of(&server.text("listen"));
        let to_broker = wire.clone().in_front_of(&broker.text("listen"));
        let key = broker.text("key");
        let join = text(at("join"));
        let mut arguments = vec!["worker", "--name", "w1", "--data", &worker_data, "--server", &to_server];
        arguments.extend(["--broker", &to_broker, "--broker-key", &key, "--join-token-file", &join]);
        arguments.extend(flags);
        let worker = Process::start_silent(&arguments, environment, &at("worker.log"));
        wait_for("the worker", || cli.ok(&["workers", "list"]).to_string().contains("\"w1\"").then_some(()));
        Fleet { server, broker, worker, wire, cli, folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Passes connections on and keeps all bytes.
#[derive(Clone, Default)]
pub(crate) struct Tap {
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Gives the URL of a port in front of `address`.
    fn in_front_of(self, address: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let address = address.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&address) else { continue };
                self.pump(client.try_clone().unwrap(), server.try_clone().unwrap());
                self.pump(server, client);
            }
        });
        url
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let seen = self.seen.clone();
        std::thread::spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            while let Ok(read) = from.read(&mut piece) {
                if read == 0 || to.write_all(&piece[..read]).is_err() {
                    break;
                }
                seen.lock().unwrap().extend_from_slice(&piece[..read]);
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn sha256_hex(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
