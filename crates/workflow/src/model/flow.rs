//! Tasks that steer the flow: for, fork, raise, switch, try.

use super::{ErrorDefinition, ErrorFilter, FlowDirective, Reference, RetryPolicy, TaskList};
use crate::expression::Expression;

/// `for`: runs its tasks for each item of a collection.
#[derive(Clone, Debug)]
pub struct For {
    /// `for.each`: variable of the item, without `$`; `item` when absent.
    pub each: String,
    /// `for.in`: gives the collection, an array.
    pub in_: Expression,
    /// `for.at`: variable of the index, without `$`; `index` when absent.
    pub at: String,
    /// `while`: goes on only as long as it is true; asked before each item.
    pub while_: Option<Expression>,
    /// The tasks.
    pub do_: TaskList,
}

/// `fork`: runs branches at the same time.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The branches.
    pub branches: TaskList,
    /// Whether the first branch to end gives the output and the others are cancelled.
    pub compete: bool,
}

/// `raise`: ends with an error.
#[derive(Clone, Debug)]
pub struct Raise {
    /// The error, inline or of `use.errors`.
    pub error: Reference<ErrorDefinition>,
}

/// `switch`: goes to the first case that holds.
#[derive(Clone, Debug)]
pub struct Switch {
    /// The cases, in order.
    pub cases: Vec<SwitchCase>,
}

/// A case of a `switch`.
#[derive(Clone, Debug)]
pub struct SwitchCase {
    /// Its place in the list, from 0.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// Whether it holds; absent means it always does.
    pub when: Option<Expression>,
    /// Where the flow goes.
    pub then: FlowDirective,
}

/// `try`: runs tasks and catches their errors.
#[derive(Clone, Debug)]
pub struct Try {
    /// The tasks.
    pub try_: TaskList,
    /// What is caught, and what is done then.
    pub catch: Catch,
}

/// `try.catch`.
#[derive(Clone, Debug, Default)]
pub struct Catch {
    /// `errors.with`: which errors; absent means all.
    pub errors: Option<ErrorFilter>,
    /// `as`: variable of the error, without `$`; `error` when absent.
    pub as_: String,
    /// `when`: catches only if true.
    pub when: Option<Expression>,
    /// `exceptWhen`: catches only if not true.
    pub except_when: Option<Expression>,
    /// `retry`: runs the tasks again.
    pub retry: Option<Reference<RetryPolicy>>,
    /// `do`: tasks for a caught error that is not retried; empty when absent.
    pub do_: TaskList,
}
