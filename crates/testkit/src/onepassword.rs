//! A stand-in for a 1Password Connect server, written from its public OpenAPI document. The vendor's own Python client checks it
//! in a test.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::http::{Answer, Request, Server};

/// The token that may read everything.
pub const TOKEN: &str = "connect-token-of-the-test";

/// A running stand-in.
pub struct Connect {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    vaults: Vec<Vault>,
    denied: bool,
}

struct Vault {
    id: String,
    name: String,
    items: BTreeMap<String, Item>,
}

struct Item {
    id: String,
    version: u64,
    fields: Vec<(String, String)>,
}

impl Connect {
    /// Starts one without vaults.
    pub fn start() -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let server = Server::start(move |request| {
            shared.lock().expect("no holder of this lock panics").answer(request)
        })?;
        Ok(Connect { server, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Refuses every token, or not.
    pub fn deny(&self, denied: bool) {
        self.lock().denied = denied;
    }

    /// Sets a field; makes vault and item where they are missing.
    pub fn set(&self, vault: &str, item: &str, field: &str, value: &str) {
        let mut state = self.lock();
        let item = state.item(vault, item);
        item.version += 1;
        match item.fields.iter_mut().find(|(label, _)| label == field) {
            Some((_, known)) => *known = value.to_owned(),
            None => item.fields.push((field.to_owned(), value.to_owned())),
        }
    }

    /// Removes a field.
    pub fn remove(&self, vault: &str, item: &str, field: &str) {
        let mut state = self.lock();
        let item = state.item(vault, item);
        item.version += 1;
        item.fields.retain(|(label, _)| label != field);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn item(&mut self, vault: &str, title: &str) -> &mut Item {
        let ids = self.vaults.iter().map(|vault| 1 + vault.items.len()).sum::<usize>();
        if !self.vaults.iter().any(|known| known.name == vault) {
            self.vaults.push(Vault { id: id("v", ids), name: vault.to_owned(), items: BTreeMap::new() });
        }
        let vault = self.vaults.iter_mut().find(|known| known.name == vault).expect("it was made");
        let made = || Item { id: id("i", ids + 1), version: 0, fields: vec![] };
        vault.items.entry(title.to_owned()).or_insert_with(made)
    }

    fn answer(&self, request: &Request) -> Answer {
        if self.denied || request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return problem(401, "Invalid token signature");
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let filter = query.split('&').find_map(|part| part.strip_prefix("filter=")).map(decoded);
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let vault = |id: &str| self.vaults.iter().find(|vault| vault.id == id);
        match parts.as_slice() {
            ["vaults"] => {
                let all = self.vaults.iter().filter(|vault| matches(filter.as_deref(), "name", &vault.name));
                ok(&all.map(Vault::json).collect())
            }
            ["vaults", id] => {
                vault(id).map_or_else(|| problem(404, "vault not found"), |vault| ok(&vault.json()))
            }
            ["vaults", id, "items"] => {
                let Some(vault) = vault(id) else { return problem(404, "vault not found") };
                let all = vault.items.iter().filter(|(title, _)| matches(filter.as_deref(), "title", title));
                ok(&all.map(|(title, item)| item.summary(title, &vault.id)).collect())
            }
            ["vaults", id, "items", item] => {
                let found = vault(id).and_then(|vault| {
                    let found = vault.items.iter().find(|(_, known)| known.id == *item);
                    found.map(|(title, item)| item.full(title, &vault.id))
                });
                found.map_or_else(|| problem(404, "item not found"), |item| ok(&item))
            }
            _ => problem(404, "no such route"),
        }
    }
}

impl Vault {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "attributeVersion": 1, "contentVersion": 1, "items": self.items.len(),
            "type": "USER_CREATED", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z",
        })
    }
}

impl Item {
    /// Lists omit values.
    fn summary(&self, title: &str, vault: &str) -> Value {
        json!({
            "id": self.id, "title": title, "vault": { "id": vault }, "category": "API_CREDENTIAL", "version": self.version,
            "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z", "lastEditedBy": "somebody",
        })
    }

    fn full(&self, title: &str, vault: &str) -> Value {
        let field = |(at, (label, value)): (usize, &(String, String))| match label.split_once('.') {
            None => json!({ "id": format!("f{at}"), "type": "CONCEALED", "label": label, "value": value }),
            Some((section, label)) => json!({
                "id": format!("f{at}"), "type": "CONCEALED", "label": label, "value": value,
                "section": { "id": format!("s-{section}") },
            }),
        };
        let sections: Vec<Value> = self
            .fields
            .iter()
            .filter_map(|(label, _)| label.split_once('.'))
            .map(|(section, _)| json!({ "id": format!("s-{section}"), "label": section }))
            .collect();
        let mut item = self.summary(title, vault);
        item["sections"] = sections.into();
        item["fields"] = self.fields.iter().enumerate().map(field).collect();
        item
    }
}

/// 26 digits and lower-case letters.
fn id(kind: &str, number: usize) -> String {
    format!("{kind}{number:025}")
}

fn matches(filter: Option<&str>, attribute: &str, name: &str) -> bool {
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    filter.is_none_or(|filter| filter == format!("{attribute} eq \"{quoted}\""))
}

fn ok(value: &Value) -> Answer {
    (200, value.to_string())
}

fn problem(status: u16, message: &str) -> Answer {
    (status, json!({ "status": status, "message": message }).to_string())
}

/// Percent-decodes a part of a query.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
