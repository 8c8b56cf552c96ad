//! The workers that are connected, for all who ask: the API, the reasons why steps wait, the leases' renewal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::id::Timestamp;

use super::link::{WorkerLink, WorkerName};
use crate::dispatch::class::{Capabilities, Requirements, why_none};

/// Connected workers by name.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<BTreeMap<WorkerName, Seat>>);

#[derive(Debug)]
struct Seat {
    link: Arc<WorkerLink>,
    /// Until when the worker's leases hold, as the store has it.
    alive_until: Timestamp,
}

impl Registry {
    fn seats(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkerName, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream was opened, in place of the worker's former one.
    pub(crate) fn insert(&self, link: Arc<WorkerLink>, alive_until: Timestamp) {
        self.seats().insert(Arc::clone(&link.name), Seat { link, alive_until });
    }

    /// A stream has ended.
    pub(crate) fn remove(&self, link: &Arc<WorkerLink>) {
        let mut seats = self.seats();
        if seats.get(&link.name).is_some_and(|seat| Arc::ptr_eq(&seat.link, link)) {
            seats.remove(&link.name);
        }
    }

    /// The worker's stream.
    pub(crate) fn link(&self, worker: &str) -> Option<Arc<WorkerLink>> {
        self.seats().get(worker).map(|seat| Arc::clone(&seat.link))
    }

    /// The leases of these workers hold until then; it is durable.
    pub(crate) fn renew(&self, workers: &[(String, Timestamp)]) {
        let mut seats = self.seats();
        for (worker, until) in workers {
            if let Some(seat) = seats.get_mut(worker.as_str()) {
                seat.alive_until = seat.alive_until.max(*until);
            }
        }
    }

    /// Whether a worker is connected and its leases hold.
    pub(crate) fn is_alive(&self, worker: &str, now: Timestamp) -> bool {
        self.seats().get(worker).is_some_and(|seat| seat.alive_until >= now)
    }

    /// Why no worker takes steps of a class.
    pub(crate) fn why_waiting(&self, class: &str) -> Option<String> {
        let Some(requirements) = Requirements::of_class(class) else {
            return Some("its requirements are not understood by this server".to_owned());
        };
        let seats = self.seats();
        let offers: Vec<&Capabilities> = seats.values().map(|seat| &seat.link.capabilities).collect();
        why_none(&requirements, offers.iter().copied())
    }
}
