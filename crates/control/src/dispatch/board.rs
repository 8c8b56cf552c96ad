//! The board: connected workers with their credits beside the ready steps, and who gets what next.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::class::Requirements;
use super::queue::{Entry, Queue};
use crate::workers::link::{WorkerLink, WorkerName};

/// Most steps a worker may be given ahead, whatever it asks for.
pub(crate) const MAX_CREDIT: u32 = 4096;

/// A worker that takes steps.
struct Taker {
    link: Arc<WorkerLink>,
    credit: u32,
    draining: bool,
}

/// Ready steps and those who take them. One owner, no locks.
pub(crate) struct Board {
    queue: Queue,
    takers: BTreeMap<WorkerName, Taker>,
    /// Names of the workers that take a class, and where the next search starts.
    fitting: HashMap<Arc<str>, Fitting>,
    credit: u64,
}

struct Fitting {
    workers: Vec<WorkerName>,
    next: usize,
}

/// A step and the worker that is to get it.
pub(crate) struct Match {
    /// The step.
    pub(crate) entry: Entry,
    /// The worker.
    pub(crate) link: Arc<WorkerLink>,
}

impl Board {
    /// An empty board that keeps `window` ready steps in memory.
    pub(crate) fn new(window: usize) -> Self {
        Board { queue: Queue::new(window), takers: BTreeMap::new(), fitting: HashMap::new(), credit: 0 }
    }

    /// The ready steps.
    pub(crate) fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Workers that are connected.
    pub(crate) fn workers(&self) -> usize {
        self.takers.len()
    }

    /// The connected worker of that name.
    pub(crate) fn link(&self, worker: &WorkerName) -> Option<&Arc<WorkerLink>> {
        self.takers.get(worker).map(|taker| &taker.link)
    }

    /// A worker has come, in place of its former stream if there was one. `classes` are those that have ready steps in
    /// the store; the ones it fits are opened.
    pub(crate) fn connect(&mut self, link: Arc<WorkerLink>, draining: bool, classes: &[String]) {
        self.disconnect_name(&link.name);
        self.takers.insert(Arc::clone(&link.name), Taker { link, credit: 0, draining });
        self.fitting.clear();
        self.open(classes);
    }

    /// Takes up classes that have ready steps in the store, as far as a worker takes them.
    pub(crate) fn open(&mut self, classes: &[String]) {
        for class in classes {
            let class: Arc<str> = class.as_str().into();
            if !self.queue.holds(&class) && !self.fitting(&class).workers.is_empty() {
                self.queue.open(&class);
            }
        }
    }

    /// A stream has ended. Nothing happens when the worker has another one by now.
    pub(crate) fn disconnect(&mut self, link: &Arc<WorkerLink>) {
        if self.takers.get(&link.name).is_some_and(|taker| Arc::ptr_eq(&taker.link, link)) {
            self.disconnect_name(&link.name);
        }
    }

    /// Closes a worker's stream, if it has one.
    pub(crate) fn disconnect_name(&mut self, name: &WorkerName) {
        let Some(taker) = self.takers.remove(name) else { return };
        self.credit -= u64::from(taker.credit);
        taker.link.close();
        self.fitting.clear();
        for class in self.queue.classes() {
            if self.fitting(&class).workers.is_empty() {
                self.queue.close(&class);
            }
        }
    }

    /// A worker takes `credit` more steps.
    pub(crate) fn add_credit(&mut self, link: &Arc<WorkerLink>, credit: u32) {
        if let Some(taker) = self.takers.get_mut(&link.name).filter(|taker| Arc::ptr_eq(&taker.link, link)) {
            let more = credit.min(MAX_CREDIT.saturating_sub(taker.credit));
            taker.credit += more;
            self.credit += u64::from(more);
        }
    }

    /// A step that was matched is not handed out after all.
    pub(crate) fn return_credit(&mut self, link: &Arc<WorkerLink>) {
        self.add_credit(link, 1);
    }

    /// A worker takes no more steps, or takes them again.
    pub(crate) fn set_draining(&mut self, name: &str, draining: bool) {
        if let Some(taker) = self.takers.get_mut(name) {
            taker.draining = draining;
        }
    }

    /// A new ready step. Classes that no connected worker takes stay in the store alone.
    pub(crate) fn offer(&mut self, entry: Entry) {
        if self.queue.holds(&entry.class) || !self.fitting(&entry.class).workers.is_empty() {
            self.queue.push(entry);
        }
    }

    /// A step that comes back.
    pub(crate) fn offer_again(&mut self, entry: Entry) {
        if self.queue.holds(&entry.class) || !self.fitting(&entry.class).workers.is_empty() {
            self.queue.push_front(entry);
        }
    }

    /// Matches ready steps with free workers until one of them runs out.
    pub(crate) fn match_all(&mut self, matches: &mut Vec<Match>) {
        if self.credit == 0 || self.queue.len() == 0 {
            return;
        }
        let mut classes = self.queue.waiting_classes();
        // One step of each class in turn, so that no class starves another one on shared workers.
        while self.credit > 0 && !classes.is_empty() {
            classes.retain(|class| match self.match_one(class) {
                Some(found) => {
                    matches.push(found);
                    true
                }
                None => false,
            });
        }
    }

    fn match_one(&mut self, class: &Arc<str>) -> Option<Match> {
        let name = self.free_worker(class)?;
        let entry = self.queue.pop(class)?;
        let taker = self.takers.get_mut(&name).expect("a fitting worker is connected");
        taker.credit -= 1;
        self.credit -= 1;
        Some(Match { entry, link: Arc::clone(&taker.link) })
    }

    fn free_worker(&mut self, class: &Arc<str>) -> Option<WorkerName> {
        let fitting = fitting(&mut self.fitting, &self.takers, class);
        let count = fitting.workers.len();
        let takers = &self.takers;
        let free = (0..count).map(|offset| (fitting.next + offset) % count).find(|index| {
            takers
                .get(&fitting.workers[*index])
                .is_some_and(|taker| taker.credit > 0 && !taker.draining && taker.link.is_open())
        })?;
        fitting.next = free + 1;
        Some(Arc::clone(&fitting.workers[free]))
    }

    fn fitting(&mut self, class: &Arc<str>) -> &Fitting {
        fitting(&mut self.fitting, &self.takers, class)
    }
}

/// Classes whose fitting workers are remembered.
const MAX_FITTING_CLASSES: usize = 10_000;

fn fitting<'a>(
    cache: &'a mut HashMap<Arc<str>, Fitting>,
    takers: &BTreeMap<WorkerName, Taker>,
    class: &Arc<str>,
) -> &'a mut Fitting {
    if cache.len() >= MAX_FITTING_CLASSES && !cache.contains_key(class) {
        cache.clear();
    }
    cache.entry(Arc::clone(class)).or_insert_with(|| {
        let requirements = Requirements::of_class(class);
        let workers = takers
            .iter()
            .filter(|(_, taker)| {
                requirements.as_ref().is_some_and(|needs| taker.link.capabilities.meet(needs))
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        Fitting { workers, next: 0 }
    })
}
