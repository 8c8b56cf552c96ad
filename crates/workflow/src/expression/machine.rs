//! The jq machine: evaluates code step by step, with its whole state on the heap.
//!
//! An evaluation is a state (operation, bindings, input) and a continuation. Continuations, bindings and paths are
//! chains in tables; a choice remembers how long the tables were, and going back to it cuts them there. So nothing here
//! nests natively, whatever the expression does, and a loop's garbage is gone with each turn of it.

mod backtrack;
mod resume;

use super::Variables;
use super::code::{Code, Definition, Id, Op, PRELUDE};
use super::compile::{Prelude, prelude};
use super::native;
use super::path;
use super::value::{Val, compare};
use super::work::{Fault, Outcome, Work, raise};

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

/// The place of a value in the input, in an evaluation that asks for paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Not asked for.
    Off,
    /// The input itself.
    Root,
    /// An entry of [`Machine::parts`].
    Part(u32),
}

/// A value and its place.
#[derive(Clone, Debug)]
struct Spot<'a> {
    value: Val<'a>,
    way: Way,
}

impl<'a> Spot<'a> {
    fn plain(value: Val<'a>) -> Self {
        Spot { value, way: Way::Off }
    }
}

#[derive(Debug)]
enum Next<'a> {
    Evaluate { id: Id, bindings: u32, spot: Spot<'a>, then: u32 },
    Return { spot: Spot<'a>, to: u32 },
    Backtrack,
}

/// What is done with an output. `mark` is how many choices there were when the frame was pushed.
#[derive(Clone, Debug)]
enum Frame<'a> {
    Pipe {
        id: Id,
        bindings: u32,
    },
    Append {
        choice: u32,
    },
    Bind {
        body: Id,
        bindings: u32,
        spot: Spot<'a>,
    },
    Negate,
    /// The right side is known next; then the left.
    MathRight {
        op: jaq_core::ops::Math,
        left: Id,
        bindings: u32,
        input: Val<'a>,
    },
    MathLeft {
        op: jaq_core::ops::Math,
        right: Val<'a>,
    },
    CompareRight {
        op: jaq_core::ops::Cmp,
        left: Id,
        bindings: u32,
        input: Val<'a>,
    },
    CompareLeft {
        op: jaq_core::ops::Cmp,
        right: Val<'a>,
    },
    /// `and` if true, else `or`.
    Logic {
        and: bool,
        right: Id,
        bindings: u32,
        input: Val<'a>,
    },
    Truth,
    If {
        then: Id,
        otherwise: Id,
        bindings: u32,
        spot: Spot<'a>,
    },
    Alternative {
        choice: u32,
    },
    Leave {
        choice: u32,
    },
    ObjectKey {
        operation: Id,
        entry: u32,
        bindings: u32,
        input: Val<'a>,
        built: Val<'a>,
    },
    ObjectValue {
        operation: Id,
        entry: u32,
        bindings: u32,
        input: Val<'a>,
        built: Val<'a>,
        key: Val<'a>,
    },
    Argument {
        operation: Id,
        bindings: u32,
        input: Val<'a>,
        done: Vec<Val<'a>>,
    },
    IndexKey {
        base: Id,
        optional: bool,
        bindings: u32,
        spot: Spot<'a>,
    },
    IndexBase {
        key: Val<'a>,
        optional: bool,
    },
    SliceTo {
        operation: Id,
        bindings: u32,
        spot: Spot<'a>,
    },
    SliceFrom {
        operation: Id,
        bindings: u32,
        spot: Spot<'a>,
        to: Val<'a>,
    },
    SliceBase {
        from: Val<'a>,
        to: Val<'a>,
        optional: bool,
    },
    IterateBase {
        optional: bool,
    },
    FoldStart {
        operation: Id,
        bindings: u32,
        input: Val<'a>,
    },
    FoldItem {
        operation: Id,
        choice: u32,
        bindings: u32,
    },
    ReduceUpdated {
        choice: u32,
    },
    ForeachUpdated {
        choice: u32,
        extract: Id,
        bindings: u32,
    },
    PathOf {
        outer: Way,
    },
    GetPath {
        spot: Spot<'a>,
    },
    CollectPath {
        choice: u32,
    },
    Updated {
        choice: u32,
    },
    LimitCount {
        of: Id,
        bindings: u32,
        spot: Spot<'a>,
        skip: bool,
    },
    Limited {
        choice: u32,
    },
    Skipped {
        choice: u32,
    },
    Raise,
}

#[derive(Clone, Debug)]
enum Binding<'a> {
    Value(Val<'a>),
    Closure { id: Id, bindings: u32 },
    Label { choice: u32, serial: u64 },
}

/// An alternative, or a barrier, to come back to.
#[derive(Debug)]
enum Choice<'a> {
    Evaluate {
        id: Id,
        bindings: u32,
        spot: Spot<'a>,
        then: u32,
    },
    Iterate {
        spot: Spot<'a>,
        at: usize,
        then: u32,
    },
    Range {
        next: Val<'a>,
        to: f64,
        by: Val<'a>,
        then: u32,
    },
    Collect {
        items: Vec<Val<'a>>,
        then: u32,
    },
    /// `result` is given at the end by `reduce`, not by `foreach`.
    Fold {
        state: Option<Spot<'a>>,
        reduce: bool,
        then: u32,
    },
    Try {
        handler: Option<Id>,
        bindings: u32,
        then: u32,
    },
    Alternative {
        seen: bool,
        other: Id,
        bindings: u32,
        spot: Spot<'a>,
        then: u32,
    },
    /// What comes after a `try`: an error from here is not for it.
    Left {
        choice: u32,
    },
    Label {
        serial: u64,
    },
    Limit {
        left: i64,
        then: u32,
    },
    Update(Box<Update<'a>>),
    /// The update of one path gave nothing.
    Deleted {
        choice: u32,
    },
}

#[derive(Debug)]
struct Update<'a> {
    root: Val<'a>,
    paths: Vec<Way>,
    deleted: Vec<Vec<Val<'a>>>,
    next: usize,
    value: Id,
    bindings: u32,
    then: u32,
}

/// Lengths of the tables when a choice was made.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    frames: usize,
    bindings: usize,
}

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

    fn evaluate(&mut self, id: Id, bindings: u32, spot: Spot<'a>, then: u32) -> Outcome<'a, Next<'a>> {
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
    fn give(&mut self, value: Val<'a>, way: Way, to: u32) -> Outcome<'a, Next<'a>> {
        if way != Way::Off {
            return raise("this is not a path into the input");
        }
        Ok(Next::Return { spot: Spot { value, way }, to })
    }

    fn no_path(&self, spot: &Spot<'a>) -> Outcome<'a, ()> {
        match spot.way {
            Way::Off => Ok(()),
            Way::Root | Way::Part(_) => raise("this is not a path into the input"),
        }
    }

    /// A closure as an argument; one that only names another is that other.
    fn closure(&mut self, id: Id, bindings: u32) -> Outcome<'a, Binding<'a>> {
        if let Op::Closure(hops) = self.operation(id) {
            let at = self.outer(bindings, *hops)?;
            return Ok(self.bindings[at as usize].0.clone());
        }
        Ok(Binding::Closure { id, bindings })
    }

    /// Evaluates the arguments that are still to do, then the native or range itself.
    fn arguments(
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

    fn range(&mut self, bounds: &[Val<'a>], then: u32) -> Outcome<'a, Next<'a>> {
        let (Some(_), Some(to), Some(_)) = (bounds[0].as_f64(), bounds[1].as_f64(), bounds[2].as_f64())
        else {
            return raise("the bounds of a range must be numbers");
        };
        self.choose(Choice::Range { next: bounds[0].clone(), to, by: bounds[2].clone(), then })?;
        Ok(Next::Backtrack)
    }

    /// Goes on with the entries of an object from one on.
    fn object_entry(
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

    fn object_insert(&mut self, built: Val<'a>, key: Val<'a>, value: Val<'a>) -> Outcome<'a, Val<'a>> {
        if !matches!(key, Val::Str(_)) {
            return raise(format!("an object's key must be a string, not {}", key.show()));
        }
        path::set(built, &[key], value, self.work)
    }

    fn index_base(
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

    fn index(&mut self, spot: &Spot<'a>, key: Val<'a>, optional: bool, then: u32) -> Outcome<'a, Next<'a>> {
        match path::index(&spot.value, &key, self.work) {
            Ok(value) => {
                let way = self.part(key, spot.way)?;
                Ok(Next::Return { spot: Spot { value, way }, to: then })
            }
            Err(Fault::Raise(_)) if optional => Ok(Next::Backtrack),
            Err(fault) => Err(fault),
        }
    }

    fn iterate(&mut self, spot: Spot<'a>, optional: bool, then: u32) -> Outcome<'a, Next<'a>> {
        let value = match spot.value.open(self.work)? {
            container @ (Val::Arr(_) | Val::Obj(_)) => container,
            _ if optional => return Ok(Next::Backtrack),
            other => return raise(format!("cannot iterate over {}", other.show())),
        };
        self.choose(Choice::Iterate { spot: Spot { value, way: spot.way }, at: 0, then })?;
        Ok(Next::Backtrack)
    }

    fn compare(&mut self, op: jaq_core::ops::Cmp, left: Val<'a>, right: Val<'a>) -> Outcome<'a, bool> {
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

    fn math(&mut self, op: jaq_core::ops::Math, left: Val<'a>, right: Val<'a>) -> Outcome<'a, Val<'a>> {
        native::math(op, left, right, self.work)
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("the tables are bounded")
}
