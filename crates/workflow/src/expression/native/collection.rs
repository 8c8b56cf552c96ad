//! Arrays and objects.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Native, expect_number, native, take};
use crate::expression::path;
use crate::expression::value::{Kind, Val, compare};
use crate::expression::work::{Outcome, Work, raise};

pub(super) const NATIVES: &[Native] = &[
    native("length", 0, |work, input, _| length(&input, work)),
    native("type", 0, |work, input, _| work.text(input.kind().name())),
    native("keys", 0, |work, input, _| {
        let Val::Arr(mut keys) = keys(input, work)? else { unreachable!("keys give an array") };
        let inner = work.own_array(&mut keys)?;
        sort(&mut inner.items, work)?;
        Ok(Val::Arr(keys))
    }),
    native("keys_unsorted", 0, |work, input, _| keys(input, work)),
    native("has", 1, |work, input, arguments| has(&input, &arguments[0], work)),
    native("contains", 1, |work, input, arguments| {
        let right = take(arguments, 0);
        Ok(Val::Bool(contains(&input.own(work)?, &right.own(work)?, work)?))
    }),
    native("add", 0, |work, input, _| {
        let mut sum = Val::Null;
        for item in items(input, "add", work)?.iter() {
            work.spend(1)?;
            sum = super::math(jaq_core::ops::Math::Add, sum, item.clone(), work)?;
        }
        Ok(sum)
    }),
    native("reverse", 0, |work, input, _| match input.open(work)? {
        Val::Null => work.array(Vec::new()),
        Val::Str(text) => {
            let mut reversed = work.string(text.len())?;
            reversed.extend(text.chars().rev());
            work.text(reversed)
        }
        other => {
            let array = items(other, "reverse", work)?;
            let mut reversed = work.vec(array.len())?;
            reversed.extend(array.iter().rev().cloned());
            work.array(reversed)
        }
    }),
    native("sort", 0, |work, input, _| {
        let mut sorted = owned_items(input, "sort", work)?;
        sort(&mut sorted, work)?;
        work.array(sorted)
    }),
    native("unique", 0, |work, input, _| {
        let mut sorted = owned_items(input, "unique", work)?;
        sort(&mut sorted, work)?;
        sorted.dedup_by(|a, b| compare(a, b).is_eq());
        work.array(sorted)
    }),
    native("min", 0, |work, input, _| extreme(input.clone(), input, Ordering::Less, work)),
    native("max", 0, |work, input, _| extreme(input.clone(), input, Ordering::Greater, work)),
    native("min_by_keys", 1, |work, input, arguments| {
        extreme(input, take(arguments, 0), Ordering::Less, work)
    }),
    native("max_by_keys", 1, |work, input, arguments| {
        extreme(input, take(arguments, 0), Ordering::Greater, work)
    }),
    native("sort_by_keys", 1, |work, input, arguments| {
        let sorted = keyed(input, take(arguments, 0), work)?;
        let mut items = work.vec(sorted.len())?;
        items.extend(sorted.into_iter().map(|(_, item)| item));
        work.array(items)
    }),
    native("group_by_keys", 1, |work, input, arguments| {
        let sorted = keyed(input, take(arguments, 0), work)?;
        let mut groups = work.vec(sorted.len())?;
        let mut at = 0;
        while at < sorted.len() {
            let same = sorted[at..].iter().take_while(|(key, _)| compare(key, &sorted[at].0).is_eq()).count();
            let mut group = work.vec(same)?;
            group.extend(sorted[at..at + same].iter().map(|(_, item)| item.clone()));
            groups.push(work.array(group)?);
            at += same;
        }
        work.array(groups)
    }),
    native("flatten", 0, |work, input, _| flatten(input, f64::INFINITY, work)),
    native("flatten", 1, |work, input, arguments| {
        let depth = expect_number(&arguments[0], "the depth of flatten")?;
        if depth < 0.0 {
            return raise("the depth of flatten must not be negative");
        }
        flatten(input, depth, work)
    }),
    native("transpose", 0, |work, input, _| {
        let rows = items(input, "transpose", work)?;
        let mut opened = Vec::new();
        for row in rows.iter() {
            work.grow()?;
            opened.push(items(row.clone(), "transpose", work)?);
        }
        let width = opened.iter().map(|row| row.len()).max().unwrap_or(0);
        let mut columns = work.vec(width)?;
        for at in 0..width {
            work.spend(opened.len() as u64)?;
            let mut column = work.vec(opened.len())?;
            column.extend(opened.iter().map(|row| row.get(at).cloned().unwrap_or(Val::Null)));
            columns.push(work.array(column)?);
        }
        work.array(columns)
    }),
    native("indices", 1, |work, input, arguments| indices(input, take(arguments, 0), work)),
    native("setpath", 2, |work, input, arguments| {
        let keys = items(take(arguments, 0), "setpath", work)?;
        path::set(input, &keys, take(arguments, 1), work)
    }),
    native("delpaths", 1, |work, input, arguments| {
        let mut paths = owned_items(take(arguments, 0), "delpaths", work)?;
        sort(&mut paths, work)?;
        let mut keys = Vec::with_capacity(paths.len());
        for path in paths {
            keys.push(items(path, "delpaths", work)?.to_vec());
        }
        path::delete_all(input, &keys, work)
    }),
    native("bsearch", 1, |work, input, arguments| {
        let target = take(arguments, 0).own(work)?;
        let array = owned_items(input, "bsearch", work)?;
        let place = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        Ok(Val::Int(match array.binary_search_by(|item| compare(item, &target)) {
            Ok(found) => place(found),
            Err(insert) => -1 - place(insert),
        }))
    }),
];

/// The items of an array, opened by one level.
fn items<'a>(value: Val<'a>, what: &str, work: &mut Work) -> Outcome<'a, Arc<[Val<'a>]>> {
    match value.open(work)? {
        Val::Arr(array) => {
            work.spend(array.items.len() as u64 / 8)?;
            work.allocate(array.items.len() * size_of::<Val<'_>>())?;
            Ok(array.items.as_slice().into())
        }
        Val::Obj(object) if what == "add" => {
            work.allocate(object.map.len() * size_of::<Val<'_>>())?;
            Ok(object.map.values().cloned().collect())
        }
        other => raise(format!("{what} works on arrays, not on {}", other.show())),
    }
}

fn owned_items<'a>(value: Val<'a>, what: &str, work: &mut Work) -> Outcome<'a, Vec<Val<'a>>> {
    let value = value.own(work)?;
    Ok(items(value, what, work)?.to_vec())
}

/// Sorts by jq's order. Charged beforehand, because a sort cannot stop halfway.
fn sort<'a>(values: &mut [Val<'a>], work: &mut Work) -> Outcome<'a, ()> {
    charge_sort(values, work)?;
    values.sort_by(compare);
    Ok(())
}

fn charge_sort<'a>(values: &[Val<'a>], work: &mut Work) -> Outcome<'a, ()> {
    let mut weight = 0;
    for value in values {
        weight += value.weight(work)?;
    }
    let rounds = u64::from(usize::BITS - values.len().leading_zeros());
    work.spend((values.len() as u64 + weight / 128) * rounds / 4)?;
    work.allocate(size_of_val(values))
}

/// Items with their keys, in the order of the keys.
fn keyed<'a>(input: Val<'a>, keys: Val<'a>, work: &mut Work) -> Outcome<'a, Vec<(Val<'a>, Val<'a>)>> {
    let input = items(input, "sorting", work)?;
    let keys = owned_items(keys, "sorting", work)?;
    charge_sort(&keys, work)?;
    work.allocate(2 * input.len() * size_of::<Val<'_>>())?;
    let mut pairs: Vec<_> = keys.into_iter().zip(input.iter().cloned()).collect();
    pairs.sort_by(|(a, _), (b, _)| compare(a, b));
    Ok(pairs)
}

/// The least or greatest: the first of the least, the last of the greatest.
fn extreme<'a>(input: Val<'a>, keys: Val<'a>, wanted: Ordering, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let input = items(input, "min and max", work)?;
    let keys = owned_items(keys, "min and max", work)?;
    let mut best: Option<usize> = None;
    for (at, key) in keys.iter().enumerate() {
        let weight = key.weight(work)?;
        work.spend(1 + weight / 256)?;
        let better = best.is_none_or(|best| {
            let order = compare(key, &keys[best]);
            order == wanted || (wanted == Ordering::Greater && order.is_eq())
        });
        if better {
            best = Some(at);
        }
    }
    Ok(best.and_then(|at| input.get(at)).cloned().unwrap_or(Val::Null))
}

fn length<'a>(value: &Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let count = |length: usize| Ok(Val::Int(i64::try_from(length).unwrap_or(i64::MAX)));
    match value {
        Val::Null => Ok(Val::Int(0)),
        Val::Bool(_) => raise("a boolean has no length"),
        Val::Int(value) => Ok(value.checked_abs().map_or(Val::Float(9_223_372_036_854_775_808.0), Val::Int)),
        Val::Float(value) => Ok(Val::Float(value.abs())),
        Val::Str(text) => {
            work.spend(text.len() as u64 / 256)?;
            count(text.chars().count())
        }
        Val::Arr(array) => count(array.items.len()),
        Val::Obj(object) => count(object.map.len()),
        Val::Json(serde_json::Value::Array(items)) => count(items.len()),
        Val::Json(serde_json::Value::Object(entries)) => count(entries.len()),
        Val::Json(_) => unreachable!("only containers are borrowed"),
    }
}

fn keys<'a>(value: Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let keys = match value.open(work)? {
        Val::Obj(object) => {
            let mut keys = work.vec(object.map.len())?;
            keys.extend(object.map.keys().cloned().map(Val::Str));
            keys
        }
        Val::Arr(array) => {
            let mut keys = work.vec(array.items.len())?;
            keys.extend((0_i64..).take(array.items.len()).map(Val::Int));
            keys
        }
        other => return raise(format!("{} has no keys", other.show())),
    };
    work.array(keys)
}

fn has<'a>(value: &Val<'a>, key: &Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    match (value.kind(), key) {
        (Kind::Object, Val::Str(key)) => Ok(Val::Bool(match value {
            Val::Obj(object) => object.map.contains_key(key),
            Val::Json(serde_json::Value::Object(entries)) => entries.contains_key(&**key),
            _ => false,
        })),
        (Kind::Array, Val::Int(_) | Val::Float(_)) => {
            let length = length(value, work)?;
            Ok(Val::Bool(key.as_f64() >= Some(0.0) && key.as_f64() < length.as_f64()))
        }
        _ => raise(format!("{} cannot have the key {}", value.kind().name(), key.show())),
    }
}

/// Both sides own what they hold. Nests as deep as values do.
fn contains<'a>(left: &Val<'a>, right: &Val<'a>, work: &mut Work) -> Outcome<'a, bool> {
    work.spend(1)?;
    Ok(match (left, right) {
        (Val::Obj(left), Val::Obj(right)) => {
            for (key, wanted) in &right.map {
                let found = match left.map.get(key) {
                    Some(value) => contains(value, wanted, work)?,
                    None => false,
                };
                if !found {
                    return Ok(false);
                }
            }
            true
        }
        (Val::Arr(left), Val::Arr(right)) => {
            for wanted in &right.items {
                let mut found = false;
                for value in &left.items {
                    if value.kind() == wanted.kind() && contains(value, wanted, work)? {
                        found = true;
                        break;
                    }
                }
                if !found {
                    return Ok(false);
                }
            }
            true
        }
        (Val::Str(left), Val::Str(right)) => {
            work.spend(left.len() as u64 / 128)?;
            left.contains(&**right)
        }
        (left, right) if left.kind().name() == right.kind().name() => {
            work.spend(1)?;
            compare(left, right).is_eq()
        }
        _ => {
            return raise(format!(
                "{} and {} cannot be compared for what they contain",
                left.show(),
                right.show()
            ));
        }
    })
}

fn flatten<'a>(value: Val<'a>, depth: f64, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let mut flat = Vec::new();
    for item in items(value, "flatten", work)?.iter() {
        flatten_into(item.clone(), depth, &mut flat, work)?;
    }
    work.array(flat)
}

/// Nests as deep as values do.
fn flatten_into<'a>(value: Val<'a>, depth: f64, flat: &mut Vec<Val<'a>>, work: &mut Work) -> Outcome<'a, ()> {
    work.spend(1)?;
    if value.kind() != Kind::Array || depth <= 0.0 {
        work.grow()?;
        flat.push(value);
        return Ok(());
    }
    for item in items(value, "flatten", work)?.iter() {
        flatten_into(item.clone(), depth - 1.0, flat, work)?;
    }
    Ok(())
}

/// Where a value, a run of values, or a text stands in an array or text.
pub(in crate::expression) fn indices<'a>(
    value: Val<'a>,
    wanted: Val<'a>,
    work: &mut Work,
) -> Outcome<'a, Val<'a>> {
    let mut found = Vec::new();
    match (value.own(work)?, wanted.own(work)?) {
        (Val::Null, _) => return Ok(Val::Null),
        (Val::Str(text), Val::Str(wanted)) => {
            if wanted.is_empty() {
                return Ok(Val::Null);
            }
            work.spend(text.len() as u64 / 32)?;
            let (mut from, mut characters) = (0, 0);
            while let Some(at) = text[from..].find(&*wanted) {
                work.spend(1 + wanted.len() as u64 / 16)?;
                work.grow()?;
                characters += text[from..from + at].chars().count();
                found.push(Val::Int(i64::try_from(characters).unwrap_or(i64::MAX)));
                let step = text[from + at..].chars().next().map_or(1, char::len_utf8);
                from += at + step;
                characters += 1;
            }
        }
        (Val::Arr(array), Val::Arr(wanted)) => {
            if wanted.items.is_empty() {
                return Ok(Val::Null);
            }
            for (at, window) in array.items.windows(wanted.items.len()).enumerate() {
                work.spend(1 + wanted.items.len() as u64 + wanted.weight / 128)?;
                if window.iter().zip(&wanted.items).all(|(a, b)| compare(a, b).is_eq()) {
                    work.grow()?;
                    found.push(Val::Int(i64::try_from(at).unwrap_or(i64::MAX)));
                }
            }
        }
        (Val::Arr(array), wanted) => {
            let weight = wanted.weight(work)?;
            for (at, item) in array.items.iter().enumerate() {
                work.spend(1 + weight / 128)?;
                if compare(item, &wanted).is_eq() {
                    work.grow()?;
                    found.push(Val::Int(i64::try_from(at).unwrap_or(i64::MAX)));
                }
            }
        }
        (value, wanted) => return raise(format!("cannot look for {} in {}", wanted.show(), value.show())),
    }
    work.array(found)
}
