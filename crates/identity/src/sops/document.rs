//! A SOPS file as a tree in the order of the file, and what it says about its own encryption.

use super::decrypt::SopsError;
use super::{flat, yaml};

/// Most values of a file.
pub(super) const MAX_NODES: usize = 100_000;
/// Deepest nesting.
pub(super) const MAX_DEPTH: usize = 32;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    /// Text, encrypted or not.
    Text(String),
    Int(i128),
    Float(f64),
    Bool(bool),
    Null,
}

/// A file without its metadata, and those.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) tree: Vec<(String, Node)>,
    pub(super) metadata: Metadata,
}

/// What a file says about its encryption.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) mac: String,
    pub(super) last_modified: String,
    pub(super) mac_only_encrypted: bool,
    /// Wrapped data keys: of each group those of age, of which one is enough; several groups hold a part of it each.
    pub(super) age: Vec<Vec<String>>,
    pub(super) shamir_threshold: usize,
}

/// How a file is written, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// YAML, and JSON, which YAML reads.
    Tree,
    Env,
    Ini,
    /// One value, in JSON.
    Binary,
}

impl Form {
    pub(super) fn of(path: &str) -> Self {
        match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("yaml" | "yml" | "json") => Form::Tree,
            Some("env") => Form::Env,
            Some("ini") => Form::Ini,
            _ => Form::Binary,
        }
    }

    /// Parses a file. Errors say the place and hold no value.
    pub(super) fn parse(self, text: &str) -> Result<Document, SopsError> {
        let mut tree = match self {
            Form::Tree | Form::Binary => yaml::parse(text)?,
            Form::Env => flat::parse_env(text)?,
            Form::Ini => flat::parse_ini(text)?,
        };
        let at = tree.iter().position(|(key, _)| key == "sops").ok_or(SopsError::NotSops)?;
        let (_, metadata) = tree.remove(at);
        Ok(Document { tree, metadata: Metadata::of(&metadata)? })
    }
}

impl Metadata {
    fn of(node: &Node) -> Result<Self, SopsError> {
        let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let missing = |what| SopsError::Malformed(format!("its metadata has no `{what}`"));
        let groups = match node.get("key_groups") {
            Some(Node::List(groups)) => groups.iter().map(age_of).collect(),
            _ => vec![age_of(node)],
        };
        let threshold = node.get("shamir_threshold").and_then(Node::number).unwrap_or(0);
        Ok(Metadata {
            mac: text("mac").ok_or_else(|| missing("mac"))?,
            last_modified: text("lastmodified").ok_or_else(|| missing("lastmodified"))?,
            mac_only_encrypted: node.get("mac_only_encrypted").is_some_and(Node::is_true),
            shamir_threshold: if threshold == 0 { groups.len() } else { threshold },
            age: groups,
        })
    }
}

fn age_of(group: &Node) -> Vec<String> {
    match group.get("age") {
        Some(Node::List(keys)) => {
            keys.iter().filter_map(|key| key.get("enc")?.text().map(str::to_owned)).collect()
        }
        _ => vec![],
    }
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Node::Map(members) => members.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<usize> {
        match self {
            Node::Int(number) => usize::try_from(*number).ok(),
            Node::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn is_true(&self) -> bool {
        matches!(self, Node::Bool(true)) || self.text().is_some_and(|text| text == "true")
    }
}
