//! Times and sizes as people read them.

use control::api::model::Time;

/// `850ms`, `12.3s`, `4m05s`, `3h12m`, `2d04h`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..=59 => format!("{}.{}s", seconds, milliseconds % 1000 / 100),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// From `start` to `end`, or to `now` where it has not ended.
pub(crate) fn since(start: Time, end: Option<Time>, now: Time) -> String {
    duration(end.unwrap_or(now).milliseconds_since(start))
}

/// `17 B`, `1.2 KiB`, `3.4 MiB`, `5.6 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_grow_with_their_units() {
        let shown: Vec<String> =
            [0, 850, 12_345, 245_000, 11_520_000, 187_200_000].into_iter().map(duration).collect();
        assert_eq!(shown, ["0ms", "850ms", "12.3s", "4m05s", "3h12m", "2d04h"]);
    }

    #[test]
    fn sizes_grow_with_their_units() {
        assert_eq!([bytes(17), bytes(1229), bytes(3_565_158)], ["17 B", "1.2 KiB", "3.4 MiB"]);
    }
}
