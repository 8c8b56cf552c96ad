//! Points in time as the API writes them: RFC 3339, UTC, milliseconds.

use std::fmt;

use protocol::id::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

/// A point in time. As JSON: `"2026-01-31T12:00:00.000Z"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
pub struct Time(pub Timestamp);

impl Time {
    /// Milliseconds from `earlier` to this; 0 if this is earlier.
    pub fn milliseconds_since(self, earlier: Time) -> u64 {
        u64::try_from(self.0.0.saturating_sub(earlier.0.0)).unwrap_or(0)
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Time(timestamp)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms", self.0.0),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        Ok(Time(Timestamp(time.as_millisecond())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_rfc_3339_in_both_directions() {
        let time = Time(Timestamp(1_769_860_800_005));
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-01-31T12:00:00.005Z\"");
        assert_eq!(serde_json::from_str::<Time>("\"2026-01-31T12:00:00.005Z\"").unwrap(), time);
    }
}
