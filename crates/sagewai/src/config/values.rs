//! Values of settings that are more than a text or a number.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Texts, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<String>);

impl FromStr for List {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(List(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()))
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// `key=value` pairs, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs(pub(crate) BTreeMap<String, String>);

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = |part: &str| match part.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(format!("`{part}` is not of the form key=value")),
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(pair).collect::<Result<_, _>>().map(Pairs)
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

/// Which ended runs the server keeps.
///
/// All, unless the operator says otherwise: nobody's history is deleted unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeepRuns {
    /// Seconds since their end; `None` means for ever.
    pub(crate) seconds: Option<u64>,
    /// So many at most.
    pub(crate) count: Option<u64>,
}

/// Seconds of a day, of an hour.
const UNITS: [(char, u64); 2] = [('d', 24 * 3600), ('h', 3600)];

impl KeepRuns {
    pub(crate) fn policy(self) -> control::KeepRuns {
        control::KeepRuns { age: self.seconds.map(Duration::from_secs), count: self.count }
    }
}

impl FromStr for KeepRuns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keep = KeepRuns { seconds: None, count: None };
        if text.trim() == "all" {
            return Ok(keep);
        }
        for part in text.split(',').map(str::trim) {
            let unit = UNITS.iter().find_map(|(unit, seconds)| Some((part.strip_suffix(*unit)?, *seconds)));
            let (number, slot, factor) = match unit {
                Some((number, seconds)) => (number, &mut keep.seconds, seconds),
                None => (part, &mut keep.count, 1),
            };
            let value = number.parse::<u64>().ok().filter(|number| *number > 0);
            match value.and_then(|number| number.checked_mul(factor)) {
                Some(value) if slot.is_none() => *slot = Some(value),
                _ => {
                    return Err(format!(
                        "`{text}` is not how runs are kept: a time such as 90d or 12h, a count such as 1000000, both with a \
                         comma between, or all"
                    ));
                }
            }
        }
        Ok(keep)
    }
}

impl fmt::Display for KeepRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.seconds.map(|seconds| match UNITS.iter().find(|(_, unit)| seconds % unit == 0) {
            Some((name, unit)) => format!("{}{name}", seconds / unit),
            None => format!("{}h", seconds.div_ceil(3600)),
        });
        let parts: Vec<String> = time.into_iter().chain(self.count.map(|count| count.to_string())).collect();
        f.write_str(if parts.is_empty() { "all" } else { "" })?;
        f.write_str(&parts.join(","))
    }
}

/// Seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u64);

impl Seconds {
    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('s').unwrap_or(text);
        match number.parse() {
            Ok(seconds @ 1..) => Ok(Seconds(seconds)),
            _ => Err(format!("`{text}` is not a number of seconds, 1 or more")),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_runs_are_kept_is_read_and_shown() {
        for text in ["90d", "12h", "1000", "30d,1000", "all"] {
            assert_eq!(text.parse::<KeepRuns>().unwrap().to_string(), text);
        }
        assert_eq!("12h".parse::<KeepRuns>().unwrap().seconds, Some(12 * 3600));
        for wrong in ["", "0", "0d", "d", "9w", "1,2", "1d,2d", "all,1", "-1"] {
            assert!(wrong.parse::<KeepRuns>().is_err(), "{wrong}");
        }
    }
}
