//! Between a worker and the guest that is the runtime of an AWS Lambda function: the payload of an invocation, and its answer.
//!
//! The frames of a step do not travel here but over the channel that the guest dials (`seal::channel`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::frame::LayerReport;

/// Version of these messages and of the channel that is dialled.
pub const LAMBDA_VERSION: u16 = 1;
/// Longest payload of ours, bytes; AWS would take 6 MB.
pub const MAX_INVOCATION_BYTES: usize = 16 * 1024;
/// Addresses of a worker that a guest tries, at most.
pub const MAX_ADDRESSES: usize = 8;

/// Types of errors by which the guest answers an invocation.
pub mod error_type {
    /// The execution environment has served a step before.
    pub const REUSED: &str = "Sagewai.Reused";
    /// The invocation is for another tenant than AWS says.
    pub const TENANT: &str = "Sagewai.Tenant";
    /// The payload is not of this version, or malformed.
    pub const REQUEST: &str = "Sagewai.Request";
    /// The worker cannot be reached, or is not the one that invoked.
    pub const UNREACHABLE: &str = "Sagewai.Unreachable";
    /// The guest cannot be set up in this execution environment.
    pub const ISOLATION: &str = "Sagewai.Isolation";
}

/// The payload of an invocation.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Invocation {
    /// Say what you are and what holds here.
    Probe {
        /// [`LAMBDA_VERSION`].
        version: u16,
    },
    /// Dial the worker and serve one step.
    Step(Call),
}

/// How the guest reaches its worker. It has no `Debug`: the token is a secret until it is used.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// [`LAMBDA_VERSION`].
    pub version: u16,
    /// Where the worker listens, in the order to try; 1 to [`MAX_ADDRESSES`].
    pub connect: Vec<SocketAddr>,
    /// Number of the call, 16 bytes in hexadecimal.
    pub call: String,
    /// One-time token of the call, 32 bytes in hexadecimal.
    pub token: String,
    /// The worker's X25519 public key for this call alone, 32 bytes in hexadecimal.
    pub key: String,
    /// The tenant id of the invocation, where the function isolates tenants; AWS must say the same.
    pub tenant: Option<String>,
    /// Whether the operator allows the step the function's network as it is. Otherwise it gets no internet sockets.
    pub open_network: bool,
}

/// What an invocation is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`LAMBDA_VERSION`].
    pub version: u16,
    /// Version of the guest's frame protocol.
    pub frames: u16,
    /// The layers of isolation as the guest found them; empty after a step, whose worker has heard of them already.
    pub layers: Vec<LayerReport>,
}

/// `bytes` in lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(HEX[usize::from(digit)]))
        .collect()
}

/// The bytes of a hexadecimal text of exactly this length.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const HEX: [u8; 16] = *b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_comes_back_and_nothing_else_is_taken() {
        let bytes = [0, 1, 0x7f, 0x80, 0xff];
        assert_eq!(to_hex(&bytes), "00017f80ff");
        assert_eq!(from_hex("00017f80ff"), Some(bytes));
        assert_eq!(from_hex::<5>("00017f80f"), None);
        assert_eq!(from_hex::<5>("00017f80fg"), None);
        assert_eq!(from_hex::<2>("ääää"), None);
    }
}
