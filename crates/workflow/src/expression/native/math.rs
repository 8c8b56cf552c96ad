//! Arithmetic and numbers. Transcendental functions come from `libm`, so that every machine gives the same bits.

use std::sync::Arc;

use jaq_core::ops::Math;

use super::{Native, expect_number, native};
use crate::expression::path;
use crate::expression::value::{Val, compare, entry_weight};
use crate::expression::work::{Fault, Outcome, Work, raise};

macro_rules! unary {
    ($name:literal, $function:expr) => {
        native($name, 0, |_, input, _| {
            let function: fn(f64) -> f64 = $function;
            Ok(Val::float(function(expect_number(&input, concat!("the input of ", $name))?)))
        })
    };
}

pub(super) const NATIVES: &[Native] = &[
    unary!("floor", libm::floor),
    unary!("ceil", libm::ceil),
    unary!("round", libm::round),
    unary!("trunc", libm::trunc),
    unary!("sqrt", libm::sqrt),
    unary!("cbrt", libm::cbrt),
    unary!("fabs", libm::fabs),
    unary!("exp", libm::exp),
    unary!("exp2", libm::exp2),
    unary!("exp10", libm::exp10),
    unary!("log", libm::log),
    unary!("log2", libm::log2),
    unary!("log10", libm::log10),
    unary!("sin", libm::sin),
    unary!("cos", libm::cos),
    unary!("tan", libm::tan),
    unary!("asin", libm::asin),
    unary!("acos", libm::acos),
    unary!("atan", libm::atan),
    native("abs", 0, |_, input, _| match input {
        Val::Int(value) => Ok(value.checked_abs().map_or(Val::Float(9_223_372_036_854_775_808.0), Val::Int)),
        other => Ok(Val::float(expect_number(&other, "the input of abs")?.abs())),
    }),
    native("pow", 2, |_, _, arguments| {
        let (base, exponent) =
            (expect_number(&arguments[0], "the base")?, expect_number(&arguments[1], "the exponent")?);
        Ok(Val::float(libm::pow(base, exponent)))
    }),
    native("atan2", 2, |_, _, arguments| {
        Ok(Val::float(libm::atan2(expect_number(&arguments[0], "y")?, expect_number(&arguments[1], "x")?)))
    }),
    native("fmod", 2, |_, _, arguments| {
        Ok(Val::float(libm::fmod(expect_number(&arguments[0], "x")?, expect_number(&arguments[1], "y")?)))
    }),
    native("infinite", 0, |_, _, _| Ok(Val::Float(f64::INFINITY))),
    native("nan", 0, |_, _, _| Ok(Val::Float(f64::NAN))),
    native("isnan", 0, |_, input, _| Ok(Val::Bool(expect_number(&input, "the input of isnan")?.is_nan()))),
    native("isinfinite", 0, |_, input, _| {
        Ok(Val::Bool(expect_number(&input, "the input of isinfinite")?.is_infinite()))
    }),
    native("isnormal", 0, |_, input, _| Ok(Val::Bool(input.as_f64().is_some_and(f64::is_normal)))),
];

/// `left op right`
pub(in crate::expression) fn math<'a>(
    op: Math,
    left: Val<'a>,
    right: Val<'a>,
    work: &mut Work,
) -> Outcome<'a, Val<'a>> {
    match (op, &left, &right) {
        (Math::Add, Val::Null, _) => return Ok(right),
        (Math::Add, _, Val::Null) => return Ok(left),
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) {
        return numbers(op, &left, &right, a, b);
    }
    let (left, right) = (left.open(work)?, right.open(work)?);
    match (op, left, right) {
        (Math::Add, Val::Str(a), Val::Str(b)) => {
            let mut text = work.string(a.len() + b.len())?;
            text.push_str(&a);
            text.push_str(&b);
            work.text(text)
        }
        (Math::Add, Val::Arr(a), Val::Arr(b)) => append(a, &b, work),
        (Math::Add, Val::Obj(mut a), Val::Obj(b)) => {
            let inner = work.own_object(&mut a)?;
            for (key, value) in &b.map {
                work.spend(1)?;
                work.grow_map()?;
                let (weight, depth) = value.measure(work)?;
                let old = inner.map.insert(key.clone(), value.clone());
                let known = match old {
                    Some(old) => old.weight(work)?,
                    None => 0,
                };
                let entry = if known == 0 { entry_weight(key) } else { 0 };
                inner.weight = inner.weight.saturating_sub(known) + weight + entry;
                inner.depth = inner.depth.max(depth + 1);
            }
            work.fits(a.weight, a.depth)?;
            Ok(Val::Obj(a))
        }
        (Math::Sub, Val::Arr(a), Val::Arr(b)) => {
            let (a, b) = (Val::Arr(a).own(work)?, Val::Arr(b).own(work)?);
            let (Val::Arr(a), Val::Arr(b)) = (a, b) else { unreachable!("arrays stay arrays") };
            let mut kept = work.vec(a.items.len())?;
            for item in &a.items {
                work.spend(1 + b.items.len() as u64 + b.weight / 128)?;
                if !b.items.iter().any(|other| compare(item, other).is_eq()) {
                    kept.push(item.clone());
                }
            }
            work.array(kept)
        }
        (Math::Mul, Val::Str(text), number) | (Math::Mul, number, Val::Str(text))
            if number.as_f64().is_some() =>
        {
            repeat(&text, number.as_f64().unwrap_or(0.0), work)
        }
        (Math::Mul, Val::Obj(a), Val::Obj(b)) => merge(Val::Obj(a), &Val::Obj(b), work),
        (Math::Div, Val::Str(a), Val::Str(b)) => super::text::split(&a, &b, work),
        (op, left, right) => {
            let verb = match op {
                Math::Add => "added",
                Math::Sub => "subtracted",
                Math::Mul => "multiplied",
                Math::Div => "divided",
                Math::Rem => "divided with a remainder",
            };
            raise(format!("{} and {} cannot be {verb}", left.show(), right.show()))
        }
    }
}

/// In place when `left` is held by no one else.
fn append<'a>(
    mut left: Arc<crate::expression::value::Array<'a>>,
    right: &crate::expression::value::Array<'a>,
    work: &mut Work,
) -> Outcome<'a, Val<'a>> {
    work.spend(right.items.len() as u64 / 8)?;
    work.allocate(2 * right.items.len() * size_of::<Val<'_>>())?;
    let inner = work.own_array(&mut left)?;
    inner.items.extend_from_slice(&right.items);
    inner.weight += right.weight;
    inner.depth = inner.depth.max(right.depth);
    work.fits(left.weight, left.depth)?;
    Ok(Val::Arr(left))
}

fn numbers<'a>(op: Math, left: &Val<'a>, right: &Val<'a>, a: f64, b: f64) -> Outcome<'a, Val<'a>> {
    if let (Val::Int(a), Val::Int(b)) = (left, right) {
        let exact = match op {
            Math::Add => a.checked_add(*b),
            Math::Sub => a.checked_sub(*b),
            Math::Mul => a.checked_mul(*b),
            Math::Div => (a.checked_rem(*b) == Some(0)).then(|| a.checked_div(*b)).flatten(),
            Math::Rem => a.checked_rem(*b),
        };
        if let Some(value) = exact {
            return Ok(Val::Int(value));
        }
    }
    Ok(match op {
        Math::Add => Val::float(a + b),
        Math::Sub => Val::float(a - b),
        Math::Mul => Val::float(a * b),
        Math::Div | Math::Rem if b == 0.0 => {
            return raise(format!(
                "{} and {} cannot be divided: the divisor is zero",
                left.show(),
                right.show()
            ));
        }
        Math::Div => Val::float(a / b),
        Math::Rem => match (left.as_i64(), right.as_i64()) {
            _ if a.is_nan() || b.is_nan() => Val::Float(f64::NAN),
            (Some(_), Some(0)) => return raise("the divisor of a remainder is zero"),
            (Some(a), Some(b)) => Val::Int(a.checked_rem(b).unwrap_or(0)),
            _ => unreachable!("both are numbers"),
        },
    })
}

fn repeat<'a>(text: &str, times: f64, work: &mut Work) -> Outcome<'a, Val<'a>> {
    if times.is_nan() || times <= 0.0 {
        return Ok(Val::Null);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is cut to the range; too many are refused"
    )]
    let times = if times < 1.0 { 1 } else { times as usize };
    let bytes = text.len().checked_mul(times).ok_or(Fault::Budget("memory"))?;
    let mut repeated = work.string(bytes)?;
    for _ in 0..times.min(bytes) {
        repeated.push_str(text);
    }
    work.text(repeated)
}

/// `a * b` of objects: objects in them are merged likewise. Values end [`crate::expression::value::MAX_DEPTH`] deep.
fn merge<'a>(left: Val<'a>, right: &Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let mut merged = left;
    let Val::Obj(right) = right.clone().open(work)? else { return Ok(right.clone()) };
    for (key, value) in &right.map {
        work.spend(1)?;
        let path = [Val::Str(key.clone())];
        let old = path::index(&merged, &path[0], work)?.open(work)?;
        let value = value.clone().open(work)?;
        let new = match (&old, &value) {
            (Val::Obj(_), Val::Obj(_)) => merge(old, &value, work)?,
            _ => value,
        };
        merged = path::set(merged, &path, new, work)?;
    }
    Ok(merged)
}
