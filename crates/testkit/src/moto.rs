//! AWS for tests: the server of moto (PyPI `moto[server]`) on a free port of loopback. It checks no authorisation.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::http::ask;
use crate::program::{Program, answers, free_port};

/// Name of the variable that holds the path of the program `moto_server`.
pub const VARIABLE: &str = "SAGEWAI_TEST_MOTO";
/// The region of [`Moto::secrets`].
pub const REGION: &str = "eu-central-1";

/// A running server. Dropping it stops it; it keeps nothing.
pub struct Moto {
    address: SocketAddr,
    _program: Program,
}

impl Moto {
    /// Starts one; `folder` is for its log.
    pub fn start(program: &Path, folder: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut program = Program::start(&mut command, &folder.join("moto.log"))?;
        program.wait_until(|| answers(address))?;
        Ok(Moto { address, _program: program })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An operation of Secrets Manager, such as `CreateSecret`, with a body of JSON; status and body.
    pub fn secrets(&self, operation: &str, body: &str) -> io::Result<(u16, String)> {
        let target = format!("secretsmanager.{operation}");
        let scope = format!("AWS4-HMAC-SHA256 Credential=a/20260101/{REGION}/secretsmanager/aws4_request");
        let headers = [
            ("x-amz-target", target.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            ("authorization", &scope),
        ];
        ask(self.address, "POST", "/", &headers, body)
    }
}
