//! The jq machine: evaluates code step by step, with its whole state on the heap.
//!
//! An evaluation is a state (operation, bindings, input) and a continuation. Continuations, bindings and paths are
//! chains in tables; a choice remembers how long the tables were, and going back to it cuts them there. So nothing here
//! nests natively, whatever the expression does, and a loop's garbage is gone with each turn of it.

mod backtrack;
mod evaluate;
mod resume;
mod state;

use super::Variables;
use super::code::{Code, Definition, Id, Op, PRELUDE};
use super::compile::{Prelude, prelude};
use super::path;
use super::value::Val;
use super::work::{Fault, Outcome, Work, raise};
use state::{Binding, Choice, Frame, Lengths, Next, Spot, Update, Way};

/// Longest continuation: how deep definitions and operators may wait for each other.
const MAX_FRAMES: usize = 40_000;
/// Bindings alive at the same time.
const MAX_BINDINGS: usize = 60_000;
/// Alternatives waiting at the same time.
const MAX_CHOICES: usize = 40_000;
/// Path parts of one evaluation.
const MAX_PATH_PARTS: usize = 100_000;

/// No entry of a table.
const NONE: u32 = u32::MAX;

pub(super) struct Machine<'a, 'w> {
    code: &'a Code,
    prelude: &'static Prelude,
    variables: &'w Variables<'a>,
    pub(super) work: &'w mut Work,
    frames: Vec<(Frame<'a>, u32)>,
    bindings: Vec<(Binding<'a>, u32)>,
    parts: Vec<(Val<'a>, Way)>,
    choices: Vec<(Choice<'a>, Lengths)>,
    serial: u64,
}

impl<'a, 'w> Machine<'a, 'w> {
    pub(super) fn new(code: &'a Code, variables: &'w Variables<'a>, work: &'w mut Work) -> Self {
        Machine {
            code,
            prelude: prelude(),
            variables,
            work,
            frames: Vec::new(),
            bindings: Vec::new(),
            parts: Vec::new(),
            choices: Vec::new(),
            serial: 0,
        }
    }

    /// The first output.
    pub(super) fn first(&mut self, input: Val<'a>) -> Outcome<'a, Option<Val<'a>>> {
        let start = Id(self.code.start);
        let mut next = Next::Evaluate { id: start, bindings: NONE, spot: Spot::plain(input), then: NONE };
        loop {
            self.work.spend(1)?;
            let result = match next {
                Next::Evaluate { id, bindings, spot, then } => self.evaluate(id, bindings, spot, then),
                Next::Return { spot, to: NONE } => return Ok(Some(spot.value)),
                Next::Return { spot, to } => self.resume(spot, to),
                Next::Backtrack => match self.backtrack() {
                    Ok(Some(next)) => Ok(next),
                    Ok(None) => return Ok(None),
                    Err(fault) => Err(fault),
                },
            };
            next = match result {
                Ok(next) => next,
                Err(Fault::Raise(error)) => self.unwind(error)?,
                Err(budget) => return Err(budget),
            };
        }
    }

    fn operation(&self, id: Id) -> &'a Op {
        let code: &'a Code = if id.0 & PRELUDE == 0 { self.code } else { &self.prelude.code };
        &code.operations[(id.0 & !PRELUDE) as usize]
    }

    fn definition(&self, id: u32) -> &Definition {
        let code = if id & PRELUDE == 0 { self.code } else { &self.prelude.code };
        &code.definitions[(id & !PRELUDE) as usize]
    }

    fn push(&mut self, frame: Frame<'a>, then: u32) -> Outcome<'a, u32> {
        if self.frames.len() >= MAX_FRAMES {
            return Err(Fault::Budget("depth"));
        }
        self.frames.push((frame, then));
        Ok(number(self.frames.len() - 1))
    }

    fn bind(&mut self, binding: Binding<'a>, outer: u32) -> Outcome<'a, u32> {
        if self.bindings.len() >= MAX_BINDINGS {
            return Err(Fault::Budget("depth"));
        }
        self.bindings.push((binding, outer));
        Ok(number(self.bindings.len() - 1))
    }

    fn choose(&mut self, choice: Choice<'a>) -> Outcome<'a, u32> {
        if self.choices.len() >= MAX_CHOICES {
            return Err(Fault::Budget("depth"));
        }
        let lengths = Lengths { frames: self.frames.len(), bindings: self.bindings.len() };
        self.choices.push((choice, lengths));
        Ok(number(self.choices.len() - 1))
    }

    fn part(&mut self, key: Val<'a>, of: Way) -> Outcome<'a, Way> {
        if of == Way::Off {
            return Ok(Way::Off);
        }
        if self.parts.len() >= MAX_PATH_PARTS {
            return Err(Fault::Budget("memory"));
        }
        self.parts.push((key, of));
        Ok(Way::Part(number(self.parts.len() - 1)))
    }

    /// The keys of a way, from the root.
    fn keys(&mut self, way: Way) -> Outcome<'a, Vec<Val<'a>>> {
        let mut keys = Vec::new();
        let mut at = way;
        while let Way::Part(part) = at {
            self.work.spend(1)?;
            self.work.grow()?;
            let (key, of) = &self.parts[part as usize];
            keys.push(key.clone());
            at = *of;
        }
        keys.reverse();
        Ok(keys)
    }

    fn outer(&mut self, mut bindings: u32, hops: u32) -> Outcome<'a, u32> {
        self.work.spend(u64::from(hops) / 4)?;
        for _ in 0..hops {
            if bindings == NONE {
                break;
            }
            bindings = self.bindings[bindings as usize].1;
        }
        Ok(bindings)
    }

    /// The value of an operation that has exactly one and needs no continuation.
    fn quick(&mut self, id: Id, bindings: u32, input: &Val<'a>) -> Outcome<'a, Option<Val<'a>>> {
        Ok(match self.operation(id) {
            Op::Identity => Some(input.clone()),
            Op::Constant(value) => Some(value.clone()),
            Op::Variable(hops) => Some(self.variable(bindings, *hops)?),
            Op::External(number) => Some(self.external(id, *number)?),
            Op::Index { base, key, optional: false } => {
                let (Op::Constant(key), Op::Identity) = (self.operation(*key), self.operation(*base)) else {
                    return Ok(None);
                };
                Some(path::index(input, key, self.work)?)
            }
            _ => None,
        })
    }

    fn variable(&mut self, bindings: u32, hops: u32) -> Outcome<'a, Val<'a>> {
        let at = self.outer(bindings, hops)?;
        match &self.bindings[at as usize].0 {
            Binding::Value(value) => Ok(value.clone()),
            Binding::Closure { .. } | Binding::Label { .. } => unreachable!("the compiler counts bindings"),
        }
    }

    fn external(&mut self, id: Id, number: u32) -> Outcome<'a, Val<'a>> {
        debug_assert_eq!(id.0 & PRELUDE, 0, "the prelude reads no variables of the caller");
        let name = &self.code.externals[number as usize];
        match self.variables.look_up(name) {
            Some(value) => Val::from_json(value, self.work),
            None => raise(format!("there is no variable ${name} here")),
        }
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("the tables are bounded")
}
