//! What an expression is compiled to: a flat table of operations that refer to each other by number, so that neither
//! running nor dropping it nests.

use jaq_core::ops::{Cmp, Math};

use super::native::Native;
use super::value::Val;

/// Number of an operation. The highest bit tells the prelude's table from the expression's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) u32);

/// Set in the numbers of the prelude's operations and definitions.
pub(super) const PRELUDE: u32 = 1 << 31;

/// Number of a definition, with the same highest bit.
pub(super) type DefId = u32;

/// How far up the chain of bindings something is.
pub(super) type Hops = u32;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Identity,
    Constant(Val<'static>),
    /// A variable bound in the expression.
    Variable(Hops),
    /// A variable of the caller, by its number in [`Code::externals`].
    External(u32),
    /// A parameter of the surrounding definition.
    Closure(Hops),
    /// A definition that was made where the chain of bindings was that many shorter.
    Call {
        definition: DefId,
        hops: Hops,
        arguments: Box<[Id]>,
    },
    Native {
        native: Native,
        arguments: Box<[Id]>,
    },
    Pipe(Id, Id),
    Comma(Id, Id),
    Empty,
    /// `[...]`
    Collect(Id),
    /// `{...}`
    Object(Box<[(Id, Id)]>),
    Negate(Id),
    Math(Math, Id, Id),
    Compare(Cmp, Id, Id),
    And(Id, Id),
    Or(Id, Id),
    /// `a // b`
    Alternative(Id, Id),
    /// `source as $x | body`
    Bind(Id, Id),
    Reduce {
        source: Id,
        start: Id,
        update: Id,
    },
    Foreach {
        source: Id,
        start: Id,
        update: Id,
        extract: Id,
    },
    Try(Id, Option<Id>),
    If {
        condition: Id,
        then: Id,
        otherwise: Id,
    },
    Label(Id),
    Break(Hops),
    /// `base[key]`
    Index {
        base: Id,
        key: Id,
        optional: bool,
    },
    /// `base[from:to]`
    Slice {
        base: Id,
        from: Id,
        to: Id,
        optional: bool,
    },
    /// `base[]`
    Iterate {
        base: Id,
        optional: bool,
    },
    /// `path(a)`
    Path(Id),
    GetPath(Id),
    /// `a |= b`
    Update(Id, Id),
    Range {
        from: Id,
        to: Id,
        by: Id,
    },
    Limit(Id, Id),
    Skip(Id, Id),
    /// `error(a)`
    Error(Id),
}

/// A definition: how many closures it takes, and what it does.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) body: Id,
}

/// A compiled expression.
#[derive(Clone, Debug, Default)]
pub(super) struct Code {
    pub(super) operations: Vec<Op>,
    pub(super) definitions: Vec<Definition>,
    /// Variables of the caller that it reads, without `$`.
    pub(super) externals: Vec<String>,
    pub(super) start: u32,
}
