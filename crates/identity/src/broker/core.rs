//! The broker without HTTP: the order of checks by which a grant and a guest's key become sealed values.
//!
//! Worker token (enrolled, fresh, bound to this guest key and grant) → grant (signature, life, audience, worker) → single use →
//! policy and revocation → lease, recorded → values of the view → seal → used grant and audit record on disk → answer. What is
//! refused after the worker is known is recorded too, and if it cannot be recorded the answer says so instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use protocol::broker::{
    GrantClaims, KeepRequest, KeepResponse, OpenRequest, OpenResponse, ReleaseRequest, SealedBinding,
};
use protocol::id::AttemptId;
use seal::payload::Kind;
use seal::{PublicKey, SigningKey, sealed, worker_token};

use super::backends::Backends;
use super::journal::{Journal, JournalError};
use super::leases::{Leases, recorded};
use super::problem::Refusal;
use super::single_use::{Taken, UsedGrants, grant_hash};
use super::trust::Trust;
use crate::audit::Event;
use crate::audit::outstanding::Outstanding;
use crate::audit::record::{Asked, KeyVersion, Verdict};
use crate::backend::{BackendError, LeasedPart, Reading, payload_of};
use crate::builtin::BuiltinFile;
use crate::builtin::format::Guard;
use crate::policy::Decision;
use crate::reference::{IdentityRef, Reference};

/// Most grants whose holders are remembered for `revoke`.
pub const MAX_HELD: usize = 100_000;
/// Longest time for all that an identity backend does for one grant, seconds; a worker waits 20 s for the whole answer.
pub const RESOLVE_SECONDS: u64 = 15;

/// The broker's state.
pub struct Broker {
    pub(crate) builtin: Arc<BuiltinFile>,
    pub(crate) backends: Backends,
    pub(crate) leases: Leases,
    pub(crate) trust: RwLock<Trust>,
    pub(crate) journal: Journal,
    used: Arc<Mutex<UsedGrants>>,
    held: Mutex<HashMap<String, Held>>,
    key: SigningKey,
}

/// Who received an identity and has not released it.
struct Held {
    worker: String,
    attempt: AttemptId,
    identity: IdentityRef,
}

/// Everything that was verified about a request before it is decided.
struct Presented<'a> {
    worker: &'a str,
    guest_key: [u8; 32],
    claims: GrantClaims,
}

/// Values ready to be handed out.
struct Granted {
    response: OpenResponse,
    identity: IdentityRef,
    keys: Vec<KeyVersion>,
    leased: Vec<LeasedPart>,
}

impl Broker {
    /// Puts the parts together.
    pub fn new(
        builtin: Arc<BuiltinFile>,
        backends: Backends,
        trust: Trust,
        journal: Journal,
        used: Arc<Mutex<UsedGrants>>,
        key: SigningKey,
    ) -> Self {
        let (leases, held) = (Leases::default(), Mutex::default());
        Broker { builtin, backends, leases, trust: RwLock::new(trust), journal, used, held, key }
    }

    /// Goes on with what a broker before this one left open: its holders, and its leases, which end unless their steps are
    /// heard of.
    pub fn resume(&self, outstanding: Outstanding) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        for (grant, (worker, asked)) in outstanding.held.into_iter().take(MAX_HELD) {
            if let Ok(reference) = self.backends.reference(&asked.identity) {
                held.insert(grant, Held { worker, attempt: asked.attempt, identity: reference.identity });
            }
        }
        for (grant, lease) in outstanding.leases.into_values() {
            self.leases.hold(&grant, lease);
            if !held.contains_key(&grant) {
                self.leases.end(&grant, "swept");
            }
        }
    }

    /// Renews and ends leases until it is dropped.
    pub async fn tend_leases(&self) {
        self.leases.tend(&self.backends, &self.journal).await;
    }

    /// The key that guests check sealed messages with.
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// `POST /v1/open`. `token` is the bearer token; `now_seconds` is since the Unix epoch.
    pub async fn open(
        &self,
        token: &str,
        request: &OpenRequest,
        now_seconds: i64,
    ) -> Result<OpenResponse, Refusal> {
        let guest_key = guest_key(&request.guest_key)?;
        let worker = self.worker_of(token, |token, key_of| {
            worker_token::verify(token, key_of, &guest_key, &request.grant, now_seconds)
        })?;
        let claims = self.trust().grants().verify(&request.grant, now_seconds);
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) => return Err(self.refused(&worker, None, error.into()).await),
        };
        let presented = Presented { worker: &worker, guest_key, claims };
        if let Err(refusal) = self.take(&presented) {
            return Err(self.refused(&worker, Some(&presented.claims), refusal).await);
        }
        let answer = match self.grant(&presented).await {
            Ok(granted) => self.hand_out(&presented, granted).await,
            Err(refusal) => Err(self.refused(&worker, Some(&presented.claims), refusal).await),
        };
        if answer.is_err() {
            self.leases.end(&presented.claims.jti, "refused");
        }
        answer
    }

    /// `POST /v1/keep`: the steps of these grants live. Answers with those that this worker does not hold.
    pub async fn keep(
        &self,
        token: &str,
        request: &KeepRequest,
        now_seconds: i64,
    ) -> Result<KeepResponse, Refusal> {
        let worker = self.worker_of(token, |token, key_of| {
            worker_token::verify_keep(token, key_of, &request.grants, now_seconds)
        })?;
        let held = self.held.lock().expect("no holder of this lock panics");
        let (kept, ended): (Vec<_>, Vec<_>) = request
            .grants
            .iter()
            .partition(|grant| held.get(*grant).is_some_and(|held| held.worker == worker));
        for grant in kept {
            self.leases.heard(grant);
        }
        Ok(KeepResponse { ended: ended.into_iter().cloned().collect() })
    }

    /// `POST /v1/release`: the attempt is over. Releasing twice, or what is not held, changes nothing.
    pub async fn release(
        &self,
        token: &str,
        request: &ReleaseRequest,
        now_seconds: i64,
    ) -> Result<(), Refusal> {
        let worker = self.worker_of(token, |token, key_of| {
            worker_token::verify_release(token, key_of, &request.grant, now_seconds)
        })?;
        let released = {
            let mut held = self.held.lock().expect("no holder of this lock panics");
            let ours = held.get(&request.grant).is_some_and(|held| held.worker == worker);
            ours && held.remove(&request.grant).is_some()
        };
        if released {
            self.leases.end(&request.grant, "released");
            let event = Event::Released { worker, grant: request.grant.clone() };
            self.journal.record(None, event).await.map_err(journal_refusal)?;
        }
        Ok(())
    }

    /// The attempts that received an identity and have not released it, for at most a day.
    pub fn holders(&self, identity: &IdentityRef) -> Vec<AttemptId> {
        let held = self.held.lock().expect("no holder of this lock panics");
        let mut holders: Vec<_> =
            held.values().filter(|held| held.identity == *identity).map(|held| held.attempt).collect();
        holders.sort();
        holders
    }

    /// Takes an identity from all who hold it: leases end at once, and the next sign of life of each of their workers is answered
    /// with the grants whose steps must end.
    pub fn take_from_holders(&self, identity: &IdentityRef) -> Vec<AttemptId> {
        let mut taken = Vec::new();
        self.held.lock().expect("no holder of this lock panics").retain(|grant, held| {
            if held.identity != *identity {
                return true;
            }
            self.leases.end(grant, "revoked");
            taken.push(held.attempt);
            false
        });
        taken.sort();
        taken
    }

    /// A token that does not verify is not audited: anyone could fill the disk with it.
    fn worker_of(
        &self,
        token: &str,
        verify: impl FnOnce(
            &str,
            &dyn Fn(&str) -> Option<PublicKey>,
        ) -> Result<protocol::broker::WorkerClaims, worker_token::WorkerTokenError>,
    ) -> Result<String, Refusal> {
        let trust = self.trust();
        let verified = verify(token, &|name| trust.worker_key(name));
        verified.map(|claims| claims.sub).map_err(Refusal::WorkerToken)
    }

    /// The grant is this worker's, and is used now. Whoever presents it again gets nothing and ends nothing.
    fn take(&self, presented: &Presented<'_>) -> Result<(), Refusal> {
        let claims = &presented.claims;
        if claims.worker != presented.worker {
            return Err(Refusal::OtherWorker);
        }
        let mut used = self.used.lock().expect("no holder of this lock panics");
        used.take(grant_hash(&claims.jti), claims.exp).map_err(|taken| match taken {
            Taken::Before => Refusal::Used,
            Taken::Forgotten => Refusal::Grant(seal::grant::GrantError::Expired),
            Taken::Full => Refusal::Busy,
        })
    }

    async fn grant(&self, presented: &Presented<'_>) -> Result<Granted, Refusal> {
        let claims = &presented.claims;
        let reference = self.backends.reference(&claims.identity)?;
        let guard = self.builtin.guard(&reference.identity);
        let Guard { policy, revoked } = guard.map_err(|_| Refusal::NotFound(claims.identity.clone()))?;
        if revoked.is_some() {
            return Err(Refusal::Revoked);
        }
        if let Decision::Denied { dimension } = policy.decide(claims, &reference) {
            return Err(Refusal::Policy(dimension));
        }
        let reading = self.resolve(presented, &reference).await?;
        self.seal_reading(presented, reference.identity, &reading)
    }

    /// Asks the identity backend. Nothing is read under a lease that is not in the trail.
    async fn resolve(&self, presented: &Presented<'_>, reference: &Reference) -> Result<Reading, Refusal> {
        let unavailable = |error: BackendError| match error {
            BackendError::NotFound(_) => Refusal::NotFound(presented.claims.identity.clone()),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, identity = %reference, "an identity cannot be read");
                Refusal::Unavailable
            }
        };
        let (scheme, path) = (reference.identity.scheme(), reference.identity.path());
        let backend = self.backends.of(scheme).map_err(unavailable)?;
        let reading = async {
            let lease = backend.lease(path).await.map_err(unavailable)?;
            if let Some(lease) = &lease {
                let grant = presented.claims.jti.clone();
                let lease = recorded(scheme, &lease.id, lease.seconds);
                self.leases.hold(&grant, lease.clone());
                let event = Event::Leased { worker: presented.worker.into(), grant, lease };
                self.journal.record(None, event).await.map_err(journal_refusal)?;
            }
            let reading = backend.read(path, reference.view.as_ref(), lease.as_ref()).await;
            let reading = reading.map_err(unavailable)?;
            self.leases.add_parts(&presented.claims.jti, &reading.leased);
            Ok(reading)
        };
        let resolved = tokio::time::timeout(Duration::from_secs(RESOLVE_SECONDS), reading).await;
        resolved.unwrap_or_else(|_| {
            Err(unavailable(BackendError::Slow { store: scheme, seconds: RESOLVE_SECONDS }))
        })
    }

    fn seal_reading(
        &self,
        presented: &Presented<'_>,
        identity: IdentityRef,
        reading: &Reading,
    ) -> Result<Granted, Refusal> {
        let claims = &presented.claims;
        let payload = payload_of(std::slice::from_ref(reading)).map_err(|error| {
            tracing::error!(%error, %identity, "an identity cannot be carried to a step");
            Refusal::Unavailable
        })?;
        let binding =
            SealedBinding { grant: claims.jti.clone(), attempt: claims.attempt, expires: claims.exp };
        let sealed = sealed::seal(&payload, &presented.guest_key, &binding, &self.key)
            .map_err(|_| Refusal::Malformed("`guest_key` is not an X25519 public key"))?;
        let secrets = payload.entries().iter().filter(|entry| entry.kind() == Kind::Secret);
        let names = secrets.map(|entry| entry.name().to_owned()).collect();
        let keys = reading
            .entries
            .iter()
            .map(|entry| KeyVersion { name: entry.info.name.clone(), version: entry.info.version });
        let (keys, leased) = (keys.collect(), reading.leased.clone());
        Ok(Granted { response: OpenResponse { names, sealed }, identity, keys, leased })
    }

    async fn hand_out(&self, presented: &Presented<'_>, granted: Granted) -> Result<OpenResponse, Refusal> {
        let claims = &presented.claims;
        let event = Event::Open {
            decision: Verdict::Sealed,
            reason: "allowed".into(),
            worker: presented.worker.into(),
            grant: Some(Asked::from(claims)),
            keys: granted.keys,
            leased: granted.leased,
        };
        self.hold(claims, granted.identity);
        if let Err(error) = self.journal.record(Some((grant_hash(&claims.jti), claims.exp)), event).await {
            self.held.lock().expect("no holder of this lock panics").remove(&claims.jti);
            return Err(journal_refusal(error));
        }
        Ok(granted.response)
    }

    /// Before the answer, so that a revocation in between finds the holder.
    fn hold(&self, claims: &GrantClaims, identity: IdentityRef) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        if held.len() >= MAX_HELD {
            tracing::warn!(
                limit = MAX_HELD,
                "too many grants are held; a revocation will not name this one's attempt"
            );
            return;
        }
        let holder = Held { worker: claims.worker.clone(), attempt: claims.attempt, identity };
        held.insert(claims.jti.clone(), holder);
    }

    async fn refused(&self, worker: &str, claims: Option<&GrantClaims>, refusal: Refusal) -> Refusal {
        let event = Event::Open {
            decision: Verdict::Refused,
            reason: refusal.code().into(),
            worker: worker.into(),
            grant: claims.map(Asked::from),
            keys: vec![],
            leased: vec![],
        };
        match self.journal.record(None, event).await {
            Ok(_) => refusal,
            Err(error) => journal_refusal(error),
        }
    }

    fn trust(&self) -> std::sync::RwLockReadGuard<'_, Trust> {
        self.trust.read().expect("no holder of this lock panics")
    }
}

fn journal_refusal(error: JournalError) -> Refusal {
    match error {
        JournalError::Busy => Refusal::Busy,
        JournalError::Disk => Refusal::Audit,
    }
}

fn guest_key(text: &str) -> Result<[u8; 32], Refusal> {
    let mut key = [0; 32];
    match Base64UrlUnpadded::decode(text, &mut key) {
        Ok(decoded) if decoded.len() == 32 => Ok(key),
        _ => Err(Refusal::Malformed("`guest_key` must be 32 bytes in base64url without padding")),
    }
}

#[cfg(test)]
mod tests {
    use seal::GuestKey;
    use seal::grant::{BROKER_AUDIENCE, GrantSigner};
    use zeroize::Zeroizing;

    use super::*;
    use crate::audit::AuditLog;
    use crate::broker::single_use::UsedLog;
    use crate::broker::trust::Party;
    use crate::builtin::Expect;
    use crate::builtin::unlock::generate_identity;
    use crate::disk;
    use crate::policy::Policy;

    const NOW: i64 = 1_800_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    /// A broker with one identity; its audit trail may be on a full disk.
    fn broker(folder: &std::path::Path, disk_full: bool) -> Broker {
        let recipients = [generate_identity().1, generate_identity().1];
        let builtin = BuiltinFile::create(folder, &recipients).unwrap();
        let acme = "acme".parse().unwrap();
        builtin.create_identity(&acme, Policy::any()).unwrap();
        let value = Zeroizing::new(b"a secret value".to_vec());
        builtin.set(&acme, &"TOKEN".parse().unwrap(), true, Expect::New, value, 0).unwrap();
        let mut trust = Trust::open(folder).unwrap();
        trust.enrol(Party::Worker, "w", &key(1).public_key().to_string(), 0).unwrap();
        trust.enrol(Party::Server, "s", &key(2).public_key().to_string(), 0).unwrap();
        let mut audit = AuditLog::open(folder, key(3)).unwrap();
        if disk_full {
            audit.fill_disk();
        }
        let (used_log, used) = UsedLog::open(folder).unwrap();
        let used = Arc::new(Mutex::new(used));
        let journal = Journal::start(audit, used_log, used.clone(), || NOW * 1000).unwrap();
        let builtin = Arc::new(builtin);
        let backends = Backends::new(builtin.clone(), vec![], [].into());
        Broker::new(builtin, backends, trust, journal, used, key(3))
    }

    async fn open(broker: &Broker, namespace: &str) -> Result<OpenResponse, Refusal> {
        let (token, request) = asked(namespace, &uuid::Uuid::now_v7().to_string());
        broker.open(&token, &request, NOW).await
    }

    fn asked(namespace: &str, jti: &str) -> (String, OpenRequest) {
        let claims = GrantClaims {
            iss: "s".into(),
            aud: BROKER_AUDIENCE.into(),
            jti: jti.into(),
            iat: NOW,
            exp: NOW + 60,
            attempt: AttemptId {
                run: protocol::id::RunId(uuid::Uuid::from_u128(1)),
                step: protocol::id::StepId(1),
                attempt: 1,
            },
            namespace: namespace.into(),
            workflow: "w".into(),
            version: "1".into(),
            identity: "acme".into(),
            mode: "2".into(),
            worker: "w".into(),
            sandbox: "namespace".into(),
            image: None,
        };
        let guest = GuestKey::generate().unwrap().public_bytes();
        let grant = GrantSigner::new(key(2)).sign(&claims).unwrap();
        let token = worker_token::sign(&key(1), "w", &guest, &grant, NOW);
        let request = OpenRequest { grant, guest_key: Base64UrlUnpadded::encode_string(&guest) };
        (token, request)
    }

    /// Else whoever saw a grant could end the credentials of the step that runs with it.
    #[tokio::test]
    async fn a_grant_that_is_presented_again_ends_no_lease() {
        let folder = disk::test_folder();
        let broker = broker(folder.path(), false);
        let (token, request) = asked("acme", "one");
        broker.open(&token, &request, NOW).await.unwrap();
        let lease = recorded(crate::reference::Scheme::Vault, &crate::backend::LeaseId("l".into()), 60);
        broker.leases.hold("one", lease);
        assert_eq!(broker.open(&token, &request, NOW).await, Err(Refusal::Used));
        assert!(!broker.leases.is_ending("one"));
        broker.leases.end("one", "released");
        assert!(broker.leases.is_ending("one"));
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_not_handed_out() {
        let folder = disk::test_folder();
        let broker = broker(folder.path(), true);
        assert_eq!(open(&broker, "acme").await, Err(Refusal::Audit));
        assert!(broker.holders(&"acme".parse().unwrap()).is_empty());
    }

    /// The record is on disk when the answer is there, not some time later.
    #[tokio::test]
    async fn the_record_is_on_disk_before_the_answer() {
        let folder = disk::test_folder();
        let broker = broker(folder.path(), false);
        let answer = open(&broker, "acme").await.unwrap();
        let bound: SealedBinding = serde_json::from_str(&answer.sealed.bound_text).unwrap();
        let trail = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        assert!(trail.contains(&bound.grant) && trail.contains("\"TOKEN\""));
        let used = std::fs::read_to_string(folder.path().join("grants.used")).unwrap();
        assert!(used.contains(&Base64UrlUnpadded::encode_string(&grant_hash(&bound.grant))));
    }
}
