//! Paths into values: index, slice, set, delete.

use serde_json::Value;

use super::value::{Val, entry_weight};
use super::work::{Outcome, Work, raise};

/// `value[key]`, slices as `{start, end}` objects included.
pub(super) fn index<'a>(value: &Val<'a>, key: &Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    match (value, key) {
        (Val::Null, Val::Str(_) | Val::Int(_) | Val::Float(_) | Val::Null) => Ok(Val::Null),
        (Val::Obj(object), Val::Str(key)) => Ok(object.map.get(key).cloned().unwrap_or(Val::Null)),
        (Val::Json(Value::Object(entries)), Val::Str(key)) => {
            entries.get(&**key).map_or(Ok(Val::Null), |value| Val::from_json(value, work))
        }
        (Val::Arr(array), Val::Int(_) | Val::Float(_)) => Ok(position(key, array.items.len())
            .and_then(|at| array.items.get(at))
            .cloned()
            .unwrap_or(Val::Null)),
        (Val::Json(Value::Array(items)), Val::Int(_) | Val::Float(_)) => {
            let item = position(key, items.len()).and_then(|at| items.get(at));
            item.map_or(Ok(Val::Null), |item| Val::from_json(item, work))
        }
        (Val::Arr(_) | Val::Json(Value::Array(_)), Val::Arr(_) | Val::Json(Value::Array(_))) => {
            super::native::indices(value.clone(), key.clone(), work)
        }
        (_, Val::Obj(_)) => {
            let (start, end) = slice_bounds(key, work)?;
            slice(value, &start, &end, work)
        }
        _ => raise(match key {
            Val::Str(key) => format!("cannot index {} with \"{key}\"", value.kind().name()),
            _ => format!("cannot index {} with {}", value.kind().name(), key.kind().name()),
        }),
    }
}

fn slice_bounds<'a>(key: &Val<'a>, work: &mut Work) -> Outcome<'a, (Val<'a>, Val<'a>)> {
    let bound = |name: &str, work: &mut Work| index(key, &Val::Str(name.into()), work);
    Ok((bound("start", work)?, bound("end", work)?))
}

/// `value[start:end]`
pub(super) fn slice<'a>(
    value: &Val<'a>,
    start: &Val<'a>,
    end: &Val<'a>,
    work: &mut Work,
) -> Outcome<'a, Val<'a>> {
    match value.clone().open(work)? {
        Val::Null => Ok(Val::Null),
        Val::Arr(array) => {
            let (from, to) = range_of(start, end, array.items.len())?;
            let mut items = work.vec(to - from)?;
            items.extend_from_slice(&array.items[from..to]);
            work.array(items)
        }
        Val::Str(text) => {
            work.spend(text.len() as u64 / 64)?;
            let (from, to) = range_of(start, end, text.chars().count())?;
            let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let begin = places.nth(from).unwrap_or(text.len());
            let finish = if to > from { places.nth(to - from - 1).unwrap_or(text.len()) } else { begin };
            work.text(&text[begin..finish])
        }
        other => raise(format!("cannot slice {}", other.kind().name())),
    }
}

/// The range that two bounds mean in a sequence of that length.
fn range_of<'a>(start: &Val<'a>, end: &Val<'a>, length: usize) -> Outcome<'a, (usize, usize)> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the length"
    )]
    let place = |bound: &Val<'a>, default: usize, round: fn(f64) -> f64| match bound {
        Val::Null => Ok(default),
        number => match number.as_f64() {
            Some(at) => {
                let at = if at < 0.0 { at + length as f64 } else { at };
                Ok(round(at).clamp(0.0, length as f64) as usize)
            }
            None => raise("the start and end of a slice must be numbers"),
        },
    };
    let from = place(start, 0, f64::floor)?;
    let to = place(end, length, f64::ceil)?;
    Ok((from, to.max(from)))
}

/// The place that a number means in a sequence; negative counts from the end.
fn position(key: &Val<'_>, length: usize) -> Option<usize> {
    let at = match key {
        Val::Float(at) if at.is_nan() => return None,
        #[expect(clippy::cast_possible_truncation, reason = "cut to the range")]
        Val::Float(at) => at.floor() as i64,
        key => key.as_i64()?,
    };
    usize::try_from(if at < 0 { at.checked_add(i64::try_from(length).ok()?)? } else { at }).ok()
}

/// Takes the value at a path out of `root`, which is left with null there.
pub(super) fn take<'a>(root: &mut Val<'a>, path: &[Val<'a>], work: &mut Work) -> Outcome<'a, Val<'a>> {
    let Some((key, rest)) = path.split_first() else { return Ok(std::mem::replace(root, Val::Null)) };
    work.spend(1)?;
    let (slot, weight) = match (&mut *root, key) {
        (Val::Arr(array), Val::Int(_) | Val::Float(_)) => {
            let at = position(key, array.items.len()).filter(|at| *at < array.items.len());
            let Some(at) = at else { return get(&Val::Null, rest, work) };
            let array = work.own_array(array)?;
            (&mut array.items[at], &mut array.weight)
        }
        (Val::Obj(object), Val::Str(key)) if object.map.contains_key(key) => {
            let object = work.own_object(object)?;
            (object.map.get_mut(key).expect("just found"), &mut object.weight)
        }
        _ => return get(root, path, work),
    };
    let mut child = std::mem::replace(slot, Val::Null);
    *weight = weight.saturating_sub(child.weight(work)?);
    let taken = take(&mut child, rest, work);
    *weight += child.weight(work)?;
    *slot = child;
    taken
}

/// The value at a path; null where there is nothing.
pub(super) fn get<'a>(root: &Val<'a>, path: &[Val<'a>], work: &mut Work) -> Outcome<'a, Val<'a>> {
    let mut value = root.clone();
    for key in path {
        work.spend(1)?;
        value = index(&value, key, work)?;
    }
    Ok(value)
}

/// `root` with `new` at the path.
pub(super) fn set<'a>(
    root: Val<'a>,
    path: &[Val<'a>],
    new: Val<'a>,
    work: &mut Work,
) -> Outcome<'a, Val<'a>> {
    let Some((key, rest)) = path.split_first() else { return Ok(new) };
    work.spend(1)?;
    match (root.open(work)?, key) {
        (Val::Null, Val::Str(_)) => {
            let empty = work.map(0)?;
            let object = work.object(empty)?;
            set(object, path, new, work)
        }
        (Val::Null, Val::Int(_) | Val::Float(_) | Val::Obj(_)) => {
            let array = work.array(Vec::new())?;
            set(array, path, new, work)
        }
        (Val::Obj(mut object), Val::Str(key)) => {
            if !object.map.contains_key(key) {
                work.grow_map()?;
            }
            let inner = work.own_object(&mut object)?;
            let old = inner.map.get_mut(key).map(|slot| std::mem::replace(slot, Val::Null));
            let known = match &old {
                Some(old) => old.weight(work)?,
                None => 0,
            };
            let entry = if old.is_some() { 0 } else { entry_weight(key) };
            let new = set(old.unwrap_or(Val::Null), rest, new, work)?;
            let (weight, depth) = new.measure(work)?;
            inner.weight = inner.weight.saturating_sub(known) + weight + entry;
            inner.depth = inner.depth.max(depth + 1);
            inner.map.insert(key.clone(), new);
            work.fits(object.weight, object.depth)?;
            Ok(Val::Obj(object))
        }
        (Val::Arr(mut array), Val::Int(_) | Val::Float(_)) => {
            let length = array.items.len();
            let Some(at) = position(key, length) else {
                return raise("an index lies before the array's start");
            };
            if at >= length {
                let more = at - length + 1;
                work.allocate(more.saturating_mul(2 * size_of::<Val<'_>>() + 72))?;
            }
            let inner = work.own_array(&mut array)?;
            if at >= length {
                inner.items.resize(at + 1, Val::Null);
                inner.weight = inner.weight.saturating_add(72 * (at - length + 1) as u64);
            }
            let old = std::mem::replace(&mut inner.items[at], Val::Null);
            let known = old.weight(work)?;
            let new = set(old, rest, new, work)?;
            let (weight, depth) = new.measure(work)?;
            inner.weight = inner.weight.saturating_sub(known) + weight;
            inner.depth = inner.depth.max(depth + 1);
            inner.items[at] = new;
            work.fits(array.weight, array.depth)?;
            Ok(Val::Arr(array))
        }
        (Val::Arr(array), Val::Obj(_)) => {
            let (start, end) = slice_bounds(key, work)?;
            let (from, to) = range_of(&start, &end, array.items.len())?;
            let old = slice(&Val::Arr(array.clone()), &start, &end, work)?;
            let Val::Arr(middle) = set(old, rest, new, work)?.open(work)? else {
                return raise("a slice of an array can only be set to an array");
            };
            let mut items = work.vec(array.items.len() - (to - from) + middle.items.len())?;
            items.extend_from_slice(&array.items[..from]);
            items.extend_from_slice(&middle.items);
            items.extend_from_slice(&array.items[to..]);
            work.array(items)
        }
        (root, key) => raise(format!("cannot set {} of {}", key.show(), root.kind().name())),
    }
}

/// `root` without what is at the paths, which are in jq's order: the last goes first, so that no index shifts.
pub(super) fn delete_all<'a>(
    mut root: Val<'a>,
    paths: &[Vec<Val<'a>>],
    work: &mut Work,
) -> Outcome<'a, Val<'a>> {
    for path in paths.iter().rev() {
        root = delete(root, path, work)?;
    }
    Ok(root)
}

fn delete<'a>(root: Val<'a>, path: &[Val<'a>], work: &mut Work) -> Outcome<'a, Val<'a>> {
    let Some((key, rest)) = path.split_first() else { return Ok(Val::Null) };
    work.spend(1)?;
    if !rest.is_empty() {
        let child = index(&root, key, work)?;
        if matches!(child, Val::Null) {
            return Ok(root);
        }
        drop(child);
        let mut root = root.open(work)?;
        let child = take(&mut root, &path[..1], work)?;
        let child = delete(child, rest, work)?;
        return set(root, &path[..1], child, work);
    }
    match (root.open(work)?, key) {
        (Val::Null, _) => Ok(Val::Null),
        (Val::Obj(mut object), Val::Str(key)) => {
            if object.map.contains_key(key) {
                work.spend(object.map.len() as u64 / 16)?;
                let inner = work.own_object(&mut object)?;
                if let Some(old) = inner.map.shift_remove(key) {
                    inner.weight = inner.weight.saturating_sub(old.weight(work)? + entry_weight(key));
                }
            }
            Ok(Val::Obj(object))
        }
        (Val::Arr(mut array), Val::Int(_) | Val::Float(_)) => {
            if let Some(at) = position(key, array.items.len()).filter(|at| *at < array.items.len()) {
                work.spend(array.items.len() as u64 / 64)?;
                let inner = work.own_array(&mut array)?;
                let old = inner.items.remove(at);
                inner.weight = inner.weight.saturating_sub(old.weight(work)?);
            }
            Ok(Val::Arr(array))
        }
        (Val::Arr(array), Val::Obj(_)) => {
            let (start, end) = slice_bounds(key, work)?;
            let (from, to) = range_of(&start, &end, array.items.len())?;
            let mut items = work.vec(array.items.len() - (to - from))?;
            items.extend_from_slice(&array.items[..from]);
            items.extend_from_slice(&array.items[to..]);
            work.array(items)
        }
        (root, key) => raise(format!("cannot delete {} of {}", key.show(), root.kind().name())),
    }
}
