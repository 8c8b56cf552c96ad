//! What the machine's tables hold: frames of the continuation, bindings, choices, places.

use crate::expression::code::Id;
use crate::expression::value::Val;

/// The place of a value in the input, in an evaluation that asks for paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Not asked for.
    Off,
    /// The input itself.
    Root,
    /// An entry of [`Machine::parts`].
    Part(u32),
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    pub(super) value: Val<'a>,
    pub(super) way: Way,
}

impl<'a> Spot<'a> {
    pub(super) fn plain(value: Val<'a>) -> Self {
        Spot { value, way: Way::Off }
    }
}

#[derive(Debug)]
pub(super) enum Next<'a> {
    Evaluate { id: Id, bindings: u32, spot: Spot<'a>, then: u32 },
    Return { spot: Spot<'a>, to: u32 },
    Backtrack,
}

/// What is done with an output. `mark` is how many choices there were when the frame was pushed.
#[derive(Clone, Debug)]
pub(super) enum Frame<'a> {
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
pub(super) enum Binding<'a> {
    Value(Val<'a>),
    Closure { id: Id, bindings: u32 },
    Label { choice: u32, serial: u64 },
}

/// An alternative, or a barrier, to come back to.
#[derive(Debug)]
pub(super) enum Choice<'a> {
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
pub(super) struct Update<'a> {
    pub(super) root: Val<'a>,
    pub(super) paths: Vec<Way>,
    pub(super) deleted: Vec<Vec<Val<'a>>>,
    pub(super) next: usize,
    pub(super) value: Id,
    pub(super) bindings: u32,
    pub(super) then: u32,
}

/// Lengths of the tables when a choice was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    pub(super) frames: usize,
    pub(super) bindings: usize,
}
