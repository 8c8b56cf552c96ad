//! Dates. Only what needs neither a clock nor a time zone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, fmt::strtime};

use super::{Native, expect_number, expect_text, native};
use crate::expression::value::Val;
use crate::expression::work::{Outcome, Work, raise};

pub(super) const NATIVES: &[Native] = &[
    native("todateiso8601", 0, |work, input, _| {
        work.text(timestamp(&input)?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }),
    native("fromdateiso8601", 0, |_, input, _| {
        let text = expect_text(&input, "the input of fromdate")?;
        match text.parse::<Timestamp>() {
            Ok(time) => Ok(Val::Int(time.as_second())),
            Err(_) => raise(format!("{} is no time such as 2026-01-31T12:00:00Z", input.show())),
        }
    }),
    native("gmtime", 0, |work, input, _| {
        let seconds = expect_number(&input, "the input of gmtime")?;
        broken_down(TimeZone::UTC.to_datetime(timestamp(&input)?), seconds, work)
    }),
    native("mktime", 0, |work, input, _| {
        let Val::Arr(parts) = input.own(work)? else { return raise("mktime works on a broken-down time") };
        match TimeZone::UTC.to_timestamp(civil(&parts.items)?) {
            Ok(time) => Ok(Val::Int(time.as_second())),
            Err(_) => raise("the time is out of range"),
        }
    }),
    native("strftime", 1, |work, input, arguments| {
        let format = expect_text(&arguments[0], "the format")?;
        limited(format)?;
        let time = match input.own(work)? {
            Val::Arr(parts) => civil(&parts.items)?,
            number => TimeZone::UTC.to_datetime(timestamp(&number)?),
        };
        match strtime::format(format, time) {
            Ok(text) => work.text(text),
            Err(error) => raise(format!("the format is not understood: {error}")),
        }
    }),
    native("strptime", 1, |work, input, arguments| {
        let (text, format) =
            (expect_text(&input, "the input of strptime")?, expect_text(&arguments[0], "the format")?);
        limited(format)?;
        limited(text)?;
        let parsed = strtime::parse(format, text);
        let time = parsed.and_then(|parsed| {
            parsed
                .to_timestamp()
                .map(|time| TimeZone::UTC.to_datetime(time))
                .or_else(|_| parsed.to_datetime())
        });
        match time {
            Ok(time) => broken_down(time, f64::from(time.second()), work),
            Err(error) => raise(format!("{} does not fit the format: {error}", input.show())),
        }
    }),
];

/// Bytes of a format or a time as text.
const MAX_FORMAT_BYTES: usize = 256;

fn limited<'a>(text: &str) -> Outcome<'a, ()> {
    match text.len() <= MAX_FORMAT_BYTES {
        true => Ok(()),
        false => raise(format!("a time or its format has at most {MAX_FORMAT_BYTES} bytes")),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float is cut to the range")]
fn timestamp<'a>(value: &Val<'a>) -> Outcome<'a, Timestamp> {
    let seconds = expect_number(value, "a time")?;
    Timestamp::from_second(seconds.floor() as i64)
        .or_else(|_| raise(format!("{} is out of range for a time", value.show())))
}

/// jq's `[year, month from 0, day, hour, minute, second, weekday, day of the year]`.
fn broken_down<'a>(time: DateTime, seconds: f64, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let number = |value: i64| Val::Int(value);
    let mut parts = work.vec(8)?;
    parts.extend([
        number(i64::from(time.year())),
        number(i64::from(time.month()) - 1),
        number(i64::from(time.day())),
        number(i64::from(time.hour())),
        number(i64::from(time.minute())),
        Val::float(f64::from(time.second()) + (seconds - seconds.floor())),
        number(i64::from(time.weekday().to_sunday_zero_offset())),
        number(i64::from(time.day_of_year()) - 1),
    ]);
    work.array(parts)
}

fn civil<'a>(parts: &[Val<'a>]) -> Outcome<'a, DateTime> {
    let part = |at: usize| parts.get(at).and_then(Val::as_i64);
    let small = |at: usize, add: i64| part(at).and_then(|value| i8::try_from(value.checked_add(add)?).ok());
    let time = (|| {
        let year = i16::try_from(part(0)?).ok()?;
        DateTime::new(year, small(1, 1)?, small(2, 0)?, small(3, 0)?, small(4, 0)?, small(5, 0)?, 0).ok()
    })();
    time.map_or_else(
        || raise("this is no broken-down time: [year, month from 0, day, hour, minute, second]"),
        Ok,
    )
}
