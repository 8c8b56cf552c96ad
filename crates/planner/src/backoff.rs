//! The delay before a retry. Its jitter looks random and is not: the same run draws the same.

use protocol::id::RunId;
use workflow::Backoff;

use crate::limits::MAX_DELAY_MS;

/// Milliseconds before retry `retry` (from 1), with `jitter` between two bounds added. `seed` is the run and the frame.
pub(crate) fn delay_ms(
    base_ms: i64,
    backoff: Backoff,
    jitter: Option<(i64, i64)>,
    retry: u32,
    seed: (RunId, u64),
) -> i64 {
    let grown = match backoff {
        Backoff::Constant => base_ms,
        Backoff::Linear => base_ms.saturating_mul(i64::from(retry)),
        Backoff::Exponential => base_ms.saturating_mul(1_i64 << retry.saturating_sub(1).min(62)),
    };
    let added = match jitter {
        None => 0,
        Some((from, to)) => {
            let (from, to) = (from.min(to), from.max(to));
            let span = (to - from) as u64 + 1;
            from + (draw(seed, retry) % span) as i64
        }
    };
    grown.saturating_add(added).clamp(0, MAX_DELAY_MS)
}

/// A number that depends on nothing but its arguments: SplitMix64 over the bits of the run's id, the frame and the retry.
fn draw((run, frame): (RunId, u64), retry: u32) -> u64 {
    let (high, low) = run.0.as_u64_pair();
    [high, low, frame, u64::from(retry)].into_iter().fold(0, |state, part| mix(state ^ part))
}

fn mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u128) -> (RunId, u64) {
        (RunId(uuid::Uuid::from_u128(number)), 3)
    }

    #[test]
    fn the_delay_grows_as_the_backoff_says() {
        let delays = |backoff| [1, 2, 3, 4].map(|retry| delay_ms(100, backoff, None, retry, run(1)));
        assert_eq!(delays(Backoff::Constant), [100, 100, 100, 100]);
        assert_eq!(delays(Backoff::Linear), [100, 200, 300, 400]);
        assert_eq!(delays(Backoff::Exponential), [100, 200, 400, 800]);
    }

    #[test]
    fn a_delay_never_overflows() {
        assert_eq!(delay_ms(i64::MAX, Backoff::Exponential, None, u32::MAX, run(1)), MAX_DELAY_MS);
        assert_eq!(delay_ms(1, Backoff::Exponential, None, 5_000, run(1)), MAX_DELAY_MS);
    }

    #[test]
    fn jitter_stays_in_its_bounds_differs_between_runs_and_is_the_same_for_one() {
        let draw = |number| delay_ms(1000, Backoff::Constant, Some((50, 250)), 1, run(number));
        let delays: std::collections::BTreeSet<i64> = (0..100).map(draw).collect();
        assert!(delays.iter().all(|delay| (1050..=1250).contains(delay)));
        assert!(delays.len() > 50, "a hundred runs drew {} delays", delays.len());
        assert_eq!(draw(7), draw(7));
    }
}
