//! Grants: the signed permission for one attempt to receive one identity, made at the moment a step is pushed.

use protocol::broker::GrantClaims;
use protocol::id::{AttemptId, Timestamp};
use protocol::step::StepSpec;
use seal::SigningKey;
use seal::grant::{BROKER_AUDIENCE, GrantError, GrantSigner};
use uuid::Uuid;

use super::link::WorkerLink;
use crate::config::GrantKey;
use crate::dispatch::queue::RunMeta;

/// Seconds a grant lives. A worker is pushed only what it starts at once.
const GRANT_SECONDS: i64 = 120;

/// Signs grants.
pub(crate) struct Grants {
    signer: GrantSigner,
    server: String,
}

impl Grants {
    /// Grants of `server`, signed with its key.
    pub(crate) fn new(key: &GrantKey, server: &str) -> Self {
        Grants { signer: GrantSigner::new(SigningKey::from_seed(key.seed())), server: server.to_owned() }
    }

    /// The grant for an attempt of a step with an identity.
    pub(crate) fn sign(
        &self,
        attempt: AttemptId,
        spec: &StepSpec,
        identity: &str,
        meta: &RunMeta,
        worker: &WorkerLink,
        now: Timestamp,
    ) -> Result<String, GrantError> {
        let iat = now.0.div_euclid(1000);
        self.signer.sign(&GrantClaims {
            iss: self.server.clone(),
            aud: BROKER_AUDIENCE.to_owned(),
            jti: Uuid::now_v7().to_string(),
            iat,
            exp: iat + GRANT_SECONDS,
            attempt,
            namespace: meta.namespace.as_ref().to_owned(),
            workflow: meta.workflow.clone(),
            version: meta.version.clone(),
            identity: identity.to_owned(),
            mode: spec.mode.number().to_owned(),
            worker: worker.name.as_ref().to_owned(),
            sandbox: worker.capabilities.sandbox_for(spec).to_owned(),
            image: spec.image().map(str::to_owned),
        })
    }
}
