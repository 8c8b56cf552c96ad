//! What each operation does with its input: the next state of the machine.

use super::{Binding, Choice, Frame, Machine, NONE, Next, Spot, Update, Way};
use crate::expression::code::{Id, Op};
use crate::expression::native;
use crate::expression::path;
use crate::expression::value::{Val, compare};
use crate::expression::work::{Fault, Outcome, raise};

impl<'a> Machine<'a, '_> {
    pub(super) fn evaluate(
        &mut self,
        id: Id,
        bindings: u32,
        spot: Spot<'a>,
        then: u32,
    ) -> Outcome<'a, Next<'a>> {
        let eval = |id, spot, then| Ok(Next::Evaluate { id, bindings, spot, then });
        match self.operation(id) {
            Op::Identity => Ok(Next::Return { spot, to: then }),
            Op::Constant(value) => self.give(value.clone(), spot.way, then),
            Op::Variable(hops) => {
                let value = self.variable(bindings, *hops)?;
                self.give(value, spot.way, then)
            }
            Op::External(number) => {
                let value = self.external(id, *number)?;
                self.give(value, spot.way, then)
            }
            Op::Closure(hops) => {
                let at = self.outer(bindings, *hops)?;
                match self.bindings[at as usize].0 {
                    Binding::Closure { id, bindings } => Ok(Next::Evaluate { id, bindings, spot, then }),
                    _ => unreachable!("the compiler counts bindings"),
                }
            }
            Op::Call { definition, hops, arguments } => {
                let mut inner = self.outer(bindings, *hops)?;
                for argument in arguments {
                    let closure = self.closure(*argument, bindings)?;
                    inner = self.bind(closure, inner)?;
                }
                let id = self.definition(*definition).body;
                Ok(Next::Evaluate { id, bindings: inner, spot, then })
            }
            Op::Native { arguments, .. } => {
                self.no_path(&spot)?;
                let done = self.work.vec(arguments.len())?;
                self.arguments(id, bindings, spot.value, done, then)
            }
            Op::Pipe(left, right) => {
                let then = self.push(Frame::Pipe { id: *right, bindings }, then)?;
                eval(*left, spot, then)
            }
            Op::Comma(left, right) => {
                self.choose(Choice::Evaluate { id: *right, bindings, spot: spot.clone(), then })?;
                eval(*left, spot, then)
            }
            Op::Empty => Ok(Next::Backtrack),
            Op::Collect(items) => {
                self.no_path(&spot)?;
                let choice = self.choose(Choice::Collect { items: Vec::new(), then })?;
                let then = self.push(Frame::Append { choice }, NONE)?;
                eval(*items, spot, then)
            }
            Op::Object(_) => {
                self.no_path(&spot)?;
                let empty = self.work.map(0)?;
                let built = self.work.object(empty)?;
                self.object_entry(id, 0, bindings, spot.value, built, then)
            }
            Op::Negate(inner) => {
                self.no_path(&spot)?;
                let then = self.push(Frame::Negate, then)?;
                eval(*inner, spot, then)
            }
            Op::Math(op, left, right) => {
                self.no_path(&spot)?;
                match self.quick(*right, bindings, &spot.value)? {
                    Some(right) => {
                        let then = self.push(Frame::MathLeft { op: *op, right }, then)?;
                        eval(*left, spot, then)
                    }
                    None => {
                        let input = spot.value.clone();
                        let then =
                            self.push(Frame::MathRight { op: *op, left: *left, bindings, input }, then)?;
                        eval(*right, spot, then)
                    }
                }
            }
            Op::Compare(op, left, right) => {
                self.no_path(&spot)?;
                match self.quick(*right, bindings, &spot.value)? {
                    Some(right) => {
                        let then = self.push(Frame::CompareLeft { op: *op, right }, then)?;
                        eval(*left, spot, then)
                    }
                    None => {
                        let input = spot.value.clone();
                        let then =
                            self.push(Frame::CompareRight { op: *op, left: *left, bindings, input }, then)?;
                        eval(*right, spot, then)
                    }
                }
            }
            Op::And(left, right) | Op::Or(left, right) => {
                self.no_path(&spot)?;
                let and = matches!(self.operation(id), Op::And(..));
                let input = spot.value.clone();
                let then = self.push(Frame::Logic { and, right: *right, bindings, input }, then)?;
                eval(*left, spot, then)
            }
            Op::Alternative(left, other) => {
                let again = spot.clone();
                let choice = self.choose(Choice::Alternative {
                    seen: false,
                    other: *other,
                    bindings,
                    spot: again,
                    then,
                })?;
                let then = self.push(Frame::Alternative { choice }, then)?;
                eval(*left, spot, then)
            }
            Op::Bind(source, body) => {
                if let Some(value) = self.quick(*source, bindings, &spot.value)? {
                    let bindings = self.bind(Binding::Value(value), bindings)?;
                    return Ok(Next::Evaluate { id: *body, bindings, spot, then });
                }
                let input = Spot::plain(spot.value.clone());
                let then = self.push(Frame::Bind { body: *body, bindings, spot }, then)?;
                eval(*source, input, then)
            }
            Op::Reduce { start, .. } | Op::Foreach { start, .. } => {
                let input = spot.value.clone();
                let then = self.push(Frame::FoldStart { operation: id, bindings, input }, then)?;
                eval(*start, spot, then)
            }
            Op::Try(body, handler) => {
                let choice = self.choose(Choice::Try { handler: *handler, bindings, then })?;
                let then = self.push(Frame::Leave { choice }, then)?;
                eval(*body, spot, then)
            }
            Op::If { condition, then: yes, otherwise } => {
                if let Some(value) = self.quick(*condition, bindings, &spot.value)? {
                    return eval(if value.is_true() { *yes } else { *otherwise }, spot, then);
                }
                let input = Spot::plain(spot.value.clone());
                let then =
                    self.push(Frame::If { then: *yes, otherwise: *otherwise, bindings, spot }, then)?;
                eval(*condition, input, then)
            }
            Op::Label(body) => {
                self.serial += 1;
                let serial = self.serial;
                let choice = self.choose(Choice::Label { serial })?;
                let bindings = self.bind(Binding::Label { choice, serial }, bindings)?;
                Ok(Next::Evaluate { id: *body, bindings, spot, then })
            }
            Op::Break(hops) => {
                let at = self.outer(bindings, *hops)?;
                let Binding::Label { choice, serial } = self.bindings[at as usize].0 else {
                    unreachable!("the compiler counts bindings")
                };
                let there = self.choices.get(choice as usize);
                if !matches!(there, Some((Choice::Label { serial: found }, _)) if *found == serial) {
                    return raise("break");
                }
                self.choices.truncate(choice as usize);
                Ok(Next::Backtrack)
            }
            Op::Index { base, key, optional } => {
                if let Some(key) = self.quick(*key, bindings, &spot.value)? {
                    return self.index_base(*base, key, *optional, bindings, spot, then);
                }
                let input = Spot::plain(spot.value.clone());
                let frame = Frame::IndexKey { base: *base, optional: *optional, bindings, spot };
                let then = self.push(frame, then)?;
                eval(*key, input, then)
            }
            Op::Slice { to, .. } => {
                let input = Spot::plain(spot.value.clone());
                let then = self.push(Frame::SliceTo { operation: id, bindings, spot }, then)?;
                eval(*to, input, then)
            }
            Op::Iterate { base, optional } => {
                if matches!(self.operation(*base), Op::Identity) {
                    return self.iterate(spot, *optional, then);
                }
                let then = self.push(Frame::IterateBase { optional: *optional }, then)?;
                eval(*base, spot, then)
            }
            Op::Path(of) => {
                self.no_path(&spot)?;
                let then = self.push(Frame::PathOf { outer: spot.way }, then)?;
                eval(*of, Spot { value: spot.value, way: Way::Root }, then)
            }
            Op::GetPath(keys) => {
                let input = Spot::plain(spot.value.clone());
                let then = self.push(Frame::GetPath { spot }, then)?;
                eval(*keys, input, then)
            }
            Op::Update(target, value) => {
                self.no_path(&spot)?;
                let update = Update {
                    root: spot.value.clone(),
                    paths: Vec::new(),
                    deleted: Vec::new(),
                    next: 0,
                    value: *value,
                    bindings,
                    then,
                };
                let choice = self.choose(Choice::Update(Box::new(update)))?;
                let then = self.push(Frame::CollectPath { choice }, NONE)?;
                eval(*target, Spot { value: spot.value, way: Way::Root }, then)
            }
            Op::Range { .. } => {
                self.no_path(&spot)?;
                let done = self.work.vec(3)?;
                self.arguments(id, bindings, spot.value, done, then)
            }
            Op::Limit(count, of) | Op::Skip(count, of) => {
                let skip = matches!(self.operation(id), Op::Skip(..));
                let input = Spot::plain(spot.value.clone());
                let then = self.push(Frame::LimitCount { of: *of, bindings, spot, skip }, then)?;
                eval(*count, input, then)
            }
            Op::Error(message) => {
                let then = self.push(Frame::Raise, then)?;
                eval(*message, Spot::plain(spot.value), then)
            }
        }
    }

    /// A value that is not a place in the input: fine unless a path was asked for.
    pub(super) fn give(&mut self, value: Val<'a>, way: Way, to: u32) -> Outcome<'a, Next<'a>> {
        if way != Way::Off {
            return raise("this is not a path into the input");
        }
        Ok(Next::Return { spot: Spot { value, way }, to })
    }

    pub(super) fn no_path(&self, spot: &Spot<'a>) -> Outcome<'a, ()> {
        match spot.way {
            Way::Off => Ok(()),
            Way::Root | Way::Part(_) => raise("this is not a path into the input"),
        }
    }

    /// A closure as an argument; one that only names another is that other.
    pub(super) fn closure(&mut self, id: Id, bindings: u32) -> Outcome<'a, Binding<'a>> {
        if let Op::Closure(hops) = self.operation(id) {
            let at = self.outer(bindings, *hops)?;
            return Ok(self.bindings[at as usize].0.clone());
        }
        Ok(Binding::Closure { id, bindings })
    }

    /// Evaluates the arguments that are still to do, then the native or range itself.
    pub(super) fn arguments(
        &mut self,
        id: Id,
        bindings: u32,
        input: Val<'a>,
        mut done: Vec<Val<'a>>,
        then: u32,
    ) -> Outcome<'a, Next<'a>> {
        loop {
            let argument = match self.operation(id) {
                Op::Native { native, arguments } => match arguments.get(done.len()) {
                    Some(argument) => *argument,
                    None => {
                        let value = (native.run)(self.work, input, &mut done)?;
                        return Ok(Next::Return { spot: Spot::plain(value), to: then });
                    }
                },
                Op::Range { from, to, by } => match done.len() {
                    0 => *from,
                    1 => *to,
                    2 => *by,
                    _ => return self.range(&done, then),
                },
                _ => unreachable!("only natives and ranges have arguments"),
            };
            match self.quick(argument, bindings, &input)? {
                Some(value) => done.push(value),
                None => {
                    let frame = Frame::Argument { operation: id, bindings, input: input.clone(), done };
                    let then = self.push(frame, then)?;
                    return Ok(Next::Evaluate { id: argument, bindings, spot: Spot::plain(input), then });
                }
            }
        }
    }

    pub(super) fn range(&mut self, bounds: &[Val<'a>], then: u32) -> Outcome<'a, Next<'a>> {
        let (Some(_), Some(to), Some(_)) = (bounds[0].as_f64(), bounds[1].as_f64(), bounds[2].as_f64())
        else {
            return raise("the bounds of a range must be numbers");
        };
        self.choose(Choice::Range { next: bounds[0].clone(), to, by: bounds[2].clone(), then })?;
        Ok(Next::Backtrack)
    }

    /// Goes on with the entries of an object from one on.
    pub(super) fn object_entry(
        &mut self,
        id: Id,
        mut entry: u32,
        bindings: u32,
        input: Val<'a>,
        mut built: Val<'a>,
        then: u32,
    ) -> Outcome<'a, Next<'a>> {
        let Op::Object(entries) = self.operation(id) else { unreachable!("an object") };
        while let Some((key, value)) = entries.get(entry as usize) {
            let Some(name) = self.quick(*key, bindings, &input)? else {
                let frame = Frame::ObjectKey { operation: id, entry, bindings, input: input.clone(), built };
                let then = self.push(frame, then)?;
                return Ok(Next::Evaluate { id: *key, bindings, spot: Spot::plain(input), then });
            };
            let Some(item) = self.quick(*value, bindings, &input)? else {
                let frame = Frame::ObjectValue {
                    operation: id,
                    entry,
                    bindings,
                    input: input.clone(),
                    built,
                    key: name,
                };
                let then = self.push(frame, then)?;
                return Ok(Next::Evaluate { id: *value, bindings, spot: Spot::plain(input), then });
            };
            built = self.object_insert(built, name, item)?;
            entry += 1;
        }
        Ok(Next::Return { spot: Spot::plain(built), to: then })
    }

    pub(super) fn object_insert(
        &mut self,
        built: Val<'a>,
        key: Val<'a>,
        value: Val<'a>,
    ) -> Outcome<'a, Val<'a>> {
        if !matches!(key, Val::Str(_)) {
            return raise(format!("an object's key must be a string, not {}", key.show()));
        }
        path::set(built, &[key], value, self.work)
    }

    pub(super) fn index_base(
        &mut self,
        base: Id,
        key: Val<'a>,
        optional: bool,
        bindings: u32,
        spot: Spot<'a>,
        then: u32,
    ) -> Outcome<'a, Next<'a>> {
        if matches!(self.operation(base), Op::Identity) {
            return self.index(&spot, key, optional, then);
        }
        let then = self.push(Frame::IndexBase { key, optional }, then)?;
        Ok(Next::Evaluate { id: base, bindings, spot, then })
    }

    pub(super) fn index(
        &mut self,
        spot: &Spot<'a>,
        key: Val<'a>,
        optional: bool,
        then: u32,
    ) -> Outcome<'a, Next<'a>> {
        match path::index(&spot.value, &key, self.work) {
            Ok(value) => {
                let way = self.part(key, spot.way)?;
                Ok(Next::Return { spot: Spot { value, way }, to: then })
            }
            Err(Fault::Raise(_)) if optional => Ok(Next::Backtrack),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn iterate(&mut self, spot: Spot<'a>, optional: bool, then: u32) -> Outcome<'a, Next<'a>> {
        let value = match spot.value.open(self.work)? {
            container @ (Val::Arr(_) | Val::Obj(_)) => container,
            _ if optional => return Ok(Next::Backtrack),
            other => return raise(format!("cannot iterate over {}", other.show())),
        };
        self.choose(Choice::Iterate { spot: Spot { value, way: spot.way }, at: 0, then })?;
        Ok(Next::Backtrack)
    }

    pub(super) fn compare(
        &mut self,
        op: jaq_core::ops::Cmp,
        left: Val<'a>,
        right: Val<'a>,
    ) -> Outcome<'a, bool> {
        use jaq_core::ops::Cmp;
        use std::cmp::Ordering;
        let order = if left.kind() == right.kind() {
            let (left, right) = (left.own(self.work)?, right.own(self.work)?);
            let weight = left.weight(self.work)?.min(right.weight(self.work)?);
            self.work.spend(weight / 128)?;
            compare(&left, &right)
        } else {
            left.kind().cmp(&right.kind())
        };
        Ok(match op {
            Cmp::Eq => order == Ordering::Equal,
            Cmp::Ne => order != Ordering::Equal,
            Cmp::Lt => order == Ordering::Less,
            Cmp::Le => order != Ordering::Greater,
            Cmp::Gt => order == Ordering::Greater,
            Cmp::Ge => order != Ordering::Less,
        })
    }

    pub(super) fn math(
        &mut self,
        op: jaq_core::ops::Math,
        left: Val<'a>,
        right: Val<'a>,
    ) -> Outcome<'a, Val<'a>> {
        native::math(op, left, right, self.work)
    }
}
