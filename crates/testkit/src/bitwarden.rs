//! A stand-in for Bitwarden Secrets Manager: identity service and API on one port, with the vendor's encryption. A client of
//! others (PyPI `bws-sdk`) checks it in a test.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aes::Aes256;
use aes::cipher::{BlockEncrypt, KeyInit as _};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit as _, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::http::{Answer, Request, Server};
use crate::onepassword::decoded;

/// The access token of the machine account.
pub const ACCESS_TOKEN: &str =
    "0.ec2c1d46-6a4b-4751-a310-af9601317f2d.C2IgxjjLF7qSshsbwe8JGcbM075YXw:X8vbvA0bduihIDe/qrzIQQ==";
const CLIENT_ID: &str = "ec2c1d46-6a4b-4751-a310-af9601317f2d";
const CLIENT_SECRET: &str = "C2IgxjjLF7qSshsbwe8JGcbM075YXw";
/// The key of [`ACCESS_TOKEN`], derived; as its bytes are fixed, so is this.
const TOKEN_SECRET: &str = "X8vbvA0bduihIDe/qrzIQQ==";
/// The organization.
pub const ORGANIZATION: &str = "f4e44a7f-1190-432a-9d4a-af96013127cb";
/// In the year 2100.
const EXPIRES: i64 = 4_102_444_800;
const TIME: &str = "2026-01-02T00:00:00.0000000Z";

/// A running stand-in.
pub struct Bitwarden {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    organization_key: [u8; 64],
    token_key: [u8; 64],
    bearer: String,
    projects: Vec<(String, String)>,
    secrets: Vec<Secret>,
    /// Feeds initialization vectors and ids.
    made: u64,
    denied: bool,
}

struct Secret {
    id: String,
    project: String,
    key: String,
    value: String,
}

impl Bitwarden {
    /// Starts one without projects.
    pub fn start() -> io::Result<Self> {
        let claims = Base64UrlUnpadded::encode_string(
            json!({ "organization": ORGANIZATION, "exp": EXPIRES }).to_string().as_bytes(),
        );
        let header = Base64UrlUnpadded::encode_string(b"{\"alg\":\"RS256\",\"typ\":\"at+jwt\"}");
        let state = Arc::new(Mutex::new(State {
            organization_key: std::array::from_fn(|at| (at * 7 + 3) as u8),
            token_key: token_key(),
            bearer: format!("{header}.{claims}.c2lnbmF0dXJl"),
            projects: vec![],
            secrets: vec![],
            made: 0,
            denied: false,
        }));
        let shared = state.clone();
        let server = Server::start(move |request| {
            shared.lock().expect("no holder of this lock panics").answer(request)
        })?;
        Ok(Bitwarden { server, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Refuses every login and every token, or not.
    pub fn deny(&self, denied: bool) {
        self.lock().denied = denied;
    }

    /// Sets a secret; makes the project where it is missing.
    pub fn set(&self, project: &str, key: &str, value: &str) {
        let mut state = self.lock();
        let project = state.project(project);
        match state.secrets.iter_mut().find(|secret| secret.project == project && secret.key == key) {
            Some(secret) => secret.value = value.to_owned(),
            None => {
                let id = state.id();
                state.secrets.push(Secret { id, project, key: key.to_owned(), value: value.to_owned() });
            }
        }
    }

    /// Removes a secret.
    pub fn remove(&self, project: &str, key: &str) {
        let mut state = self.lock();
        let project = state.project(project);
        state.secrets.retain(|secret| secret.project != project || secret.key != key);
    }

    /// The id of a secret.
    pub fn id(&self, project: &str, key: &str) -> Option<String> {
        let mut state = self.lock();
        let project = state.project(project);
        let found = state.secrets.iter().find(|secret| secret.project == project && secret.key == key);
        found.map(|secret| secret.id.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn id(&mut self) -> String {
        self.made += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.made)
    }

    fn project(&mut self, name: &str) -> String {
        if let Some((id, _)) = self.projects.iter().find(|(_, known)| known == name) {
            return id.clone();
        }
        let id = self.id();
        self.projects.push((id.clone(), name.to_owned()));
        id
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if parts == ["connect", "token"] {
            return self.log_in(request);
        }
        if self.denied || request.header("authorization") != Some(&format!("Bearer {}", self.bearer)) {
            return (401, String::new());
        }
        match parts.as_slice() {
            ["organizations", ORGANIZATION, "projects"] => {
                let projects: Vec<Value> = self.projects.clone().into_iter().map(|(id, name)| {
                    json!({ "id": id, "organizationId": ORGANIZATION, "name": self.seal(&name), "creationDate": TIME,
                            "revisionDate": TIME, "object": "project" })
                }).collect();
                ok(&json!({ "object": "list", "data": projects, "continuationToken": null }))
            }
            ["projects", id, "secrets"] => {
                if !self.projects.iter().any(|(known, _)| known == id) {
                    return (404, String::new());
                }
                let ids = self.ids(|secret| secret.project == *id);
                let secrets: Vec<Value> = ids.iter().map(|id| self.secret(id, false)).collect();
                ok(&json!({ "object": "SecretsWithProjectsList", "secrets": secrets, "projects": [] }))
            }
            ["secrets", "get-by-ids"] => {
                let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                let asked: Vec<String> = serde_json::from_value(asked["ids"].clone()).unwrap_or_default();
                let known = self.ids(|secret| asked.contains(&secret.id));
                if known.len() != asked.len() {
                    return (404, String::new());
                }
                let secrets: Vec<Value> = asked.iter().map(|id| self.secret(id, true)).collect();
                ok(&json!({ "object": "list", "data": secrets, "continuationToken": null }))
            }
            ["organizations", ORGANIZATION, "secrets", "sync"] => {
                let ids = self.ids(|_| true);
                let secrets: Vec<Value> = ids.iter().map(|id| self.secret(id, true)).collect();
                ok(&json!({ "hasChanges": true, "secrets": { "object": "list", "data": secrets } }))
            }
            ["secrets", id] => match self.ids(|secret| secret.id == *id).as_slice() {
                [id] => ok(&self.secret(id, true)),
                _ => (404, String::new()),
            },
            _ => (404, String::new()),
        }
    }

    fn log_in(&mut self, request: &Request) -> Answer {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let field = |name: &str| {
            body.split('&')
                .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
                .map(decoded)
                .unwrap_or_default()
        };
        let form = request
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let known = field("client_id") == CLIENT_ID && field("client_secret") == CLIENT_SECRET;
        if !form
            || !known
            || field("scope") != "api.secrets"
            || field("grant_type") != "client_credentials"
            || self.denied
        {
            return (400, json!({ "error": "invalid_client" }).to_string());
        }
        let key = Base64::encode_string(&self.organization_key);
        let payload = json!({ "encryptionKey": key }).to_string();
        let vector = self.vector();
        let sealed = seal(&self.token_key, &vector, payload.as_bytes());
        ok(
            &json!({ "access_token": self.bearer, "expires_in": 3600, "token_type": "Bearer", "scope": "api.secrets",
                    "encrypted_payload": sealed }),
        )
    }

    fn ids(&self, which: impl Fn(&Secret) -> bool) -> Vec<String> {
        self.secrets.iter().filter(|secret| which(secret)).map(|secret| secret.id.clone()).collect()
    }

    /// Lists omit values.
    fn secret(&mut self, id: &str, with_value: bool) -> Value {
        let found = self.secrets.iter().find(|secret| secret.id == id).expect("the id is of the list");
        let (project, key, value) = (found.project.clone(), found.key.clone(), found.value.clone());
        let name = self.projects.iter().find(|(id, _)| *id == project).map(|(_, name)| name.clone());
        let project = json!({ "id": project, "name": self.seal(&name.unwrap_or_default()) });
        let mut secret = json!({
            "id": id, "organizationId": ORGANIZATION, "key": self.seal(&key), "creationDate": TIME, "revisionDate": TIME,
            "projects": [project],
        });
        if with_value {
            secret["value"] = self.seal(&value).into();
            secret["note"] = self.seal("").into();
        }
        secret
    }

    fn seal(&mut self, text: &str) -> String {
        let vector = self.vector();
        seal(&self.organization_key, &vector, text.as_bytes())
    }

    fn vector(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut vector = [0x5a; 16];
        vector[..8].copy_from_slice(&self.made.to_be_bytes());
        vector
    }
}

/// HKDF-Expand of HMAC("bitwarden-accesstoken", secret) with the info "sm-access-token".
fn token_key() -> [u8; 64] {
    let secret = Base64::decode_vec(TOKEN_SECRET).expect("it is base64");
    let prk = mac(b"bitwarden-accesstoken", &[&secret]);
    let first = mac(&prk, &[b"sm-access-token", &[1]]);
    let second = mac(&prk, &[&first, b"sm-access-token", &[2]]);
    std::array::from_fn(|at| if at < 32 { first[at] } else { second[at - 32] })
}

/// `2.iv|ciphertext|mac`.
fn seal(key: &[u8; 64], vector: &[u8; 16], plain: &[u8]) -> String {
    let padding = 16 - plain.len() % 16;
    let mut message = [plain, &vec![padding as u8; padding]].concat();
    let cipher = Aes256::new_from_slice(&key[..32]).expect("32 bytes");
    let mut before = *vector;
    for block in message.chunks_exact_mut(16) {
        block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
        cipher.encrypt_block(block.into());
        before.copy_from_slice(block);
    }
    let tag = mac(&key[32..], &[vector, &message]);
    format!("2.{}", [&vector[..], &message, &tag].map(Base64::encode_string).join("|"))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize().into_bytes().into()
}

fn ok(value: &Value) -> Answer {
    (200, value.to_string())
}
