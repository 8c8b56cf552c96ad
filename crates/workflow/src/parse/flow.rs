//! Reads the tasks that steer the flow: for, fork, raise, set, switch, try.

use super::reader::{At, Fields, Reader};
use super::syntax::Content;
use crate::expression::Template;
use crate::model::{Catch, ErrorFilter, For, Fork, Raise, Reference, Switch, SwitchCase, TaskList, Try};

impl Reader {
    pub(super) fn for_(&self, task: &Fields<'_>, at: &At<'_>) -> Option<For> {
        let do_ = task.require("do").map(|at| self.task_list(&at));
        let while_ = task.get("while").and_then(|at| self.expression(&at));
        let fields = self.fields(at, &["each", "in", "at"])?;
        let in_ = fields.require("in").and_then(|at| self.expression(&at));
        let each = self.variable(fields.get("each"), "item");
        let at = self.variable(fields.get("at"), "index");
        Some(For { each, in_: in_?, at, while_, do_: do_? })
    }

    /// The name of a variable, which an expression must be able to say.
    pub(super) fn variable(&self, at: Option<At<'_>>, default: &str) -> String {
        let Some(at) = at else { return default.to_owned() };
        let Some(name) = self.text(&at) else { return default.to_owned() };
        let start = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !name.starts_with(start) || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!("`{name}` cannot be the name of a variable");
            self.error_help(&at, "name", message, "use letters, digits and `_`, without `$`");
        }
        name.to_owned()
    }

    pub(super) fn fork(&self, at: &At<'_>) -> Option<Fork> {
        let fields = self.fields(at, &["branches", "compete"])?;
        let branches = fields.require("branches").map(|at| self.task_list(&at));
        let compete = fields.get("compete").and_then(|at| self.boolean(&at)).unwrap_or(false);
        Some(Fork { branches: branches?, compete })
    }

    pub(super) fn raise(&self, at: &At<'_>) -> Option<Raise> {
        let fields = self.fields(at, &["error"])?;
        let at = fields.require("error")?;
        let error = match at.node.content {
            Content::Text(_) => Reference::Named(self.string(&at)?),
            _ => Reference::Inline(self.error_definition(&at)?),
        };
        Some(Raise { error })
    }

    pub(super) fn set(&self, at: &At<'_>) -> Option<Template> {
        if let Content::Map(entries) = &at.node.content
            && entries.is_empty()
        {
            self.error(at, "missing-key", "`set` needs at least one key");
        }
        match &at.node.content {
            Content::Text(_) => self.expression(at).map(Template::Expression),
            _ => self.object_or_expression(at),
        }
    }

    pub(super) fn switch(&self, at: &At<'_>) -> Option<Switch> {
        let items = self.items(at);
        if matches!(&at.node.content, Content::List(items) if items.is_empty()) {
            self.error(at, "missing-key", "`switch` needs at least one case");
        }
        let cases = items.iter().enumerate().filter_map(|(position, item)| {
            let at = self.single(item)?;
            let fields = self.fields(&at, &["when", "then"])?;
            let when = fields.get("when").map(|at| self.expression(&at));
            let then = fields.require("then").and_then(|at| self.flow_directive(&at));
            let when = match when {
                Some(expression) => Some(expression?),
                None => None,
            };
            Some(SwitchCase { position, name: at.key().to_owned(), when, then: then? })
        });
        Some(Switch { cases: cases.collect() })
    }

    pub(super) fn try_(&self, task: &Fields<'_>, at: &At<'_>) -> Option<Try> {
        let try_ = self.task_list(at);
        let catch = task.require("catch").and_then(|at| self.catch(&at));
        Some(Try { try_, catch: catch? })
    }

    fn catch(&self, at: &At<'_>) -> Option<Catch> {
        let fields = self.fields(at, &["errors", "as", "when", "exceptWhen", "retry", "do"])?;
        let errors = fields.get("errors").and_then(|at| {
            let fields = self.fields(&at, &["with"])?;
            fields.get("with").and_then(|at| self.error_filter(&at))
        });
        Some(Catch {
            errors,
            as_: self.variable(fields.get("as"), "error"),
            when: fields.get("when").and_then(|at| self.expression(&at)),
            except_when: fields.get("exceptWhen").and_then(|at| self.expression(&at)),
            retry: fields.get("retry").and_then(|at| self.retry_reference(&at)),
            do_: fields.get("do").map_or_else(TaskList::default, |at| self.task_list(&at)),
        })
    }

    /// The schema says `details` where the specification says `detail`: both are read.
    fn error_filter(&self, at: &At<'_>) -> Option<ErrorFilter> {
        let fields = self.fields(at, &["type", "status", "instance", "title", "detail", "details"])?;
        if fields.keys().next().is_none() {
            self.error(at, "missing-key", "`with` needs at least one key");
        }
        let text = |key| fields.get(key).and_then(|at| self.string_template(&at));
        Some(ErrorFilter {
            type_: text("type"),
            status: fields.get("status").and_then(|at| self.integer(&at)),
            instance: text("instance"),
            title: text("title"),
            detail: text("detail").or_else(|| text("details")),
        })
    }
}
