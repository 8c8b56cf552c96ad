//! Expressions: compile, evaluate, and what can go wrong.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Variables;
use super::code::Code;
use super::compile::compile;
use super::machine::Machine;
use super::plain::PlainPath;
use super::value::Val;
use super::work::{Fault, Work};

/// `evaluate` of a document: how expressions are told from text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// jq; an expression is written `${ ... }`.
    #[default]
    Strict,
    /// jq; any string is tried as an expression, and is text when it does not compile or fails.
    Loose,
}

/// A compiled expression. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    plan: Plan,
}

/// How an expression is evaluated.
#[derive(Clone)]
enum Plan {
    /// A variable or the input, then keys: no machine is needed.
    Plain(Arc<PlainPath>),
    /// Everything else.
    Code(Arc<Code>),
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// What is wrong, for the author of the document.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// The expression raised an error.
    #[error("expression `{expression}` failed: {message}")]
    Failed {
        /// Its text, shortened.
        expression: String,
        /// The error as jq states it.
        message: String,
    },
    /// It took more work or memory than an evaluation, or the turn it is part of, may take.
    #[error(
        "expression `{expression}` took more {resource} than it may; make it do less, or do the work in a step"
    )]
    Budget {
        /// Its text, shortened.
        expression: String,
        /// `steps`, `memory`, `depth` or `output`.
        resource: &'static str,
    },
}

/// What evaluations may take. The same everywhere, so that a replay ends the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the machine of one evaluation.
    pub steps: u64,
    /// Bytes that one evaluation may allocate, freed or not.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { steps: 500_000, bytes: 24 << 20 }
    }
}

/// Counts what evaluations took. One per turn of the planner: each evaluation gets at most what is left of the turn.
#[derive(Clone, Debug)]
pub struct Meter {
    limits: Limits,
    steps_left: u64,
    steps_spent: u64,
}

impl Meter {
    /// A meter for a turn that may take `turn_steps` steps in all, each evaluation within [`Limits::default`].
    pub fn new(turn_steps: u64) -> Self {
        Meter { limits: Limits::default(), steps_left: turn_steps, steps_spent: 0 }
    }

    /// Steps taken so far.
    pub fn steps_spent(&self) -> u64 {
        self.steps_spent
    }

    /// Steps left of the turn.
    pub fn steps_left(&self) -> u64 {
        self.steps_left
    }
}

impl Meter {
    fn start(&self) -> Work {
        Work { steps: self.limits.steps.min(self.steps_left), bytes: self.limits.bytes, regexes: Vec::new() }
    }

    fn finish(&mut self, work: &Work) {
        let spent = self.limits.steps.min(self.steps_left) - work.steps;
        self.steps_left -= spent;
        self.steps_spent += spent;
    }
}

impl Default for Meter {
    /// A turn of eight evaluations at their limit.
    fn default() -> Self {
        Meter::new(8 * Limits::default().steps)
    }
}

impl Expression {
    /// Compiles the inside of `${ ... }`.
    pub fn compile(source: &str) -> Result<Expression, CompileError> {
        let source = source.trim();
        let plan = match PlainPath::parse(source) {
            Some(path) => Plan::Plain(Arc::new(path)),
            None => Plan::Code(Arc::new(compile(source)?)),
        };
        Ok(Expression { source: source.into(), plan })
    }

    /// The text inside `${ ... }`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Names (without `$`) of the variables it reads that it does not bind itself.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let names = match &self.plan {
            Plan::Plain(path) => path.variable.as_slice(),
            Plan::Code(code) => &code.externals,
        };
        names.iter().map(String::as_str)
    }

    /// The first output; `null` when there is none.
    pub fn evaluate(
        &self,
        input: &Value,
        variables: &Variables<'_>,
        meter: &mut Meter,
    ) -> Result<Value, ExpressionError> {
        match &self.plan {
            Plan::Plain(path) => self.follow(path, input, variables, meter),
            Plan::Code(code) => self.run(code, input, variables, meter),
        }
    }

    /// Whether the first output is neither `false` nor `null`.
    pub fn test(
        &self,
        input: &Value,
        variables: &Variables<'_>,
        meter: &mut Meter,
    ) -> Result<bool, ExpressionError> {
        Ok(!matches!(self.evaluate(input, variables, meter)?, Value::Null | Value::Bool(false)))
    }

    fn follow(
        &self,
        path: &PlainPath,
        input: &Value,
        variables: &Variables<'_>,
        meter: &mut Meter,
    ) -> Result<Value, ExpressionError> {
        let mut work = meter.start();
        let result = path.follow(input, variables, &mut work);
        meter.finish(&work);
        result.map_err(|fault| self.failed(fault))
    }

    fn run(
        &self,
        code: &Code,
        input: &Value,
        variables: &Variables<'_>,
        meter: &mut Meter,
    ) -> Result<Value, ExpressionError> {
        let mut work = meter.start();
        let result = Val::from_json(input, &mut work)
            .and_then(|input| Machine::new(code, variables, &mut work).first(input))
            .and_then(|output| output.map_or(Ok(Value::Null), |output| output.to_json(&mut work)));
        meter.finish(&work);
        result.map_err(|fault| self.failed(fault))
    }

    fn failed(&self, fault: Fault<'_>) -> ExpressionError {
        const SHOWN: usize = 120;
        let cut = |text: &str, length: usize| match text.char_indices().nth(length) {
            Some((at, _)) => format!("{}...", &text[..at]),
            None => text.to_owned(),
        };
        let expression = cut(&self.source, SHOWN);
        match fault {
            Fault::Budget(resource) => ExpressionError::Budget { expression, resource },
            Fault::Raise(Val::Str(message)) => {
                ExpressionError::Failed { expression, message: cut(&message, 4 * SHOWN) }
            }
            Fault::Raise(other) => {
                ExpressionError::Failed { expression, message: format!("error: {}", other.show()) }
            }
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{ {} }}", self.source)
    }
}
