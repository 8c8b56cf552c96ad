//! What is done with an output: the frame it returns to decides.

use super::{Binding, Choice, Frame, Lengths, Machine, NONE, Next, Spot, Way};
use crate::expression::code::Op;
use crate::expression::path;
use crate::expression::value::Val;
use crate::expression::work::{Fault, Outcome, raise};

impl<'a> Machine<'a, '_> {
    /// The frame, taken out of the table if no choice can come back to it; then values in it are held by no one else and
    /// can be changed in place.
    fn pop(&mut self, at: u32) -> (Frame<'a>, u32) {
        let protected = self.choices.last().map_or(0, |(_, lengths)| lengths.frames);
        let at = at as usize;
        if at >= protected {
            self.frames.truncate(at + 1);
            self.frames.pop().expect("the frame is there")
        } else {
            self.frames[at].clone()
        }
    }

    pub(super) fn resume(&mut self, spot: Spot<'a>, to: u32) -> Outcome<'a, Next<'a>> {
        let (frame, then) = self.pop(to);
        let give = |value| Ok(Next::Return { spot: Spot::plain(value), to: then });
        match frame {
            Frame::Pipe { id, bindings } => Ok(Next::Evaluate { id, bindings, spot, then }),
            Frame::Append { choice } => {
                self.work.grow()?;
                if let (Choice::Collect { items, .. }, _) = &mut self.choices[choice as usize] {
                    items.push(spot.value);
                }
                Ok(Next::Backtrack)
            }
            Frame::Bind { body, bindings, spot: input } => {
                let bindings = self.bind(Binding::Value(spot.value), bindings)?;
                Ok(Next::Evaluate { id: body, bindings, spot: input, then })
            }
            Frame::Negate => match spot.value {
                Val::Int(value) => {
                    give(value.checked_neg().map_or(Val::Float(9_223_372_036_854_775_808.0), Val::Int))
                }
                Val::Float(value) => give(Val::Float(-value)),
                other => raise(format!("{} cannot be negated", other.show())),
            },
            Frame::MathRight { op, left, bindings, input } => {
                let then = self.push(Frame::MathLeft { op, right: spot.value }, then)?;
                Ok(Next::Evaluate { id: left, bindings, spot: Spot::plain(input), then })
            }
            Frame::MathLeft { op, right } => {
                let value = self.math(op, spot.value, right)?;
                give(value)
            }
            Frame::CompareRight { op, left, bindings, input } => {
                let then = self.push(Frame::CompareLeft { op, right: spot.value }, then)?;
                Ok(Next::Evaluate { id: left, bindings, spot: Spot::plain(input), then })
            }
            Frame::CompareLeft { op, right } => {
                let holds = self.compare(op, spot.value, right)?;
                give(Val::Bool(holds))
            }
            Frame::Logic { and, right, bindings, input } => {
                if spot.value.is_true() != and {
                    return give(Val::Bool(!and));
                }
                let then = self.push(Frame::Truth, then)?;
                Ok(Next::Evaluate { id: right, bindings, spot: Spot::plain(input), then })
            }
            Frame::Truth => give(Val::Bool(spot.value.is_true())),
            Frame::If { then: yes, otherwise, bindings, spot: input } => {
                let id = if spot.value.is_true() { yes } else { otherwise };
                Ok(Next::Evaluate { id, bindings, spot: input, then })
            }
            Frame::Alternative { choice } => {
                if !spot.value.is_true() {
                    return Ok(Next::Backtrack);
                }
                if let (Choice::Alternative { seen, .. }, _) = &mut self.choices[choice as usize] {
                    *seen = true;
                }
                Ok(Next::Return { spot, to: then })
            }
            Frame::Leave { choice } => {
                // With nothing left inside, the `try` itself is over.
                if self.choices.len() == choice as usize + 1 {
                    self.choices.pop();
                } else {
                    self.choose(Choice::Left { choice })?;
                }
                Ok(Next::Return { spot, to: then })
            }
            Frame::ObjectKey { operation, entry, bindings, input, built } => {
                let Op::Object(entries) = self.operation(operation) else { unreachable!("an object") };
                let value = entries[entry as usize].1;
                let frame = Frame::ObjectValue {
                    operation,
                    entry,
                    bindings,
                    input: input.clone(),
                    built,
                    key: spot.value,
                };
                let then = self.push(frame, then)?;
                Ok(Next::Evaluate { id: value, bindings, spot: Spot::plain(input), then })
            }
            Frame::ObjectValue { operation, entry, bindings, input, built, key } => {
                let built = self.object_insert(built, key, spot.value)?;
                self.object_entry(operation, entry + 1, bindings, input, built, then)
            }
            Frame::Argument { operation, bindings, input, mut done } => {
                self.work.grow()?;
                done.push(spot.value);
                self.arguments(operation, bindings, input, done, then)
            }
            Frame::IndexKey { base, optional, bindings, spot: input } => {
                self.index_base(base, spot.value, optional, bindings, input, then)
            }
            Frame::IndexBase { key, optional } => self.index(&spot, key, optional, then),
            Frame::SliceTo { operation, bindings, spot: input } => {
                let Op::Slice { from, .. } = self.operation(operation) else { unreachable!("a slice") };
                let plain = Spot::plain(input.value.clone());
                let then =
                    self.push(Frame::SliceFrom { operation, bindings, spot: input, to: spot.value }, then)?;
                Ok(Next::Evaluate { id: *from, bindings, spot: plain, then })
            }
            Frame::SliceFrom { operation, bindings, spot: input, to } => {
                let Op::Slice { base, optional, .. } = self.operation(operation) else {
                    unreachable!("a slice")
                };
                let then = self.push(Frame::SliceBase { from: spot.value, to, optional: *optional }, then)?;
                Ok(Next::Evaluate { id: *base, bindings, spot: input, then })
            }
            Frame::SliceBase { from, to, optional } => self.slice(&spot, from, to, optional, then),
            Frame::IterateBase { optional } => self.iterate(spot, optional, then),
            Frame::FoldStart { operation, bindings, input } => {
                let reduce = matches!(self.operation(operation), Op::Reduce { .. });
                let choice = self.choose(Choice::Fold { state: Some(spot), reduce, then })?;
                let (Op::Reduce { source, .. } | Op::Foreach { source, .. }) = self.operation(operation)
                else {
                    unreachable!("a fold")
                };
                let then = self.push(Frame::FoldItem { operation, choice, bindings }, NONE)?;
                Ok(Next::Evaluate { id: *source, bindings, spot: Spot::plain(input), then })
            }
            Frame::FoldItem { operation, choice, bindings } => {
                self.fold_item(operation, choice, bindings, spot.value)
            }
            Frame::ReduceUpdated { choice } => {
                if let (Choice::Fold { state, .. }, _) = &mut self.choices[choice as usize] {
                    *state = Some(spot);
                }
                Ok(Next::Backtrack)
            }
            Frame::ForeachUpdated { choice, extract, bindings } => {
                let (Choice::Fold { state, then, .. }, _) = &mut self.choices[choice as usize] else {
                    unreachable!("a fold")
                };
                *state = Some(spot.clone());
                let then = *then;
                Ok(Next::Evaluate { id: extract, bindings, spot, then })
            }
            Frame::PathOf { outer } => {
                let keys = self.keys(spot.way)?;
                let value = self.work.array(keys)?;
                Ok(Next::Return { spot: Spot { value, way: outer }, to: then })
            }
            Frame::GetPath { spot: input } => self.get_path(input, spot.value, then),
            Frame::CollectPath { choice } => {
                self.work.grow()?;
                if spot.way == Way::Off {
                    return raise("this is not a path into the input");
                }
                if let (Choice::Update(update), _) = &mut self.choices[choice as usize] {
                    update.paths.push(spot.way);
                }
                Ok(Next::Backtrack)
            }
            Frame::Updated { choice } => {
                // One output is enough: what else the value has is dropped.
                self.choices.truncate(choice as usize + 1);
                let (Choice::Update(update), _) = &mut self.choices[choice as usize] else {
                    unreachable!("an update")
                };
                let way = update.paths[update.next - 1];
                let root = std::mem::replace(&mut update.root, Val::Null);
                let keys = self.keys(way)?;
                let root = path::set(root, &keys, spot.value, self.work)?;
                if let (Choice::Update(update), _) = &mut self.choices[choice as usize] {
                    update.root = root;
                }
                Ok(Next::Backtrack)
            }
            Frame::LimitCount { of, bindings, spot: input, skip } => {
                let Some(count) = spot.value.as_i64() else { return raise("a count must be a number") };
                if skip && count <= 0 {
                    return Ok(Next::Evaluate { id: of, bindings, spot: input, then });
                }
                if count <= 0 {
                    return Ok(Next::Backtrack);
                }
                let choice = self.choose(Choice::Limit { left: count, then })?;
                let frame = if skip { Frame::Skipped { choice } } else { Frame::Limited { choice } };
                let then = self.push(frame, NONE)?;
                Ok(Next::Evaluate { id: of, bindings, spot: input, then })
            }
            Frame::Limited { choice } => {
                let (Choice::Limit { left, then }, _) = &mut self.choices[choice as usize] else {
                    unreachable!("a limit")
                };
                let then = *then;
                *left -= 1;
                if *left == 0 {
                    self.choices.truncate(choice as usize);
                }
                Ok(Next::Return { spot, to: then })
            }
            Frame::Skipped { choice } => {
                let (Choice::Limit { left, then }, _) = &mut self.choices[choice as usize] else {
                    unreachable!("a skip")
                };
                if *left > 0 {
                    *left -= 1;
                    return Ok(Next::Backtrack);
                }
                let then = *then;
                Ok(Next::Return { spot, to: then })
            }
            Frame::Raise => Err(Fault::Raise(spot.value)),
        }
    }

    fn slice(
        &mut self,
        spot: &Spot<'a>,
        from: Val<'a>,
        to: Val<'a>,
        optional: bool,
        then: u32,
    ) -> Outcome<'a, Next<'a>> {
        let value = match path::slice(&spot.value, &from, &to, self.work) {
            Err(Fault::Raise(_)) if optional => return Ok(Next::Backtrack),
            result => result?,
        };
        let way = match spot.way {
            Way::Off => Way::Off,
            way => {
                let mut bounds = self.work.map(2)?;
                bounds.insert("start".into(), from);
                bounds.insert("end".into(), to);
                let key = self.work.object(bounds)?;
                self.part(key, way)?
            }
        };
        Ok(Next::Return { spot: Spot { value, way }, to: then })
    }

    fn fold_item(
        &mut self,
        operation: crate::expression::code::Id,
        choice: u32,
        bindings: u32,
        item: Val<'a>,
    ) -> Outcome<'a, Next<'a>> {
        let (Choice::Fold { state, reduce, .. }, _) = &mut self.choices[choice as usize] else {
            unreachable!("a fold")
        };
        let reduce = *reduce;
        // Taken out of the choice, so that the update can change it in place.
        let state = state.take().unwrap_or_else(|| Spot::plain(Val::Null));
        let bindings = self.bind(Binding::Value(item), bindings)?;
        let (id, frame) = match self.operation(operation) {
            Op::Reduce { update, .. } => (*update, Frame::ReduceUpdated { choice }),
            Op::Foreach { update, extract, .. } => {
                (*update, Frame::ForeachUpdated { choice, extract: *extract, bindings })
            }
            _ => unreachable!("a fold"),
        };
        if !reduce && let (Choice::Fold { state: kept, .. }, _) = &mut self.choices[choice as usize] {
            // An update that gives nothing leaves the state as it was.
            *kept = Some(state.clone());
        }
        let then = self.push(frame, NONE)?;
        Ok(Next::Evaluate { id, bindings, spot: state, then })
    }

    fn get_path(&mut self, input: Spot<'a>, keys: Val<'a>, then: u32) -> Outcome<'a, Next<'a>> {
        let Val::Arr(keys) = keys.open(self.work)? else { return raise("a path must be an array") };
        let value = path::get(&input.value, &keys.items, self.work)?;
        let mut way = input.way;
        if way != Way::Off {
            for key in &keys.items {
                way = self.part(key.clone(), way)?;
            }
        }
        Ok(Next::Return { spot: Spot { value, way }, to: then })
    }

    /// Cuts the tables to what a choice can still reach.
    pub(super) fn cut(&mut self, lengths: Lengths) {
        self.frames.truncate(lengths.frames);
        self.bindings.truncate(lengths.bindings);
    }
}
