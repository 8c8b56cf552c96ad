//! Durations: `{seconds: 5}`, ISO 8601, or an expression that gives one of these.

use std::time::Duration;

use serde_json::Value;

use crate::expression::Expression;

/// A duration that is known, or known only when the task runs.
#[derive(Clone, Debug)]
pub enum DurationValue {
    /// Known.
    Literal(Duration),
    /// Gives an object, an ISO 8601 text, or a number of milliseconds; see [`DurationValue::from_json`].
    Expression(Expression),
}

impl DurationValue {
    /// Reads what an expression gave: milliseconds as a number, ISO 8601 as a text, or an object of units.
    pub fn from_json(value: &Value) -> Option<Duration> {
        match value {
            Value::Number(number) => number.as_u64().map(Duration::from_millis),
            Value::String(text) => iso8601_duration(text),
            Value::Object(units) => {
                let mut milliseconds: u64 = 0;
                for (unit, count) in units {
                    let factor = match unit.as_str() {
                        "days" => 86_400_000,
                        "hours" => 3_600_000,
                        "minutes" => 60_000,
                        "seconds" => 1_000,
                        "milliseconds" => 1,
                        _ => return None,
                    };
                    milliseconds = milliseconds.saturating_add(count.as_u64()?.saturating_mul(factor));
                }
                (!units.is_empty()).then(|| Duration::from_millis(milliseconds))
            }
            Value::Null | Value::Bool(_) | Value::Array(_) => None,
        }
    }
}

/// `P[nY][nM][nW][nD][T[nH][nM][nS]]`, as the official schema has it. Without a calendar at hand a year is 365 days and
/// a month 30.
pub(crate) fn iso8601_duration(text: &str) -> Option<Duration> {
    const DATE: &[(char, f64)] =
        &[('Y', 365.0 * 86_400.0), ('M', 30.0 * 86_400.0), ('W', 7.0 * 86_400.0), ('D', 86_400.0)];
    const TIME: &[(char, f64)] = &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)];
    let text = text.strip_prefix('P').filter(|rest| !rest.is_empty())?;
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    if time.is_some_and(str::is_empty) {
        return None;
    }
    let seconds = sum_units(date, DATE)? + sum_units(time.unwrap_or(""), TIME)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Sums `n<unit>` parts that come in the order of the units.
fn sum_units(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut units = units.iter();
    let mut sum = 0.0;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(end);
        let unit = rest.chars().next()?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        if number.starts_with('.') || number.ends_with('.') {
            return None;
        }
        sum += number.parse::<f64>().ok()? * factor;
        text = &rest[1..];
    }
    Some(sum)
}
