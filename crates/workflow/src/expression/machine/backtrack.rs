//! Going back to the latest alternative, when an output was empty, or when an error looks for its `try`.

use super::{Choice, Frame, Machine, Next, Spot, Way};
use crate::expression::path;
use crate::expression::value::{Val, compare};
use crate::expression::work::Outcome;

impl<'a> Machine<'a, '_> {
    /// The next alternative; `None` when there is none left.
    pub(super) fn backtrack(&mut self) -> Outcome<'a, Option<Next<'a>>> {
        loop {
            self.work.spend(1)?;
            let Some((choice, lengths)) = self.choices.last_mut() else { return Ok(None) };
            let lengths = *lengths;
            match choice {
                Choice::Iterate { spot, at, then } => {
                    let (place, then, way) = (*at, *then, spot.way);
                    *at += 1;
                    let found = match &spot.value {
                        Val::Arr(array) => array
                            .items
                            .get(place)
                            .map(|item| (Val::Int(i64::try_from(place).expect("short")), item.clone())),
                        Val::Obj(object) => object
                            .map
                            .get_index(place)
                            .map(|(key, item)| (Val::Str(key.clone()), item.clone())),
                        _ => None,
                    };
                    self.cut(lengths);
                    match found {
                        Some((key, value)) => {
                            let way = self.part(key, way)?;
                            return Ok(Some(Next::Return { spot: Spot { value, way }, to: then }));
                        }
                        None => {
                            self.choices.pop();
                        }
                    }
                }
                Choice::Range { next, to, by, then } => {
                    let (to, then, step) = (*to, *then, by.clone());
                    let value = next.clone();
                    let (at, size) = (value.as_f64().unwrap_or(to), step.as_f64().unwrap_or(0.0));
                    let more = if size > 0.0 {
                        at < to
                    } else if size < 0.0 {
                        at > to
                    } else {
                        at < to
                    };
                    *next = match (&value, &step) {
                        (Val::Int(at), Val::Int(by)) if at.checked_add(*by).is_some() => Val::Int(at + by),
                        _ => Val::Float(at + size),
                    };
                    self.cut(lengths);
                    if more {
                        return Ok(Some(Next::Return { spot: Spot::plain(value), to: then }));
                    }
                    self.choices.pop();
                }
                Choice::Update(_) => {
                    self.cut(lengths);
                    return self.update().map(Some);
                }
                _ => {
                    self.cut(lengths);
                    let (choice, _) = self.choices.pop().expect("just seen");
                    if let Some(next) = self.spent(choice)? {
                        return Ok(Some(next));
                    }
                }
            }
        }
    }

    /// What a choice does that is left for good.
    fn spent(&mut self, choice: Choice<'a>) -> Outcome<'a, Option<Next<'a>>> {
        Ok(match choice {
            Choice::Evaluate { id, bindings, spot, then } => {
                Some(Next::Evaluate { id, bindings, spot, then })
            }
            Choice::Collect { items, then } => {
                let value = self.work.array(items)?;
                Some(Next::Return { spot: Spot::plain(value), to: then })
            }
            Choice::Fold { state, reduce: true, then } => {
                let spot = state.unwrap_or_else(|| Spot::plain(Val::Null));
                Some(Next::Return { spot, to: then })
            }
            Choice::Alternative { seen: false, other, bindings, spot, then } => {
                Some(Next::Evaluate { id: other, bindings, spot, then })
            }
            Choice::Deleted { choice } => {
                let (Choice::Update(update), _) = &mut self.choices[choice as usize] else {
                    unreachable!("an update")
                };
                let way = update.paths[update.next - 1];
                let keys = self.keys(way)?;
                self.work.grow()?;
                if let (Choice::Update(update), _) = &mut self.choices[choice as usize] {
                    update.deleted.push(keys);
                }
                None
            }
            Choice::Fold { .. }
            | Choice::Alternative { .. }
            | Choice::Try { .. }
            | Choice::Left { .. }
            | Choice::Label { .. }
            | Choice::Limit { .. }
            | Choice::Iterate { .. }
            | Choice::Range { .. }
            | Choice::Update(_) => None,
        })
    }

    /// The next path of an update; at the end, its result.
    fn update(&mut self) -> Outcome<'a, Next<'a>> {
        let choice = super::number(self.choices.len() - 1);
        let (Choice::Update(update), _) = &mut self.choices[choice as usize] else {
            unreachable!("an update")
        };
        let Some(way) = update.paths.get(update.next).copied() else {
            let Some((Choice::Update(update), _)) = self.choices.pop() else { unreachable!("an update") };
            let mut deleted = update.deleted;
            self.work.spend((deleted.len() as u64).saturating_mul(8))?;
            deleted.sort_by(|a, b| compare_paths(a, b));
            let root = path::delete_all(update.root, &deleted, self.work)?;
            return Ok(Next::Return { spot: Spot::plain(root), to: update.then });
        };
        update.next += 1;
        let (id, bindings) = (update.value, update.bindings);
        let mut root = std::mem::replace(&mut update.root, Val::Null);
        let keys = self.keys(way)?;
        let value = path::take(&mut root, &keys, self.work)?;
        if let (Choice::Update(update), _) = &mut self.choices[choice as usize] {
            update.root = root;
        }
        self.choose(Choice::Deleted { choice })?;
        let then = self.push(Frame::Updated { choice }, super::NONE)?;
        Ok(Next::Evaluate { id, bindings, spot: Spot { value, way: Way::Off }, then })
    }

    /// Looks for the `try` that an error belongs to; none means that it is the evaluation's.
    pub(super) fn unwind(&mut self, error: Val<'a>) -> Outcome<'a, Next<'a>> {
        while let Some((choice, lengths)) = self.choices.pop() {
            self.work.spend(1)?;
            match choice {
                Choice::Left { choice } => self.choices.truncate(choice as usize),
                Choice::Try { handler, bindings, then } => {
                    self.cut(lengths);
                    return Ok(match handler {
                        Some(id) => Next::Evaluate { id, bindings, spot: Spot::plain(error), then },
                        None => Next::Backtrack,
                    });
                }
                _ => {}
            }
        }
        Err(crate::expression::work::Fault::Raise(error))
    }
}

fn compare_paths(left: &[Val<'_>], right: &[Val<'_>]) -> std::cmp::Ordering {
    let different = left.iter().zip(right).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    different.unwrap_or_else(|| left.len().cmp(&right.len()))
}
