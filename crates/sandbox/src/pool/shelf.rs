//! Where waiting sandboxes of each template are listed, and how many of them are wanted. Pure but for the clock it is told.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::PoolConfig;
use crate::{Session, Template};

/// Templates that a pool keeps sandboxes for, at most; others are made on the spot.
const MAX_TEMPLATES: usize = 64;
/// Over how long the rate of arrivals is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// Arrivals of at least this long are kept ahead.
const MIN_HORIZON: Duration = Duration::from_millis(250);
/// How many times the making of a sandbox is kept ahead.
const HORIZON_FACTOR: u32 = 4;
/// So long after the last claim the steps have started, and sandboxes are made ahead without taking the processors from
/// them. Until then they are made only where less than half of what is wanted is there.
pub(super) const QUIET: Duration = Duration::from_millis(20);
/// The first pause after a sandbox could not be made; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after sandboxes could not be made.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Asks the task that owns a waiting sandbox to hand it over.
pub(super) type Take = oneshot::Sender<oneshot::Sender<Session>>;

/// All shelves of a pool.
#[derive(Default)]
pub(super) struct Shelves {
    shelves: HashMap<Template, Shelf>,
    next: u64,
    pub(super) shut: bool,
}

struct Shelf {
    warm: VecDeque<(u64, Take)>,
    filling: usize,
    /// Claims within the window, decaying.
    arrivals: f64,
    counted_at: Instant,
    claimed_at: Instant,
    pinned: bool,
    failures: u32,
    paused_until: Instant,
}

impl Shelves {
    /// Lists a template; `false` where there are too many already.
    pub(super) fn know(&mut self, template: &Template, pinned: bool, now: Instant) -> bool {
        if let Some(shelf) = self.shelves.get_mut(template) {
            shelf.pinned |= pinned;
            return true;
        }
        if self.shelves.len() >= MAX_TEMPLATES {
            return false;
        }
        let shelf = Shelf {
            warm: VecDeque::new(),
            filling: 0,
            arrivals: 0.0,
            counted_at: now,
            claimed_at: now,
            pinned,
            failures: 0,
            paused_until: now,
        };
        self.shelves.insert(template.clone(), shelf);
        true
    }

    /// Counts a claim.
    pub(super) fn arrived(&mut self, template: &Template, now: Instant) {
        if self.know(template, false, now)
            && let Some(shelf) = self.shelves.get_mut(template)
        {
            shelf.arrivals = shelf.decayed(now) + 1.0;
            shelf.counted_at = now;
            shelf.claimed_at = now;
        }
    }

    /// The oldest waiting sandbox. It is off the list: nobody else gets it.
    pub(super) fn take(&mut self, template: &Template) -> Option<Take> {
        self.shelves.get_mut(template)?.warm.pop_front().map(|(_, take)| take)
    }

    /// Lists a sandbox whose making had been counted as filling; gives it back where it is no longer wanted.
    pub(super) fn put(&mut self, template: &Template, take: Take) -> Result<u64, Take> {
        if self.shut {
            return Err(take);
        }
        let Some(shelf) = self.shelves.get_mut(template) else { return Err(take) };
        self.next += 1;
        shelf.warm.push_back((self.next, take));
        shelf.failures = 0;
        Ok(self.next)
    }

    /// Takes a sandbox off the list because it is gone; `false` where somebody has taken it before.
    pub(super) fn remove(&mut self, template: &Template, number: u64) -> bool {
        let Some(shelf) = self.shelves.get_mut(template) else { return false };
        let before = shelf.warm.len();
        shelf.warm.retain(|(listed, _)| *listed != number);
        shelf.warm.len() < before
    }

    /// One sandbox less is being made.
    pub(super) fn filled(&mut self, template: &Template, failed: bool, now: Instant) {
        let Some(shelf) = self.shelves.get_mut(template) else { return };
        shelf.filling = shelf.filling.saturating_sub(1);
        if failed {
            shelf.paused_until = now + FIRST_PAUSE.saturating_mul(1 << shelf.failures.min(16)).min(MAX_PAUSE);
            shelf.failures += 1;
        }
    }

    /// Which templates lack a sandbox now; they are counted as filling from here on.
    pub(super) fn wanted(&mut self, config: &PoolConfig, plan: &Plan, now: Instant) -> Wanted {
        let mut wanted = Wanted::default();
        if self.shut {
            return wanted;
        }
        self.shelves.retain(|_, shelf| {
            let stale = !shelf.pinned && now.duration_since(shelf.claimed_at) > config.max_age;
            !stale || shelf.filling > 0 || !shelf.warm.is_empty()
        });
        let (idle, filling) = self.count();
        let memory_for =
            usize::try_from(config.max_idle_bytes / plan.idle_bytes.max(1)).unwrap_or(usize::MAX);
        let mut room = memory_for.saturating_sub(idle + filling).min(plan.at_once.saturating_sub(filling));
        for (template, shelf) in &mut self.shelves {
            let target = if shelf.paused_until > now { 0 } else { shelf.target(config, plan, now) };
            let quiet = !plan.paced || now.duration_since(shelf.claimed_at) >= QUIET;
            while shelf.warm.len() + shelf.filling < target {
                if !quiet && 2 * (shelf.warm.len() + shelf.filling) >= target {
                    wanted.later = true;
                    break;
                }
                if room == 0 {
                    break;
                }
                shelf.filling += 1;
                room -= 1;
                wanted.now.push(template.clone());
            }
        }
        wanted
    }

    /// Waiting and being made.
    pub(super) fn count(&self) -> (usize, usize) {
        self.shelves
            .values()
            .fold((0, 0), |(idle, filling), shelf| (idle + shelf.warm.len(), filling + shelf.filling))
    }

    /// Hands out nothing more; dropping the lists tells the owners to discard.
    pub(super) fn shut(&mut self) {
        self.shut = true;
        for shelf in self.shelves.values_mut() {
            shelf.warm.clear();
        }
    }
}

impl Shelf {
    fn decayed(&self, now: Instant) -> f64 {
        let elapsed = now.duration_since(self.counted_at).as_secs_f64() / RATE_WINDOW.as_secs_f64();
        self.arrivals * (-elapsed).exp()
    }

    fn target(&self, config: &PoolConfig, plan: &Plan, now: Instant) -> usize {
        if !self.pinned && now.duration_since(self.claimed_at) > config.max_age {
            return 0;
        }
        let per_second = self.decayed(now) / RATE_WINDOW.as_secs_f64();
        let horizon = (plan.create * HORIZON_FACTOR).max(MIN_HORIZON).as_secs_f64();
        let expected = (per_second * horizon).ceil().min(config.max_warm as f64);
        // A sum of arrivals is never negative, and it was capped to a `usize` above.
        (expected as usize).max(config.min_warm).min(config.max_warm)
    }
}

/// What is to be made.
#[derive(Default)]
pub(super) struct Wanted {
    /// One entry per sandbox to make now.
    pub(super) now: Vec<Template>,
    /// Whether there is more to make once claims are [`QUIET`].
    pub(super) later: bool,
}

/// What the sandbox backend's capabilities mean for filling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) idle_bytes: u64,
    pub(super) create: Duration,
    /// Sandboxes that are made at once, at most.
    pub(super) at_once: usize,
    /// Whether making them takes the processors from steps.
    pub(super) paced: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan =
        Plan { idle_bytes: 1 << 20, create: Duration::from_millis(2), at_once: 1000, paced: false };

    fn config() -> PoolConfig {
        PoolConfig { min_warm: 2, max_warm: 50, max_idle_bytes: 40 << 20, ..PoolConfig::default() }
    }

    fn wanted_at_rate(per_second: u64, config: &PoolConfig) -> usize {
        let start = Instant::now();
        let mut shelves = Shelves::default();
        let template = Template::default();
        for n in 0..per_second * 10 {
            shelves.arrived(&template, start + Duration::from_secs(10) * n as u32 / (per_second * 10) as u32);
        }
        shelves.wanted(config, &PLAN, start + Duration::from_secs(10)).now.len()
    }

    #[test]
    fn fills_by_rate_within_memory_and_limits() {
        assert_eq!(wanted_at_rate(1, &config()), 2, "the minimum");
        let busy = wanted_at_rate(80, &config());
        assert!((15..=25).contains(&busy), "{busy} for a quarter of a second");
        assert_eq!(wanted_at_rate(1000, &config()), 40, "the memory limit");
        assert_eq!(
            wanted_at_rate(1000, &PoolConfig { max_idle_bytes: 1 << 30, ..config() }),
            50,
            "the limit"
        );
        assert_eq!(wanted_at_rate(1000, &PoolConfig { max_idle_bytes: 0, ..config() }), 0, "no memory");
    }

    /// A slow sandbox backend needs as many more as arrive while one is made.
    #[test]
    fn what_takes_long_to_make_is_kept_further_ahead() {
        let rate = |create| {
            let start = Instant::now();
            let mut shelves = Shelves::default();
            let template = Template::default();
            for n in 0..100 {
                shelves.arrived(&template, start + Duration::from_millis(100) * n);
            }
            let plan = Plan { create, ..PLAN };
            shelves.wanted(&config(), &plan, start + Duration::from_secs(10)).now.len()
        };
        assert_eq!(rate(Duration::from_millis(2)), 3, "a quarter of a second of 10 a second");
        assert!((30..=40).contains(&rate(Duration::from_secs(1))), "four seconds of 10 a second");
    }

    #[test]
    fn sandboxes_are_made_when_steps_have_started_or_few_are_left() {
        let now = Instant::now();
        let paced = Plan { paced: true, at_once: 1, ..PLAN };
        let config = PoolConfig { min_warm: 4, ..config() };
        let mut shelves = Shelves::default();
        let template = Template::default();
        shelves.arrived(&template, now);
        let put = |shelves: &mut Shelves, now| {
            let Wanted { now: made, later } = shelves.wanted(&config, &paced, now);
            for template in &made {
                shelves.filled(template, false, now);
                drop(shelves.put(template, oneshot::channel().0));
            }
            (made.len(), later)
        };
        assert_eq!(put(&mut shelves, now), (1, false), "nothing is there");
        assert_eq!(put(&mut shelves, now), (1, true), "one is there, the next at once, others later");
        assert_eq!(put(&mut shelves, now), (0, true), "half are there: later");
        assert_eq!(put(&mut shelves, now + QUIET), (1, false));
        assert_eq!(put(&mut shelves, now + QUIET), (1, false));
        assert_eq!(put(&mut shelves, now + QUIET), (0, false), "full");
    }

    #[test]
    fn failures_pause_and_silence_forgets() {
        let now = Instant::now();
        let mut shelves = Shelves::default();
        let template = Template::default();
        shelves.arrived(&template, now);
        assert_eq!(shelves.wanted(&config(), &PLAN, now).now.len(), 2);
        for _ in 0..2 {
            shelves.filled(&template, true, now);
        }
        assert_eq!(shelves.wanted(&config(), &PLAN, now).now.len(), 0, "paused");
        assert_eq!(shelves.wanted(&config(), &PLAN, now + MAX_PAUSE).now.len(), 2, "tried again");
        for _ in 0..2 {
            shelves.filled(&template, false, now);
        }
        assert_eq!(shelves.wanted(&config(), &PLAN, now + Duration::from_secs(601)).now.len(), 0);
        assert!(shelves.shelves.is_empty(), "forgotten");
    }

    #[test]
    fn knows_a_limited_number_of_templates() {
        let mut shelves = Shelves::default();
        let image = |n: usize| Template { image: Some(n.to_string()), ..Template::default() };
        for n in 0..MAX_TEMPLATES {
            assert!(shelves.know(&image(n), false, Instant::now()));
        }
        assert!(!shelves.know(&image(MAX_TEMPLATES), false, Instant::now()));
    }
}
