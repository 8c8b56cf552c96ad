//! Leases that the broker holds for running steps: renewed while their worker says that the step lives, ended when it is over,
//! when nothing was heard, and when what a broker before this one left behind is swept. A lease is in the audit trail before
//! anything is read under it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::backends::Backends;
use super::journal::Journal;
use crate::audit::Event;
use crate::backend::{BackendError, LeaseId, Leased, LeasedPart};
use crate::reference::Scheme;

/// For how long a step counts as alive after it was heard of, seconds. A worker says so several times as often.
pub const HEARD_SECONDS: u64 = 30;
/// Most leases that are renewed or ended at once.
pub const MAX_AT_ONCE: usize = 32;
/// Pause before a failed renewal or end is tried again, seconds; it doubles up to [`MAX_RETRY_SECONDS`].
pub const RETRY_SECONDS: u64 = 1;
/// Longest such pause, seconds.
pub const MAX_RETRY_SECONDS: u64 = 30;
/// After how many tries a lease that cannot be ended is left to its own end, which the audit trail then says.
pub const MAX_END_TRIES: u32 = 20;

/// The leases; cheap to clone.
#[derive(Clone, Default)]
pub struct Leases {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    by_grant: Mutex<HashMap<String, Held>>,
    changed: Notify,
}

struct Held {
    lease: Leased,
    heard: Instant,
    due: Instant,
    tries: u32,
    ending: Option<&'static str>,
    /// Somebody renews or ends it at this moment.
    busy: bool,
}

/// What is to be done about one lease.
struct Task {
    grant: String,
    lease: Leased,
    ending: Option<&'static str>,
    tries: u32,
}

impl Leases {
    /// Holds a lease for a grant; it counts as heard of now.
    pub fn hold(&self, grant: &str, lease: Leased) {
        let now = Instant::now();
        let held = Held { due: renewal(now, &lease), lease, heard: now, tries: 0, ending: None, busy: false };
        self.lock().insert(grant.to_owned(), held);
        self.inner.changed.notify_one();
    }

    /// Adds what was read under a grant's lease.
    pub fn add_parts(&self, grant: &str, parts: &[LeasedPart]) {
        if let Some(held) = self.lock().get_mut(grant) {
            held.lease.parts.extend_from_slice(parts);
            held.due = renewal(Instant::now(), &held.lease);
        }
        self.inner.changed.notify_one();
    }

    /// A grant's step lives.
    pub fn heard(&self, grant: &str) {
        if let Some(held) = self.lock().get_mut(grant) {
            held.heard = Instant::now();
        }
    }

    /// A grant is over: its lease is ended as soon as the store can be asked.
    pub fn end(&self, grant: &str, why: &'static str) {
        if let Some(held) = self.lock().get_mut(grant)
            && held.ending.is_none()
        {
            (held.ending, held.due, held.tries) = (Some(why), Instant::now(), 0);
        }
        self.inner.changed.notify_one();
    }

    /// Whether a grant's lease is being ended.
    pub fn is_ending(&self, grant: &str) -> bool {
        self.lock().get(grant).is_some_and(|held| held.ending.is_some())
    }

    /// How many leases are held or being ended.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Renews and ends leases until the caller drops it.
    pub async fn tend(&self, backends: &Backends, journal: &Journal) {
        let mut working: JoinSet<(Task, Result<u64, BackendError>)> = JoinSet::new();
        loop {
            let (tasks, next) = self.due(MAX_AT_ONCE - working.len());
            for task in tasks {
                let backend = scheme(&task.lease).and_then(|scheme| backends.of(scheme).ok().cloned());
                working.spawn(async move {
                    let Some(backend) = backend else {
                        return (task, Err(BackendError::NotFound("its identity backend".into())));
                    };
                    let done = match task.ending {
                        Some(_) => backend.revoke(&task.lease).await.map(|()| 0),
                        None => backend.renew(&task.lease).await,
                    };
                    (task, done)
                });
            }
            tokio::select! {
                Some(done) = working.join_next(), if !working.is_empty() => {
                    if let Ok((task, result)) = done {
                        self.settle(task, result, journal).await;
                    }
                }
                () = self.inner.changed.notified() => {}
                () = sleep_until(next), if working.len() < MAX_AT_ONCE => {}
            }
        }
    }

    /// What is due now, at most `limit`, and when something is due next.
    fn due(&self, limit: usize) -> (Vec<Task>, Instant) {
        let now = Instant::now();
        let silent_after = Duration::from_secs(HEARD_SECONDS);
        let mut next = now + Duration::from_secs(3600);
        let mut tasks = Vec::new();
        for (grant, held) in self.lock().iter_mut().filter(|(_, held)| !held.busy) {
            if held.ending.is_none() && now >= held.heard + silent_after {
                (held.ending, held.due, held.tries) = (Some("silent"), now, 0);
            }
            if held.due <= now && tasks.len() < limit {
                held.busy = true;
                let (lease, ending, tries) = (held.lease.clone(), held.ending, held.tries);
                tasks.push(Task { grant: grant.clone(), lease, ending, tries });
                continue;
            }
            let silent = if held.ending.is_none() { held.heard + silent_after } else { held.due };
            next = next.min(held.due.min(silent));
        }
        (tasks, next)
    }

    async fn settle(&self, task: Task, result: Result<u64, BackendError>, journal: &Journal) {
        let now = Instant::now();
        match (task.ending, result) {
            (None, Ok(seconds)) => self.again(&task, |held| {
                held.lease.seconds = seconds;
                held.tries = 0;
                held.due = renewal(now, &held.lease);
            }),
            (Some(why), Ok(_)) => self.ended(task, why, journal).await,
            // The store ended it itself: what is left is to say so.
            (None, Err(BackendError::NotFound(_))) => self.ended(task, "lost", journal).await,
            (Some(why), Err(error)) if task.tries + 1 >= MAX_END_TRIES => {
                tracing::error!(lease = %task.lease.id, why, error = &error as &dyn std::error::Error,
                    "a lease cannot be ended; it ends by itself");
                self.ended(task, "left", journal).await;
            }
            (_, Err(error)) => {
                tracing::warn!(lease = %task.lease.id, error = &error as &dyn std::error::Error,
                    "a lease could not be renewed or ended; it is tried again");
                self.again(&task, |held| {
                    let pause = (RETRY_SECONDS << held.tries.min(6)).min(MAX_RETRY_SECONDS);
                    held.tries += 1;
                    held.due = now + Duration::from_secs(pause);
                });
            }
        }
    }

    fn again(&self, task: &Task, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.lock().get_mut(&task.grant) {
            held.busy = false;
            // It may have been ended meanwhile, which is then due at once.
            if held.ending == task.ending {
                change(held);
            }
        }
    }

    async fn ended(&self, task: Task, why: &'static str, journal: &Journal) {
        let event = Event::LeaseEnded {
            scheme: task.lease.scheme.clone(),
            lease: task.lease.id.clone(),
            grant: task.grant.clone(),
            reason: why.into(),
        };
        if let Err(error) = journal.record(None, event).await {
            // The next broker will try to end it once more, which does no harm.
            tracing::error!(%error, lease = %task.lease.id, "the end of a lease could not be recorded");
        }
        self.lock().remove(&task.grant);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.inner.by_grant.lock().expect("no holder of this lock panics")
    }
}

/// At two thirds of the shortest part, up to a tenth earlier at random, so that many do not come at once.
fn renewal(now: Instant, lease: &Leased) -> Instant {
    let shortest = lease.parts.iter().map(|part| part.seconds).chain([lease.seconds]).min().unwrap_or(0);
    let mut random = [0; 1];
    // Without randomness it is two thirds.
    let _ = getrandom::fill(&mut random);
    let milliseconds = shortest.min(7 * 24 * 3600) * 1000;
    let jitter = milliseconds / 10 * u64::from(random[0]) / 255;
    now + Duration::from_millis((milliseconds * 2 / 3).saturating_sub(jitter))
}

fn scheme(lease: &Leased) -> Option<Scheme> {
    Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == lease.scheme)
}

/// The lease as it is recorded before anything is read under it.
pub(crate) fn recorded(scheme: Scheme, id: &LeaseId, seconds: u64) -> Leased {
    Leased { scheme: scheme.as_str().into(), id: id.clone(), seconds, parts: vec![] }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;

    use super::*;
    use crate::audit::AuditLog;
    use crate::backend::{Capabilities, Description, IdentityBackend, Lease, Reading};
    use crate::broker::single_use::UsedLog;
    use crate::builtin::BuiltinFile;
    use crate::builtin::unlock::generate_identity;
    use crate::disk;
    use crate::reference::{IdentityPath, ViewName};

    /// Counts what it is asked for, and fails as often as it is told.
    #[derive(Default)]
    struct Store {
        renewed: Mutex<u32>,
        revoked: Mutex<BTreeMap<String, u32>>,
        failures: Mutex<u32>,
    }

    #[async_trait]
    impl IdentityBackend for Store {
        fn scheme(&self) -> Scheme {
            Scheme::Vault
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { leases: true, ..Capabilities::default() }
        }

        async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
            Ok(vec![])
        }

        async fn describe(&self, path: &IdentityPath) -> Result<Description, BackendError> {
            Err(BackendError::NotFound(path.to_string()))
        }

        async fn read(
            &self,
            path: &IdentityPath,
            _: Option<&ViewName>,
            _: Option<&Lease>,
        ) -> Result<Reading, BackendError> {
            Err(BackendError::NotFound(path.to_string()))
        }

        async fn renew(&self, lease: &Leased) -> Result<u64, BackendError> {
            if lease.id.0 == "gone" {
                return Err(BackendError::NotFound("it".into()));
            }
            *self.renewed.lock().unwrap() += 1;
            Ok(60)
        }

        async fn revoke(&self, lease: &Leased) -> Result<(), BackendError> {
            *self.revoked.lock().unwrap().entry(lease.id.0.clone()).or_default() += 1;
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err(BackendError::Slow { store: Scheme::Vault, seconds: 1 });
            }
            Ok(())
        }
    }

    struct Tended {
        leases: Leases,
        store: Arc<Store>,
        task: tokio::task::JoinHandle<()>,
        folder: tempfile::TempDir,
    }

    fn tend() -> Tended {
        let folder = disk::test_folder();
        let recipients = [generate_identity().1, generate_identity().1];
        let builtin = Arc::new(BuiltinFile::create(folder.path(), &recipients).unwrap());
        let store = Arc::new(Store::default());
        let backends = Backends::new(builtin, vec![store.clone()], [].into());
        let audit = AuditLog::open(folder.path(), seal::SigningKey::from_seed(&[1; 32])).unwrap();
        let (used_log, used) = UsedLog::open(folder.path()).unwrap();
        let journal = Journal::start(audit, used_log, Arc::new(Mutex::new(used)), || 0).unwrap();
        let leases = Leases::default();
        let tending = leases.clone();
        let task = tokio::spawn(async move { tending.tend(&backends, &journal).await });
        Tended { leases, store, task, folder }
    }

    impl Tended {
        fn hold(&self, id: &str) {
            self.leases.hold(&format!("grant of {id}"), recorded(Scheme::Vault, &LeaseId(id.into()), 60));
        }

        /// Time passes only while everything waits for it; the journal's thread waits for the disk, not for that time.
        async fn until(&self, what: impl Fn(&Self) -> bool) {
            for _ in 0..10_000 {
                if what(self) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("it never happens");
        }

        fn trail(&self) -> String {
            std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_of_is_renewed_and_what_is_silent_ends() {
        let tended = tend();
        tended.hold("a");
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            tended.leases.heard("grant of a");
        }
        let renewed = *tended.store.renewed.lock().unwrap();
        assert!((3..=5).contains(&renewed), "at two thirds of 60 s, in 150 s: {renewed}");
        assert!(tended.store.revoked.lock().unwrap().is_empty());
        let silent_since = Instant::now();
        tended.until(|tended| tended.leases.is_empty()).await;
        let passed = silent_since.elapsed().as_secs();
        assert!((25..=HEARD_SECONDS + 5).contains(&passed), "{passed} s");
        assert!(tended.trail().contains("\"reason\":\"silent\""));
        tended.task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_fails_is_tried_again_and_recorded_once() {
        let tended = tend();
        *tended.store.failures.lock().unwrap() = 3;
        tended.hold("a");
        tended.leases.end("grant of a", "released");
        tended.leases.end("grant of a", "revoked");
        tended.until(|tended| tended.leases.is_empty()).await;
        assert_eq!(tended.store.revoked.lock().unwrap()["a"], 4);
        assert_eq!(tended.trail().matches("\"reason\":\"released\"").count(), 1);
        assert!(!tended.trail().contains("\"reason\":\"revoked\""));

        // One that the store does not know any more needs no end.
        tended.hold("gone");
        let gone = |tended: &Tended| {
            tended.leases.heard("grant of gone");
            tended.leases.is_empty()
        };
        tended.until(gone).await;
        assert!(tended.trail().contains("\"reason\":\"lost\""));
        tended.task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_ended_side_by_side() {
        let tended = tend();
        for n in 0..200 {
            tended.hold(&format!("lease-{n}"));
            tended.leases.end(&format!("grant of lease-{n}"), "released");
        }
        tended.until(|tended| tended.leases.is_empty()).await;
        assert_eq!(tended.store.revoked.lock().unwrap().len(), 200);
        tended.task.abort();
    }
}
