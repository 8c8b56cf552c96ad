//! Evaluation of expressions: what they see (DSL, "runtime expression arguments"), and limits on what they give.
//!
//! Descriptors such as `$workflow` are built only for an expression that names them.

use protocol::id::Timestamp;
use protocol::step::StepError;
use serde_json::{Map, Value, json};
use workflow::expression::{Expression, Template, Variables};
use workflow::{DurationValue, Workflow};

use crate::error;
use crate::limits::{MAX_DELAY_MS, MAX_VALUE_BYTES};
use crate::path;
use crate::run::RunInfo;
use crate::state::{FrameId, State, Work};
use crate::turn::Turn;
use crate::value::Shared;

/// What an expression sees beside `$workflow`, `$runtime` and the variables of loops and catches around it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sees<'v> {
    /// `$context`
    pub(crate) context: bool,
    /// `$task`
    pub(crate) task: bool,
    /// `$input`: the task's transformed input
    pub(crate) input: bool,
    /// `$output`: the task's transformed output
    pub(crate) output: Option<&'v Value>,
    /// `$task.output`: the task's raw output
    pub(crate) raw_output: Option<&'v Value>,
    /// Variables of its own, such as the error of a `catch`
    pub(crate) locals: &'v [(&'v str, &'v Value)],
}

impl<'v> Sees<'v> {
    /// For `input.from` of the workflow.
    pub(crate) const WORKFLOW_INPUT: Sees<'static> =
        Sees { context: false, task: false, input: false, output: None, raw_output: None, locals: &[] };
    /// For `output.as` of the workflow.
    pub(crate) const WORKFLOW_OUTPUT: Sees<'static> = Sees { context: true, ..Sees::WORKFLOW_INPUT };
    /// For `if` and `input.from` of a task.
    pub(crate) const TASK_INPUT: Sees<'static> = Sees { task: true, ..Sees::WORKFLOW_OUTPUT };
    /// For the definition of a task.
    pub(crate) const DEFINITION: Sees<'static> = Sees { input: true, ..Sees::TASK_INPUT };
}

impl Turn<'_> {
    /// The value of a template, evaluated on `on`.
    pub(crate) fn value(
        &mut self,
        frame: FrameId,
        template: &Template,
        on: &Value,
        sees: Sees<'_>,
    ) -> Result<Shared, StepError> {
        if let Template::Constant(value) = template {
            // A copy: what a state shares with the document it would not share after a restore, and its snapshots would differ.
            return Ok(Shared::from(Value::clone(value)));
        }
        let mut named = Named::default();
        template.each_expression(&mut |expression| named.add(expression.source()));
        let built = Built::new(self.info, self.workflow, self.state, frame, &named, sees);
        let variables = variables(self.state, frame, &named, &built, sees);
        let value =
            template.evaluate(on, &variables, &mut self.meter).map_err(|cause| error::expression(&cause))?;
        check_size(&value, "a value in the document")?;
        Ok(value.into())
    }

    /// The value of an expression.
    pub(crate) fn expression(
        &mut self,
        frame: FrameId,
        expression: &Expression,
        on: &Value,
        sees: Sees<'_>,
    ) -> Result<Value, StepError> {
        let mut named = Named::default();
        named.add(expression.source());
        let built = Built::new(self.info, self.workflow, self.state, frame, &named, sees);
        let variables = variables(self.state, frame, &named, &built, sees);
        let value = expression
            .evaluate(on, &variables, &mut self.meter)
            .map_err(|cause| error::expression(&cause))?;
        check_size(&value, "the value of an expression")?;
        Ok(value)
    }

    /// Whether a condition holds: its value is neither `false` nor `null`.
    pub(crate) fn holds(
        &mut self,
        frame: FrameId,
        condition: &Expression,
        on: &Value,
        sees: Sees<'_>,
    ) -> Result<bool, StepError> {
        let value = self.expression(frame, condition, on, sees)?;
        Ok(!matches!(value, Value::Null | Value::Bool(false)))
    }

    /// A template that must give text. Numbers and booleans are written as JSON writes them; `null` is empty.
    pub(crate) fn text(&mut self, frame: FrameId, template: &Template) -> Result<String, StepError> {
        let input = self.state.frame(frame).input.clone();
        let value = self.value(frame, template, &input, Sees::DEFINITION)?;
        Ok(as_text(&value))
    }

    /// A duration of a task's definition, in milliseconds.
    pub(crate) fn milliseconds(
        &mut self,
        frame: FrameId,
        duration: &DurationValue,
    ) -> Result<i64, StepError> {
        let duration = match duration {
            DurationValue::Literal(duration) => *duration,
            DurationValue::Expression(expression) => {
                let input = self.state.frame(frame).input.clone();
                let value = self.expression(frame, expression, &input, Sees::DEFINITION)?;
                DurationValue::from_json(&value).ok_or_else(|| {
                    error::unexpected(format!("expression `{}` gave no duration", expression.source()))
                })?
            }
        };
        Ok(i64::try_from(duration.as_millis()).unwrap_or(MAX_DELAY_MS).min(MAX_DELAY_MS))
    }
}

/// Text as it is, `null` as nothing, anything else as JSON.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Refuses a value that would be too large to keep.
pub(crate) fn check_size(value: &Value, what: &str) -> Result<(), StepError> {
    if fits(value, &mut { MAX_VALUE_BYTES }) { Ok(()) } else { Err(too_large(what)) }
}

pub(crate) fn too_large(what: &str) -> StepError {
    error::limit(format!(
        "{what} has more than {} MiB of JSON; keep large data in artifacts and pass their names",
        MAX_VALUE_BYTES >> 20
    ))
}

/// Takes about the value's bytes of JSON off `left`; false when there are not enough.
pub(crate) fn fits(value: &Value, left: &mut usize) -> bool {
    let own = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.len() + 2,
        Value::Object(entries) => entries.keys().map(|key| key.len() + 4).sum::<usize>() + 2,
    };
    if own > *left {
        return false;
    }
    *left -= own;
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, left)),
        Value::Object(entries) => entries.values().all(|item| fits(item, left)),
        _ => true,
    }
}

/// Which variables the sources of expressions name. It may name one too many, never one too few.
#[derive(Default)]
struct Named {
    any: bool,
    runtime: bool,
    workflow: Fields,
    task: Fields,
}

/// Which fields of a descriptor are named.
#[derive(Default)]
struct Fields {
    any: bool,
    all: bool,
    names: Vec<String>,
}

impl Fields {
    fn has(&self, name: &str) -> bool {
        self.all || self.names.iter().any(|named| named == name)
    }
}

impl Named {
    fn add(&mut self, source: &str) {
        for (start, _) in source.match_indices('$') {
            self.any = true;
            let rest = &source[start + 1..];
            if let Some(rest) = rest.strip_prefix("workflow") {
                self.workflow.add(rest);
            } else if let Some(rest) = rest.strip_prefix("task") {
                self.task.add(rest);
            } else if rest.starts_with("runtime") {
                self.runtime = true;
            }
        }
    }
}

impl Fields {
    /// `rest` is what follows the variable's name: `.id` names one field, anything else may mean all.
    fn add(&mut self, rest: &str) {
        self.any = true;
        let field: Option<String> = rest
            .strip_prefix('.')
            .map(|rest| rest.chars().take_while(|character| character.is_ascii_alphanumeric()).collect());
        match field {
            Some(field) if !field.is_empty() => self.names.push(field),
            _ => self.all = true,
        }
    }
}

/// Descriptors that had to be built.
#[derive(Default)]
struct Built {
    workflow: Option<Value>,
    task: Option<Value>,
    runtime: Option<Value>,
}

impl Built {
    fn new(
        info: &RunInfo,
        workflow: &Workflow,
        state: &State,
        frame: FrameId,
        named: &Named,
        sees: Sees<'_>,
    ) -> Built {
        Built {
            workflow: named.workflow.any.then(|| describe_run(info, workflow, state, &named.workflow)),
            task: (named.task.any && sees.task)
                .then(|| describe_task(workflow, state, frame, &named.task, sees.raw_output)),
            runtime: named
                .runtime
                .then(|| json!({ "name": "sagewai", "version": env!("CARGO_PKG_VERSION"), "metadata": {} })),
        }
    }
}

/// `$workflow`: the DSL's workflow descriptor.
fn describe_run(info: &RunInfo, workflow: &Workflow, state: &State, fields: &Fields) -> Value {
    let mut run = Map::new();
    if fields.has("id") {
        run.insert("id".to_owned(), json!(info.id));
    }
    if fields.has("definition") {
        run.insert("definition".to_owned(), Value::clone(&workflow.definition));
    }
    if fields.has("input") {
        run.insert("input".to_owned(), Value::clone(&state.input));
    }
    if fields.has("startedAt") {
        run.insert("startedAt".to_owned(), describe_time(state.started_at));
    }
    Value::Object(run)
}

/// `$task`: the DSL's task descriptor.
fn describe_task(
    workflow: &Workflow,
    state: &State,
    frame: FrameId,
    fields: &Fields,
    raw_output: Option<&Value>,
) -> Value {
    let frame = state.frame(frame);
    let Some(found) = frame.path.task(workflow) else {
        return Value::Null;
    };
    let mut task = Map::new();
    task.insert("name".to_owned(), Value::String(path::name(found)));
    task.insert("reference".to_owned(), Value::String(found.pointer.to_string()));
    if fields.has("definition") {
        let definition = workflow.definition.pointer(found.pointer.as_str()).cloned().unwrap_or_default();
        task.insert("definition".to_owned(), definition);
    }
    if fields.has("input") {
        task.insert("input".to_owned(), Value::clone(&frame.raw_input));
    }
    if fields.has("output")
        && let Some(output) = raw_output
    {
        task.insert("output".to_owned(), output.clone());
    }
    if fields.has("startedAt") {
        task.insert("startedAt".to_owned(), describe_time(frame.started_at));
    }
    Value::Object(task)
}

/// The DSL's date-time descriptor.
fn describe_time(at: Timestamp) -> Value {
    let iso8601 = jiff::Timestamp::from_millisecond(at.0).map(|time| time.to_string()).unwrap_or_default();
    json!({
        "iso8601": iso8601,
        "epoch": { "seconds": at.0.div_euclid(1000), "milliseconds": at.0 },
    })
}

fn variables<'v>(
    state: &'v State,
    frame: FrameId,
    named: &Named,
    built: &'v Built,
    sees: Sees<'v>,
) -> Variables<'v> {
    let mut variables = Variables::new();
    if !named.any {
        return variables;
    }
    for (name, value) in [("workflow", &built.workflow), ("task", &built.task), ("runtime", &built.runtime)] {
        if let Some(value) = value {
            variables.set(name, value);
        }
    }
    if sees.context {
        variables.set("context", &state.context);
    }
    let held = state.frame(frame);
    if sees.input {
        variables.set("input", &held.input);
    }
    if let Some(output) = sees.output {
        variables.set("output", output);
    }
    set_locals(&mut variables, state, frame);
    for (name, value) in sees.locals {
        variables.set(name, value);
    }
    variables
}

/// Variables of the loops and catches around a frame, up to the function it is part of; an inner one hides an outer.
fn set_locals<'v>(variables: &mut Variables<'v>, state: &'v State, frame: FrameId) {
    let mut lists = Vec::new();
    for (_, around) in state.ancestors(frame) {
        match &around.work {
            Work::List(list) if !list.variables.is_empty() => lists.push(list),
            Work::Function => break,
            _ => {}
        }
    }
    for list in lists.into_iter().rev() {
        for (name, value) in &list.variables {
            variables.set(name, value);
        }
    }
}
