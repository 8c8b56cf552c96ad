//! The worker's sandbox backends: which of them can be used now, what each can do, and which one a step gets.
//!
//! A sandbox backend whose daemon does not answer is not offered to the server until it answers again; the stream is then
//! opened anew, since its first message is what says what a worker offers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use protocol::step::{LONG_STEP_MS, Mode, SandboxNeeds, StepSpec};
use protocol::worker_api::SandboxOffer;
use sandbox::pool::Pool;
use sandbox::{CancellationToken, Capabilities, SandboxError};
use tokio::sync::watch;

use crate::error::configuration;
use crate::step::Undone;

/// How often the sandbox backends are asked whether they can make sandboxes.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// How long one may take to answer.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// The pools, one per sandbox backend, in the operator's order of preference.
pub(crate) struct Sandboxes {
    places: Vec<Place>,
    changed: watch::Sender<()>,
}

struct Place {
    pool: Arc<Pool>,
    able: Capabilities,
    usable: AtomicBool,
    /// Why it is not.
    trouble: Mutex<String>,
}

impl Sandboxes {
    pub(crate) fn new(pools: Vec<Arc<Pool>>) -> Self {
        let place = |pool: Arc<Pool>| Place {
            able: pool.backend().capabilities(),
            pool,
            usable: AtomicBool::new(true),
            trouble: Mutex::default(),
        };
        Sandboxes { places: pools.into_iter().map(place).collect(), changed: watch::Sender::new(()) }
    }

    /// What those that can be used now can do, best first; `broker` says whether the worker can ask for identities.
    pub(crate) fn offers(&self, broker: bool) -> Vec<SandboxOffer> {
        let usable = self.places.iter().filter(|place| place.usable.load(Ordering::Relaxed));
        usable.map(|place| offer(place, broker)).collect()
    }

    /// The pool of the first sandbox backend that can do what the step needs.
    ///
    /// # Errors
    /// None can: the step fails, with the reason. One could, but its daemon does not answer: the step is handed out again.
    pub(crate) fn choose(&self, spec: &StepSpec) -> Result<&Pool, Undone> {
        let needs = SandboxNeeds::of(spec).expect("a step in mode 0 has no sandbox");
        let able: Vec<&Place> = self.places.iter().filter(|place| offer(place, true).takes(&needs)).collect();
        match able.iter().find(|place| place.usable.load(Ordering::Relaxed)) {
            Some(place) => Ok(&place.pool),
            None if able.is_empty() => Err(configuration(self.why_none(&needs)).into()),
            None => Err(Undone::Lost(able[0].trouble.lock().unwrap_or_else(PoisonError::into_inner).clone())),
        }
    }

    fn why_none(&self, needs: &SandboxNeeds<'_>) -> String {
        let names: Vec<_> = self.places.iter().map(|place| place.pool.backend().name()).collect();
        match needs.backend {
            _ if names.is_empty() => {
                "this worker has no sandbox backend; `sagewai doctor` on its machine says why".to_owned()
            }
            Some(name) if !names.contains(&name) => {
                format!("this worker has no sandbox backend `{name}`; it has {}", names.join(", "))
            }
            _ => format!(
                "no sandbox backend of this worker ({}) can do all that the step needs: mode {}{}{}{}",
                names.join(", "),
                needs.mode,
                if needs.image { ", an image" } else { "" },
                if needs.network { ", destinations" } else { "" },
                if needs.long { ", more than 15 minutes" } else { "" },
            ),
        }
    }

    /// A step found that the daemon of a sandbox backend does not answer.
    pub(crate) fn lost(&self, backend: &str, error: &SandboxError) {
        for place in self.places.iter().filter(|place| place.pool.backend().name() == backend) {
            self.now(place, Err(error));
        }
    }

    /// Tells when another set of sandbox backends can be used than at the time of this call.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Asks all of them, for as long as this is awaited; cancels `gone` when one has ended for good.
    pub(crate) async fn watch(&self, gone: &CancellationToken) {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            self.check(gone).await;
        }
    }

    /// Asks all of them once.
    pub(crate) async fn check(&self, gone: &CancellationToken) {
        join_all(self.places.iter().map(async |place| {
            let backend = place.pool.backend();
            let late = || SandboxError::Lost {
                backend: backend.name(),
                reason: format!("no answer within {} s", CHECK_LIMIT.as_secs()),
            };
            let checked = tokio::time::timeout(CHECK_LIMIT, backend.check()).await;
            match checked.unwrap_or_else(|_| Err(late())) {
                Ok(()) => self.now(place, Ok(())),
                Err(SandboxError::Gone { .. }) => gone.cancel(),
                Err(error @ (SandboxError::Lost { .. } | SandboxError::Unavailable { .. })) => {
                    self.now(place, Err(&error));
                }
                // It is there, and busy or full: its steps say what is wrong.
                Err(error) => tracing::debug!(%error, backend = backend.name(), "a check failed"),
            }
        }))
        .await;
    }

    fn now(&self, place: &Place, state: Result<(), &SandboxError>) {
        let backend = place.pool.backend().name();
        if let Err(error) = state {
            *place.trouble.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        }
        if place.usable.swap(state.is_ok(), Ordering::Relaxed) == state.is_ok() {
            return;
        }
        match state {
            Ok(()) => tracing::info!(backend, "a sandbox backend can be used again"),
            Err(error) => tracing::warn!(%error, "a sandbox backend is not offered until it can be used"),
        }
        self.changed.send_replace(());
    }
}

fn offer(place: &Place, broker: bool) -> SandboxOffer {
    let able = &place.able;
    let modes = [(Mode::Sandboxed, true), (Mode::Identity, broker), (Mode::Full, able.full)];
    SandboxOffer {
        name: place.pool.backend().name().to_owned(),
        images: able.images,
        modes: modes.iter().filter(|(_, can)| *can).map(|(mode, _)| mode.name().to_owned()).collect(),
        long: able.longest_step.is_none_or(|longest| longest > Duration::from_millis(LONG_STEP_MS)),
        tunnel: able.tunnel,
    }
}
