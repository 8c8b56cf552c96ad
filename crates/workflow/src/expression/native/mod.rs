//! jq's functions that are written in Rust. Each charges for its work and memory before it does it.

mod collection;
mod format;
mod math;
mod regex;
mod text;
mod time;

use super::value::Val;
use super::work::{Outcome, Work, raise};

pub(super) use collection::indices;
pub(super) use math::math;
pub(super) use regex::Regexes;

/// A function with evaluated arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Native {
    pub(super) name: &'static str,
    pub(super) arity: usize,
    pub(super) run: Run,
}

pub(super) type Run = for<'a, 'v> fn(&mut Work, Val<'a>, &'v mut [Val<'a>]) -> Outcome<'a, Val<'a>>;

const fn native(name: &'static str, arity: usize, run: Run) -> Native {
    Native { name, arity, run }
}

/// `[]`
pub(super) const EMPTY_ARRAY: Native = native("[]", 0, |work, _, _| work.array(Vec::new()));
/// The pieces of a string with `\( )` in it.
pub(super) const CONCATENATE: Native = native("concatenate", usize::MAX, text::concatenate);

pub(super) fn find(name: &str, arity: usize) -> Option<Native> {
    let tables =
        [collection::NATIVES, format::NATIVES, math::NATIVES, regex::NATIVES, text::NATIVES, time::NATIVES];
    tables
        .iter()
        .flat_map(|table| *table)
        .find(|native| native.name == name && native.arity == arity)
        .copied()
}

/// Takes an argument out of the list.
fn take<'a>(arguments: &mut [Val<'a>], at: usize) -> Val<'a> {
    std::mem::replace(&mut arguments[at], Val::Null)
}

fn expect_text<'v, 'a>(value: &'v Val<'a>, what: &str) -> Outcome<'a, &'v str> {
    match value {
        Val::Str(text) => Ok(text),
        other => raise(format!("{what} must be a string, not {}", other.show())),
    }
}

fn expect_number<'a>(value: &Val<'a>, what: &str) -> Outcome<'a, f64> {
    value.as_f64().map_or_else(|| raise(format!("{what} must be a number, not {}", value.show())), Ok)
}
