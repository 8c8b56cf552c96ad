//! The ready steps that are in memory: a bounded window on the store's queue, fair between namespaces.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};
use protocol::step::Mode;
use store::ReadyCursor;
use uuid::Uuid;

/// Priority of steps of runs that have begun: they come first, so that what was begun is ended.
pub(crate) const CONTINUING: i32 = 1;
/// Priority of the first step of a run.
pub(crate) const FRESH: i32 = 0;
/// Of so many steps in a row, one is the first of a run, so that long runs never keep new ones out.
const FRESH_SHARE: u32 = 4;
/// Ready steps read from the store at once.
pub(crate) const REFILL_ROWS: usize = 256;
/// Bytes of step specs in the window, all classes together; what is beyond waits in the store.
pub(crate) const WINDOW_BYTES: usize = 64 << 20;

/// A step of a run.
pub(crate) type StepKey = (RunId, StepId);

/// What the dispatcher knows of the run of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunMeta {
    /// Namespace of the workflow.
    pub(crate) namespace: Arc<str>,
    /// Name of the workflow.
    pub(crate) workflow: String,
    /// Version of the workflow.
    pub(crate) version: String,
}

/// A step that waits for a worker, or that a worker holds.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The step.
    pub(crate) key: StepKey,
    /// Attempts begun so far.
    pub(crate) attempt: u32,
    /// What a worker must offer.
    pub(crate) class: Arc<str>,
    /// [`CONTINUING`] or [`FRESH`].
    pub(crate) priority: i32,
    /// When it became ready.
    pub(crate) ready_at: Timestamp,
    /// JSON pointer of the task.
    pub(crate) task: Arc<str>,
    /// Where it runs.
    pub(crate) mode: Mode,
    /// JSON of the spec.
    pub(crate) spec: Bytes,
    /// Its run.
    pub(crate) meta: Arc<RunMeta>,
}

impl Entry {
    fn place(&self) -> ReadyCursor {
        ReadyCursor { priority: self.priority, at: self.ready_at, run: self.key.0, step: self.key.1 }
    }
}

/// The order of the store's queue within one priority.
fn order(place: &ReadyCursor) -> (Timestamp, RunId, StepId) {
    (place.at, place.run, place.step)
}

/// Ready steps of one class and priority. What is not in memory lies behind `behind` in the store's queue.
struct Lane {
    by_namespace: HashMap<Arc<str>, VecDeque<StepKey>>,
    turns: VecDeque<Arc<str>>,
    len: usize,
    behind: Option<Behind>,
}

/// The store has more: everything up to `cursor` is, or was, in memory.
struct Behind {
    cursor: ReadyCursor,
    /// The page that is being read.
    reading: Option<u64>,
    /// Steps that became ready meanwhile.
    arrivals: Vec<Entry>,
}

impl Lane {
    fn new() -> Self {
        Lane { by_namespace: HashMap::new(), turns: VecDeque::new(), len: 0, behind: None }
    }

    fn push(&mut self, namespace: &Arc<str>, key: StepKey, front: bool) {
        let queue = self.by_namespace.entry(Arc::clone(namespace)).or_default();
        if queue.is_empty() {
            self.turns.push_back(Arc::clone(namespace));
        }
        if front {
            queue.push_front(key)
        } else {
            queue.push_back(key)
        }
        self.len += 1;
    }

    /// The next key: the namespaces take turns.
    fn pop(&mut self) -> Option<StepKey> {
        let namespace = self.turns.pop_front()?;
        let queue = self.by_namespace.get_mut(&namespace).expect("a namespace with a turn has a queue");
        let key = queue.pop_front().expect("a namespace with a turn has a step");
        if queue.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        self.len -= 1;
        Some(key)
    }
}

/// A page of the store's queue that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refill {
    /// The class.
    pub(crate) class: Arc<str>,
    /// The priority.
    pub(crate) priority: i32,
    /// Where the page starts, exclusive.
    pub(crate) after: ReadyCursor,
    /// Which reading of the lane it belongs to.
    reading: u64,
}

/// The ready steps of one class.
struct ClassQueue {
    continuing: Lane,
    fresh: Lane,
    picked: u32,
}

/// The window on the store's queue.
pub(crate) struct Queue {
    classes: HashMap<Arc<str>, ClassQueue>,
    entries: HashMap<StepKey, Entry>,
    bytes: usize,
    limit: usize,
    readings: u64,
}

impl Queue {
    /// An empty window of at most `limit` steps.
    pub(crate) fn new(limit: usize) -> Self {
        Queue { classes: HashMap::new(), entries: HashMap::new(), bytes: 0, limit: limit.max(1), readings: 0 }
    }

    /// Steps in memory.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a class has a queue here.
    pub(crate) fn holds(&self, class: &str) -> bool {
        self.classes.contains_key(class)
    }

    /// Takes a class up whose ready steps may lie in the store: the window is filled from its start.
    pub(crate) fn open(&mut self, class: &Arc<str>) {
        let queue = self.class_queue(class);
        queue.continuing.behind = Some(Behind::start(CONTINUING));
        queue.fresh.behind = Some(Behind::start(FRESH));
    }

    /// Forgets a class; its steps wait in the store.
    pub(crate) fn close(&mut self, class: &str) {
        if self.classes.remove(class).is_some() {
            let bytes = &mut self.bytes;
            self.entries.retain(|_, entry| {
                let stays = &*entry.class != class;
                *bytes -= if stays { 0 } else { entry.spec.len() };
                stays
            });
        }
    }

    /// Reads every class again from its start: a step became ready whose place is not known here.
    pub(crate) fn rescan(&mut self) {
        for queue in self.classes.values_mut() {
            queue.continuing.behind = Some(Behind::start(CONTINUING));
            queue.fresh.behind = Some(Behind::start(FRESH));
        }
    }

    /// A new ready step. It goes into the window, or stays in the store alone when the window is full.
    pub(crate) fn push(&mut self, entry: Entry) {
        let full = self.entries.len() >= self.limit || self.bytes + entry.spec.len() > WINDOW_BYTES;
        let place = entry.place();
        let lane = self.class_queue(&entry.class).lane(entry.priority);
        match &mut lane.behind {
            Some(behind) if order(&place) > order(&behind.cursor) => {
                if behind.reading.is_some() {
                    behind.arrivals.push(entry);
                }
            }
            None if full => lane.behind = Some(Behind::before(&place)),
            _ => self.insert(entry, false),
        }
    }

    /// A step that was handed out and comes back: it is next.
    pub(crate) fn push_front(&mut self, entry: Entry) {
        self.insert(entry, true);
    }

    fn insert(&mut self, entry: Entry, front: bool) {
        if self.entries.contains_key(&entry.key) {
            return;
        }
        self.bytes += entry.spec.len();
        let (key, priority) = (entry.key, entry.priority);
        let namespace = Arc::clone(&entry.meta.namespace);
        self.class_queue(&entry.class).lane(priority).push(&namespace, key, front);
        self.entries.insert(key, entry);
    }

    /// Takes a step out that is not wanted any more.
    pub(crate) fn remove(&mut self, key: StepKey) -> Option<Entry> {
        // Its key stays in the lane and is skipped when its turn comes.
        let entry = self.entries.remove(&key)?;
        self.bytes -= entry.spec.len();
        Some(entry)
    }

    /// The next step of a class.
    pub(crate) fn pop(&mut self, class: &str) -> Option<Entry> {
        let queue = self.classes.get_mut(class)?;
        while let Some(key) = queue.pop() {
            if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.spec.len();
                return Some(entry);
            }
        }
        None
    }

    /// Classes that have a queue here, in the order of their text.
    pub(crate) fn classes(&self) -> Vec<Arc<str>> {
        let mut classes: Vec<Arc<str>> = self.classes.keys().cloned().collect();
        classes.sort_unstable();
        classes
    }

    /// Classes that have steps in memory, in the order of their text.
    pub(crate) fn waiting_classes(&self) -> Vec<Arc<str>> {
        let mut classes: Vec<Arc<str>> = self
            .classes
            .iter()
            .filter(|(_, queue)| queue.continuing.len + queue.fresh.len > 0)
            .map(|(class, _)| Arc::clone(class))
            .collect();
        classes.sort_unstable();
        classes
    }

    /// Pages that are wanted now; each is asked for once until [`Queue::refilled`] or [`Queue::refill_failed`].
    pub(crate) fn wanted_refills(&mut self) -> Vec<Refill> {
        let room = self.entries.len() < self.limit && self.bytes < WINDOW_BYTES;
        let mut refills = Vec::new();
        for (class, queue) in &mut self.classes {
            for (priority, lane) in [(CONTINUING, &mut queue.continuing), (FRESH, &mut queue.fresh)] {
                // A lane with nothing in memory is filled even if others fill the window, so that none starves.
                let wanted = lane.len == 0 || (room && lane.len < REFILL_ROWS / 2);
                if let Some(behind) = lane.behind.as_mut().filter(|behind| wanted && behind.reading.is_none())
                {
                    self.readings += 1;
                    behind.reading = Some(self.readings);
                    let (class, after) = (Arc::clone(class), behind.cursor);
                    refills.push(Refill { class, priority, after, reading: self.readings });
                }
            }
        }
        refills.sort_unstable_by(|a, b| (&a.class, a.priority).cmp(&(&b.class, b.priority)));
        refills
    }

    /// A page was read: `page` has the ready steps after the refill's place, of its priority; `last` says whether the
    /// store has no more of them.
    pub(crate) fn refilled(&mut self, refill: &Refill, page: Vec<Entry>, last: bool) {
        let Some(queue) = self.classes.get_mut(&refill.class) else { return };
        let lane = queue.lane(refill.priority);
        // A lane that was told to start again while the page was read has no use for it.
        let Some(behind) = lane.behind.take_if(|behind| behind.reading == Some(refill.reading)) else {
            return;
        };
        let reached = page.last().map_or(refill.after, Entry::place);
        if !last {
            lane.behind = Some(Behind::after(reached));
        }
        for entry in page {
            self.insert(entry, false);
        }
        for entry in behind.arrivals {
            if last || order(&entry.place()) <= order(&reached) {
                self.insert(entry, false);
            }
        }
    }

    /// A page could not be read; it is asked for again.
    pub(crate) fn refill_failed(&mut self, refill: &Refill) {
        if let Some(queue) = self.classes.get_mut(&refill.class)
            && let Some(behind) = &mut queue.lane(refill.priority).behind
            && behind.reading == Some(refill.reading)
        {
            behind.reading = None;
            behind.arrivals.clear();
        }
    }

    fn class_queue(&mut self, class: &Arc<str>) -> &mut ClassQueue {
        self.classes.entry(Arc::clone(class)).or_insert_with(|| ClassQueue {
            continuing: Lane::new(),
            fresh: Lane::new(),
            picked: 0,
        })
    }
}

impl ClassQueue {
    fn lane(&mut self, priority: i32) -> &mut Lane {
        if priority >= CONTINUING { &mut self.continuing } else { &mut self.fresh }
    }

    fn pop(&mut self) -> Option<StepKey> {
        self.picked = self.picked.wrapping_add(1);
        let (first, second) = if self.picked.is_multiple_of(FRESH_SHARE) {
            (&mut self.fresh, &mut self.continuing)
        } else {
            (&mut self.continuing, &mut self.fresh)
        };
        first.pop().or_else(|| second.pop())
    }
}

impl Behind {
    /// Before every step of the priority.
    fn start(priority: i32) -> Self {
        let cursor =
            ReadyCursor { priority, at: Timestamp(i64::MIN), run: RunId(Uuid::nil()), step: StepId(0) };
        Behind::after(cursor)
    }

    fn after(cursor: ReadyCursor) -> Self {
        Behind { cursor, reading: None, arrivals: Vec::new() }
    }

    /// Before every step that became ready in the same millisecond as `place`, or later.
    fn before(place: &ReadyCursor) -> Self {
        let cursor = ReadyCursor {
            priority: place.priority,
            at: place.at.plus(-1),
            run: RunId(Uuid::max()),
            step: StepId(u32::MAX),
        };
        Behind::after(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(namespace: &str, number: u32, priority: i32) -> Entry {
        Entry {
            key: (RunId(Uuid::from_u128(u128::from(number))), StepId(1)),
            attempt: 0,
            class: "class".into(),
            priority,
            ready_at: Timestamp(i64::from(number)),
            task: "/do/0/one".into(),
            mode: Mode::Bare,
            spec: Bytes::from_static(b"{}"),
            meta: Arc::new(RunMeta {
                namespace: namespace.into(),
                workflow: "w".to_owned(),
                version: "1.0.0".to_owned(),
            }),
        }
    }

    fn pop(queue: &mut Queue) -> Option<u128> {
        queue.pop("class").map(|entry| entry.key.0.0.as_u128())
    }

    fn pop_all(queue: &mut Queue) -> Vec<u128> {
        std::iter::from_fn(|| pop(queue)).collect()
    }

    #[test]
    fn namespaces_take_turns() {
        let mut queue = Queue::new(100);
        for number in 1..=4 {
            queue.push(entry("busy", number, FRESH));
        }
        queue.push(entry("quiet", 5, FRESH));
        assert_eq!(pop_all(&mut queue), [1, 5, 2, 3, 4]);
    }

    #[test]
    fn begun_runs_come_first_and_new_ones_are_not_kept_out() {
        let mut queue = Queue::new(100);
        for number in 1..=6 {
            queue.push(entry("n", number, CONTINUING));
        }
        for number in 11..=13 {
            queue.push(entry("n", number, FRESH));
        }
        assert_eq!(pop_all(&mut queue), [1, 2, 3, 11, 4, 5, 6, 12, 13]);
    }

    #[test]
    fn a_step_that_was_taken_out_is_not_handed_out() {
        let mut queue = Queue::new(100);
        queue.push(entry("n", 1, FRESH));
        queue.push(entry("n", 2, FRESH));
        assert!(queue.remove((RunId(Uuid::from_u128(1)), StepId(1))).is_some());
        assert_eq!(pop_all(&mut queue), [2]);
    }

    #[test]
    fn what_does_not_fit_is_read_from_the_store_in_its_order() {
        let mut queue = Queue::new(2);
        for number in 1..=5 {
            queue.push(entry("n", number, FRESH));
        }
        assert_eq!(queue.len(), 2);
        assert!(queue.wanted_refills().is_empty(), "the window is full");
        assert_eq!((pop(&mut queue), pop(&mut queue)), (Some(1), Some(2)));
        let refills = queue.wanted_refills();
        let [refill] = refills.as_slice() else { panic!("one page is wanted") };
        assert!(queue.wanted_refills().is_empty(), "it is asked for once");
        // While the page is read, one more becomes ready, which the page has, and one that it has not.
        queue.push(entry("n", 6, FRESH));
        queue.push(entry("n", 7, FRESH));
        let page = (3..=6).map(|number| entry("n", number, FRESH)).collect();
        queue.refilled(refill, page, true);
        assert_eq!(pop_all(&mut queue), [3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_page_that_is_not_the_last_leaves_the_rest_in_the_store() {
        let mut queue = Queue::new(1);
        for number in 1..=2 {
            queue.push(entry("n", number, FRESH));
        }
        pop(&mut queue);
        let refill = queue.wanted_refills().pop().expect("a page is wanted");
        queue.push(entry("n", 9, FRESH));
        queue.refilled(&refill, vec![entry("n", 2, FRESH), entry("n", 3, FRESH)], false);
        assert_eq!(pop_all(&mut queue), [2, 3], "step 9 lies behind the page");
        let next = queue.wanted_refills().pop().expect("the next page is wanted");
        assert_eq!(next.after.at, Timestamp(3));
    }

    #[test]
    fn a_rescan_makes_a_page_on_its_way_worthless() {
        let mut queue = Queue::new(1);
        for number in 1..=2 {
            queue.push(entry("n", number, FRESH));
        }
        pop(&mut queue);
        let refill = queue.wanted_refills().pop().expect("a page is wanted");
        queue.rescan();
        queue.refilled(&refill, Vec::new(), true);
        let again = queue.wanted_refills();
        assert!(again.iter().any(|refill| refill.priority == FRESH), "it is read again from its start");
    }

    #[test]
    fn large_specs_fill_the_window_too() {
        let mut queue = Queue::new(100);
        for number in 1..=3 {
            let mut large = entry("n", number, FRESH);
            large.spec = vec![0; WINDOW_BYTES / 2].into();
            queue.push(large);
        }
        assert_eq!(queue.len(), 2);
    }
}
