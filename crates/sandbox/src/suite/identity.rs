//! A sealed identity as a broker would seal it, with a key of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::broker::SealedBinding;
use protocol::id::{AttemptId, StepId};
use seal::payload::{Entry, Kind};
use seal::{Payload, SigningKey};

use super::step::Identity;

/// How long it may be opened, seconds.
const VALID_SECONDS: i64 = 600;

/// Seals secrets to a guest's key, for a step's start.
pub(crate) fn sealed_to(guest: &[u8; 32], secrets: &[(&str, &str)]) -> Result<Identity, String> {
    fn told(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let run = "00000000-0000-7000-8000-000000000001".parse().map_err(told)?;
    let attempt = AttemptId { run, step: StepId(1), attempt: 1 };
    let mut payload = Payload::new();
    for (name, value) in secrets {
        let entry = Entry::environment(Kind::Secret, name, value.as_bytes().to_vec().into()).map_err(told)?;
        payload.push(entry).map_err(told)?;
    }
    let broker = SigningKey::generate().map_err(told)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(told)?.as_secs().cast_signed();
    let binding = SealedBinding { grant: "suite".to_owned(), attempt, expires: now + VALID_SECONDS };
    let sealed = seal::sealed::seal(&payload, guest, &binding, &broker).map_err(told)?;
    let sealed = serde_json::to_string(&sealed).map_err(told)?;
    Ok(Identity { sealed, broker_key: broker.public_key().to_bytes(), attempt })
}
