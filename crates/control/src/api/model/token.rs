//! Tokens of the API, join tokens, and what a caller may learn of itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What a token may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Submit and control runs, publish workflows.
    Operator,
    /// Also tokens and workers.
    Admin,
}

impl Role {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Role> {
        [Role::Viewer, Role::Operator, Role::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Namespaces it may see; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A token as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Public id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Namespaces it may see; empty means all.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// When it was made.
    pub created: Time,
}

/// A token just made. Its text is in no other answer, and the server keeps a hash only.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// What lists show.
    pub token: Token,
    /// The text to send as `Authorization: Bearer`.
    pub secret: String,
}

/// A token that enrols workers, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    /// Public id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created: Time,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

/// A join token to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateJoinToken {
    /// What it is for.
    pub name: String,
    /// Seconds it lives; an hour if absent, at most 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

/// A join token just made. It is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedJoinToken {
    /// What lists show.
    pub token: JoinToken,
    /// The text that a worker enrols with.
    pub secret: String,
}

/// The server, and what it takes the caller for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Version of the server's program.
    pub version: String,
    /// Version of the API.
    pub api: String,
    /// Name of the caller's token.
    pub token: String,
    /// Role of the caller's token.
    pub role: Role,
    /// Namespaces the caller may see; empty means all.
    pub namespaces: Vec<String>,
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
