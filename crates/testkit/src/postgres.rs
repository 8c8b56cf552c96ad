//! PostgreSQL for tests: a cluster of its own in a folder, on a free port of loopback, as the user `postgres` where the test is
//! root.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Program, answers, free_port, output};

/// Name of the superuser.
pub const SUPERUSER: &str = "postgres";
/// Its password.
pub const PASSWORD: &str = "superuser-of-the-test";

/// A running cluster. Dropping it stops it.
pub struct Postgres {
    address: SocketAddr,
    _program: Program,
}

impl Postgres {
    /// Makes a cluster in `folder` and starts it. Needs `initdb`, `postgres` and `psql` on the path or where Debian puts them.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let user = unprivileged()?;
        let data = folder.join("postgres");
        std::fs::create_dir_all(&data)?;
        let password = folder.join("postgres.password");
        std::fs::write(&password, PASSWORD)?;
        if let Some((uid, gid)) = user {
            for path in [folder, &data, &password] {
                chown(path, Some(uid), Some(gid))?;
            }
        }
        let as_user = |program: &str| {
            let mut command = Command::new(find(program));
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command.current_dir(&data);
            command
        };
        let mut initdb = as_user("initdb");
        initdb.args([
            "--no-sync",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--username",
            SUPERUSER,
            "--pgdata",
        ]);
        output(initdb.arg(&data).arg(format!("--pwfile={}", password.display())))?;
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = as_user("postgres");
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F"]);
        server.args(["-c", "max_connections=300"]);
        let mut program = Program::start(&mut server, &folder.join("postgres.log"))?;
        program.wait_until(|| answers(address))?;
        let postgres = Postgres { address, _program: program };
        // It listens a moment before it lets anybody in.
        for _ in 0..500 {
            if postgres.query("select 1").is_ok() {
                return Ok(postgres);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Err(io::Error::other("PostgreSQL lets nobody in"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs SQL as the superuser; rows without decoration.
    pub fn query(&self, sql: &str) -> io::Result<String> {
        self.query_as(SUPERUSER, PASSWORD, sql)
    }

    /// Runs SQL as somebody.
    pub fn query_as(&self, user: &str, password: &str, sql: &str) -> io::Result<String> {
        let mut psql = Command::new(find("psql"));
        psql.args([
            "-XAtq",
            "-h",
            "127.0.0.1",
            "-p",
            &self.address.port().to_string(),
            "-U",
            user,
            "-d",
            "postgres",
        ]);
        Ok(output(psql.args(["-c", sql]).env("PGPASSWORD", password))?.trim().to_owned())
    }
}

/// The user that a root process runs the server as, since the server refuses root.
fn unprivileged() -> io::Result<Option<(u32, u32)>> {
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(None);
    }
    let id = |flag: &str| output(Command::new("id").args([flag, "postgres"]));
    match (id("-u"), id("-g")) {
        (Ok(uid), Ok(gid)) => Ok(uid.trim().parse().ok().zip(gid.trim().parse().ok())),
        // `nobody` of every Linux.
        _ => Ok(Some((65534, 65534))),
    }
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = (11..=18).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let mut folders = std::env::split_paths(&path).chain(debian);
    let found = folders.find(|folder| folder.join(program).is_file());
    found.map_or_else(|| program.into(), |folder| folder.join(program))
}
