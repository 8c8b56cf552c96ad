//! Values of the jq machine. Containers know their size and depth, so that what would be too large is never built and
//! every walk over a value is bounded by a number known beforehand. Values of the caller are borrowed until looked into.

use std::cmp::Ordering;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Number, Value};

use super::work::{Fault, Outcome, Work};

/// Levels of arrays and objects inside each other. Below serde_json's 128, so that what is stored can be read back.
pub(super) const MAX_DEPTH: u32 = 96;
/// Weight of one value: about the bytes it takes as JSON in memory, shared parts counted each time.
pub(super) const MAX_WEIGHT: u64 = 12 << 20;
/// Weight of a scalar.
const SCALAR_WEIGHT: u64 = 72;

pub(super) type Map<'a> = IndexMap<Arc<str>, Val<'a>>;

#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Arr(Arc<Array<'a>>),
    Obj(Arc<Object<'a>>),
    /// An array or object of the caller.
    Json(&'a Value),
}

#[derive(Clone, Debug)]
pub(super) struct Array<'a> {
    pub(super) items: Vec<Val<'a>>,
    pub(super) weight: u64,
    pub(super) depth: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    pub(super) map: Map<'a>,
    pub(super) weight: u64,
    pub(super) depth: u32,
}

/// The types of jq, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Null,
    False,
    True,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::False | Kind::True => "boolean",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }
}

impl<'a> Val<'a> {
    /// A value of the caller: scalars are copied, containers borrowed.
    pub(super) fn from_json(value: &'a Value, work: &mut Work) -> Outcome<'a, Val<'a>> {
        Ok(match value {
            Value::Null => Val::Null,
            Value::Bool(value) => Val::Bool(*value),
            Value::Number(number) => Val::from_number(number),
            Value::String(text) => work.text(text.as_str())?,
            Value::Array(_) | Value::Object(_) => Val::Json(value),
        })
    }

    fn from_number(number: &Number) -> Val<'a> {
        number.as_i64().map_or_else(|| Val::Float(number.as_f64().unwrap_or(f64::NAN)), Val::Int)
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Val::Null => Kind::Null,
            Val::Bool(false) => Kind::False,
            Val::Bool(true) => Kind::True,
            Val::Int(_) | Val::Float(_) => Kind::Number,
            Val::Str(_) => Kind::String,
            Val::Arr(_) | Val::Json(Value::Array(_)) => Kind::Array,
            Val::Obj(_) | Val::Json(_) => Kind::Object,
        }
    }

    pub(super) fn is_true(&self) -> bool {
        !matches!(self, Val::Null | Val::Bool(false))
    }

    /// With a borrowed container opened by one level.
    pub(super) fn open(self, work: &mut Work) -> Outcome<'a, Val<'a>> {
        match self {
            Val::Json(Value::Array(items)) => {
                let mut opened = work.vec(items.len())?;
                for item in items {
                    opened.push(Val::from_json(item, work)?);
                }
                work.array(opened)
            }
            Val::Json(Value::Object(entries)) => {
                let mut map = work.map(entries.len())?;
                for (key, value) in entries {
                    work.spend(1)?;
                    work.allocate(key.len())?;
                    map.insert(Arc::from(key.as_str()), Val::from_json(value, work)?);
                }
                work.object(map)
            }
            other => Ok(other),
        }
    }

    /// With nothing borrowed in it.
    pub(super) fn own(self, work: &mut Work) -> Outcome<'a, Val<'a>> {
        self.own_below(work, 0)
    }

    fn own_below(self, work: &mut Work, depth: u32) -> Outcome<'a, Val<'a>> {
        if depth > MAX_DEPTH {
            return Err(Fault::Budget("depth"));
        }
        work.spend(1)?;
        match self.open(work)? {
            Val::Arr(array) if array.items.iter().any(Val::may_borrow) => {
                let mut items = work.vec(array.items.len())?;
                for item in &array.items {
                    items.push(item.clone().own_below(work, depth + 1)?);
                }
                work.array(items)
            }
            Val::Obj(object) if object.map.values().any(Val::may_borrow) => {
                let mut map = work.map(object.map.len())?;
                for (key, value) in &object.map {
                    map.insert(key.clone(), value.clone().own_below(work, depth + 1)?);
                }
                work.object(map)
            }
            other => Ok(other),
        }
    }

    fn may_borrow(&self) -> bool {
        matches!(self, Val::Json(_) | Val::Arr(_) | Val::Obj(_))
    }

    /// About the bytes it takes as JSON in memory.
    pub(super) fn weight(&self, work: &mut Work) -> Outcome<'a, u64> {
        Ok(match self {
            Val::Null | Val::Bool(_) | Val::Int(_) | Val::Float(_) => SCALAR_WEIGHT,
            Val::Str(text) => SCALAR_WEIGHT + text.len() as u64,
            Val::Arr(array) => array.weight,
            Val::Obj(object) => object.weight,
            Val::Json(value) => weigh_json(value, work, 0)?.0,
        })
    }

    /// Weight and levels.
    pub(super) fn measure(&self, work: &mut Work) -> Outcome<'a, (u64, u32)> {
        match self {
            Val::Arr(array) => Ok((array.weight, array.depth)),
            Val::Obj(object) => Ok((object.weight, object.depth)),
            Val::Json(value) => weigh_json(value, work, 0),
            scalar => Ok((scalar.weight(work)?, 0)),
        }
    }

    /// As JSON. A number without a fraction is written as a whole number, NaN as null.
    pub(super) fn to_json(&self, work: &mut Work) -> Outcome<'a, Value> {
        let weight = self.weight(work)?;
        if weight > MAX_WEIGHT {
            return Err(Fault::Budget("output"));
        }
        work.spend(weight / 256)?;
        Ok(self.convert())
    }

    fn convert(&self) -> Value {
        match self {
            Val::Null => Value::Null,
            Val::Bool(value) => Value::Bool(*value),
            Val::Int(value) => Value::Number((*value).into()),
            Val::Float(value) => whole(*value).map_or_else(
                || Number::from_f64(finite(*value)).map_or(Value::Null, Value::Number),
                |whole| Value::Number(whole.into()),
            ),
            Val::Str(text) => Value::String(text.to_string()),
            Val::Arr(array) => Value::Array(array.items.iter().map(Val::convert).collect()),
            Val::Obj(object) => Value::Object(
                object.map.iter().map(|(key, value)| (key.to_string(), value.convert())).collect(),
            ),
            Val::Json(value) => Value::clone(value),
        }
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "jq's numbers are doubles")]
            Val::Int(value) => Some(*value as f64),
            Val::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The whole part of a number, at the ends of the range if it lies beyond.
    #[expect(clippy::cast_possible_truncation, reason = "a float is cut to the range")]
    pub(super) fn as_i64(&self) -> Option<i64> {
        match self {
            Val::Int(value) => Some(*value),
            Val::Float(value) => Some(value.trunc() as i64),
            _ => None,
        }
    }

    pub(super) fn float(value: f64) -> Val<'a> {
        whole(value).map_or(Val::Float(value), Val::Int)
    }

    /// The value as an error message shows it: its JSON, cut.
    pub(super) fn show(&self) -> String {
        const SHOWN: usize = 40;
        let text = match self {
            Val::Arr(_) | Val::Obj(_) | Val::Json(_) => return self.kind().name().to_owned(),
            scalar => scalar.convert().to_string(),
        };
        let cut: String = text.chars().take(SHOWN).collect();
        let dots = if cut.len() < text.len() { "..." } else { "" };
        format!("{} ({cut}{dots})", self.kind().name())
    }
}

fn weigh_json<'a>(value: &Value, work: &mut Work, depth: u32) -> Outcome<'a, (u64, u32)> {
    if depth > MAX_DEPTH {
        return Err(Fault::Budget("depth"));
    }
    work.spend(1)?;
    let mut weight = SCALAR_WEIGHT;
    let mut levels = 0;
    match value {
        Value::String(text) => weight += text.len() as u64,
        Value::Array(items) => {
            for item in items {
                let (below, deep) = weigh_json(item, work, depth + 1)?;
                weight += below;
                levels = levels.max(deep + 1);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                let (below, deep) = weigh_json(item, work, depth + 1)?;
                weight += below + entry_weight(key);
                levels = levels.max(deep + 1);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok((weight, levels))
}

/// What a key adds to an object's weight.
pub(super) fn entry_weight(key: &str) -> u64 {
    96 + key.len() as u64
}

/// The whole number that a double is, if it is one that doubles state exactly.
#[expect(clippy::cast_possible_truncation, reason = "bounded by the guard")]
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}

fn finite(value: f64) -> f64 {
    value.clamp(f64::MIN, f64::MAX)
}

/// jq's order. Both sides own all they hold.
pub(super) fn compare(left: &Val<'_>, right: &Val<'_>) -> Ordering {
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => a.cmp(b),
        (Val::Str(a), Val::Str(b)) => a.cmp(b),
        (Val::Arr(a), Val::Arr(b)) => {
            let different =
                a.items.iter().zip(&b.items).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
            different.unwrap_or_else(|| a.items.len().cmp(&b.items.len()))
        }
        (Val::Obj(a), Val::Obj(b)) => compare_objects(&a.map, &b.map),
        _ => match (left.as_f64(), right.as_f64()) {
            // NaN is below every number, so that there is an order at all.
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())),
            _ => left.kind().cmp(&right.kind()),
        },
    }
}

/// First by their sorted keys, then by their values in the order of the keys.
fn compare_objects(left: &Map<'_>, right: &Map<'_>) -> Ordering {
    let sorted = |map: &Map<'_>| {
        let mut keys: Vec<Arc<str>> = map.keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let (a, b) = (sorted(left), sorted(right));
    a.cmp(&b).then_with(|| {
        let values = a.iter().map(|key| compare(&left[key], &right[key]));
        values.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    })
}
