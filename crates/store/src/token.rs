//! Tokens as they are kept: hashed. The token itself is shown once, when it is made, and stored nowhere.

use protocol::id::Timestamp;

/// SHA-256 of a token's text. Tokens have 256 random bits, so that a plain hash cannot be searched.
pub type TokenHash = [u8; 32];

/// A token of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Public id, unique.
    pub id: String,
    /// Hash of the token.
    pub hash: TokenHash,
    /// What it is for.
    pub name: String,
    /// What it may do; a word of the API.
    pub role: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A token that enrols workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Public id, unique.
    pub id: String,
    /// Hash of the token.
    pub hash: TokenHash,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` means never.
    pub expires_at: Option<Timestamp>,
}
