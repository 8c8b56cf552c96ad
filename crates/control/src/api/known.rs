//! Tokens that were looked up a moment ago, so that a busy client costs no read a request. A token that is revoked here is
//! forgotten at once; one that another server revokes is believed for [`BELIEVED_FOR`] at most.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use store::TokenHash;

use super::access::Caller;

/// Tokens that are kept; with more, all are forgotten.
const MAX_KNOWN: usize = 1024;
/// How long a token is believed without a look.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// The callers that are known.
#[derive(Default)]
pub(super) struct KnownCallers(Mutex<Known>);

#[derive(Default)]
struct Known {
    callers: HashMap<TokenHash, (Caller, Instant)>,
    /// Counts how often all were forgotten.
    epoch: u64,
}

/// When a token was asked for: what is revoked from then on makes the answer old.
#[derive(Clone, Copy)]
pub(super) struct Asked(u64);

impl KnownCallers {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller with this token, if it is believed.
    pub(super) fn find(&self, hash: &TokenHash) -> Option<Caller> {
        let known = self.known();
        let (caller, since) = known.callers.get(hash)?;
        (since.elapsed() < BELIEVED_FOR).then(|| caller.clone())
    }

    /// To be called before the store is asked for a token.
    pub(super) fn ask(&self) -> Asked {
        Asked(self.known().epoch)
    }

    /// What the store answered, unless a token was revoked since it was asked.
    pub(super) fn note(&self, asked: Asked, hash: TokenHash, caller: &Caller) {
        let mut known = self.known();
        if known.epoch != asked.0 {
            return;
        }
        if known.callers.len() >= MAX_KNOWN {
            known.callers.clear();
        }
        known.callers.insert(hash, (caller.clone(), Instant::now()));
    }

    /// A token was revoked.
    pub(super) fn forget_all(&self) {
        let mut known = self.known();
        known.epoch += 1;
        known.callers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::access::Access;
    use super::super::model::Role;
    use super::*;

    fn caller() -> Caller {
        Caller { token_name: "t".to_owned(), access: Access { role: Role::Viewer, namespaces: Vec::new() } }
    }

    #[test]
    fn an_answer_of_before_a_revocation_is_not_believed() {
        let known = KnownCallers::default();
        known.note(known.ask(), [1; 32], &caller());
        assert!(known.find(&[1; 32]).is_some());
        let asked = known.ask();
        known.forget_all();
        assert!(known.find(&[1; 32]).is_none(), "what was known is forgotten");
        known.note(asked, [1; 32], &caller());
        assert!(known.find(&[1; 32]).is_none(), "what was asked before is old");
    }

    #[test]
    fn what_is_known_is_bounded() {
        let known = KnownCallers::default();
        for number in 0..2 * MAX_KNOWN {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            known.note(known.ask(), hash, &caller());
        }
        assert!(known.known().callers.len() <= MAX_KNOWN);
    }
}
