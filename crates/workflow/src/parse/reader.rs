//! Reads nodes as typed values and collects what is wrong with them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::syntax::{Content, Entry, Node, Place, map_to_json};
use crate::diagnostic::{Diagnostic, Severity};
use crate::expression::{Expression, Language, Template};
use crate::model::{Pointer, UriPart, UriTemplate};

/// Collects diagnostics; decides what is an expression.
#[derive(Default)]
pub(super) struct Reader {
    diagnostics: RefCell<Vec<Diagnostic>>,
    pub(super) language: Cell<Language>,
}

/// A node and the way to it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    /// Where a finding about it is shown: its key in a mapping, else itself.
    place: Place,
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        At { node, place: node.place, parent: None, step: Step::Root }
    }

    pub(super) fn pointer(&self) -> Pointer {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(here) = at {
            match here.step {
                Step::Root => {}
                Step::Key(key) => steps.push(key.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => steps.push(index.to_string()),
            }
            at = here.parent;
        }
        let text: String = steps.iter().rev().flat_map(|step| ["/", step]).collect();
        Pointer::new(text)
    }

    /// The last key of the way.
    pub(super) fn key(&self) -> &'a str {
        match self.step {
            Step::Key(key) => key,
            Step::Root | Step::Index(_) => "",
        }
    }

    fn name(&self) -> String {
        match self.step {
            Step::Root => "the document".to_owned(),
            Step::Key(key) => format!("`{key}`"),
            Step::Index(index) => format!("entry {} of `{}`", index + 1, self.parent.map_or("", At::key)),
        }
    }
}

/// The entries of a mapping.
pub(super) struct Fields<'a> {
    pub(super) at: &'a At<'a>,
    entries: &'a [Entry],
    reader: &'a Reader,
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, key: &str) -> Option<At<'a>> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry_at(self.at, entry))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    pub(super) fn require(&self, key: &str) -> Option<At<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.reader.error(self.at, "missing-key", format!("{} needs the key `{key}`", self.at.name()));
        }
        found
    }

    /// Refuses all but the known keys.
    pub(super) fn only(&self, known: &[&str]) {
        for entry in self.entries {
            if !known.contains(&entry.key.as_str()) {
                let at = entry_at(self.at, entry);
                self.reader.unknown(
                    &at,
                    format!("{} has no key `{}`", self.at.name(), entry.key),
                    &entry.key,
                    known,
                );
            }
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// Exactly one of the keys, which is given back.
    pub(super) fn one_of(&self, keys: &[&'static str]) -> Option<(&'static str, At<'a>)> {
        let mut present = keys.iter().filter_map(|key| self.get(key).map(|at| (*key, at)));
        match (present.next(), present.next()) {
            (Some(found), None) => Some(found),
            (Some(_), Some((second, at))) => {
                let message = format!(
                    "{} has one of {}; `{second}` is one too many",
                    self.at.name(),
                    list(keys, "and")
                );
                self.reader.error(&at, "conflicting-keys", message);
                None
            }
            (None, _) => {
                let message = format!("{} needs one of {}", self.at.name(), list(keys, "or"));
                self.reader.error(self.at, "missing-key", message);
                None
            }
        }
    }
}

fn entry_at<'a>(parent: &'a At<'a>, entry: &'a Entry) -> At<'a> {
    At { node: &entry.value, place: entry.place, parent: Some(parent), step: Step::Key(&entry.key) }
}

impl Reader {
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }

    fn push(
        &self,
        at: &At<'_>,
        severity: Severity,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) {
        let Place { line, column } = at.place;
        let pointer = at.pointer().to_string();
        self.diagnostics.borrow_mut().push(Diagnostic {
            severity,
            code,
            message,
            pointer,
            line,
            column,
            help,
        });
    }

    pub(super) fn error(&self, at: &At<'_>, code: &'static str, message: impl Into<String>) {
        self.push(at, Severity::Error, code, message.into(), None);
    }

    pub(super) fn error_help(
        &self,
        at: &At<'_>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(at, Severity::Error, code, message.into(), Some(help.into()));
    }

    pub(super) fn warn(
        &self,
        at: &At<'_>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(at, Severity::Warning, code, message.into(), Some(help.into()));
    }

    /// An error about a key that does not exist, with the nearest that does.
    pub(super) fn unknown(&self, at: &At<'_>, message: String, key: &str, known: &[&str]) {
        let help = match nearest(key, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "it takes no keys".to_owned(),
            None => format!("it takes {}", list(known, "and")),
        };
        self.push(at, Severity::Error, "unknown-key", message, Some(help));
    }

    fn mistyped(&self, at: &At<'_>, expected: &str) {
        let message = format!("{} must be {expected}, not {}", at.name(), at.node.describe());
        let scalar = matches!(
            at.node.content,
            Content::Bool(_) | Content::Int(_) | Content::Unsigned(_) | Content::Float(_)
        );
        let help = (expected.contains("text") && scalar).then(|| "put it in quotes".to_owned());
        self.push(at, Severity::Error, "wrong-type", message, help);
    }

    /// The entries of a mapping, whatever its keys.
    pub(super) fn any_fields<'a>(&'a self, at: &'a At<'a>) -> Option<Fields<'a>> {
        match &at.node.content {
            Content::Map(entries) => Some(Fields { at, entries, reader: self }),
            _ => {
                self.mistyped(at, "a mapping");
                None
            }
        }
    }

    /// The entries of a mapping that has no other than the known keys.
    pub(super) fn fields<'a>(&'a self, at: &'a At<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let fields = self.any_fields(at)?;
        fields.only(known);
        Some(fields)
    }

    pub(super) fn items<'a>(&self, at: &'a At<'a>) -> Vec<At<'a>> {
        match &at.node.content {
            Content::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| At {
                    node,
                    place: node.place,
                    parent: Some(at),
                    step: Step::Index(index),
                })
                .collect(),
            _ => {
                self.mistyped(at, "a list");
                Vec::new()
            }
        }
    }

    /// The entry of a mapping that has exactly one.
    pub(super) fn single<'a>(&'a self, at: &'a At<'a>) -> Option<At<'a>> {
        let fields = self.any_fields(at)?;
        match fields.entries {
            [entry] => Some(entry_at(at, entry)),
            [] => {
                self.error(at, "missing-key", format!("{} needs a name", at.name()));
                None
            }
            [_, second, ..] => {
                let second = entry_at(at, second);
                self.error_help(
                    &second,
                    "conflicting-keys",
                    format!("{} has one name; `{}` is one too many", at.name(), second.key()),
                    "start a new entry with `- `, or indent the key below the name",
                );
                None
            }
        }
    }

    /// The entries of a mapping by name.
    pub(super) fn by_name<T>(
        &self,
        at: &At<'_>,
        mut read: impl FnMut(&At<'_>) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let Some(fields) = self.any_fields(at) else { return BTreeMap::new() };
        let entries = fields.entries.iter().map(|entry| entry_at(at, entry));
        entries.filter_map(|at| Some((at.key().to_owned(), read(&at)?))).collect()
    }

    pub(super) fn text<'a>(&self, at: &At<'a>) -> Option<&'a str> {
        match &at.node.content {
            Content::Text(text) => Some(text),
            _ => {
                self.mistyped(at, "a text");
                None
            }
        }
    }

    pub(super) fn string(&self, at: &At<'_>) -> Option<String> {
        self.text(at).map(str::to_owned)
    }

    pub(super) fn boolean(&self, at: &At<'_>) -> Option<bool> {
        match at.node.content {
            Content::Bool(value) => Some(value),
            _ => {
                self.mistyped(at, "true or false");
                None
            }
        }
    }

    pub(super) fn integer(&self, at: &At<'_>) -> Option<i64> {
        match at.node.content {
            Content::Int(value) => Some(value),
            _ => {
                self.mistyped(at, "a whole number");
                None
            }
        }
    }

    /// A whole number of a range.
    pub(super) fn integer_in<T: TryFrom<i64>>(&self, at: &At<'_>, low: i64, high: i64) -> Option<T> {
        let value = self.integer(at)?;
        let fitting = (low..=high).contains(&value).then(|| T::try_from(value).ok()).flatten();
        if fitting.is_none() {
            self.error(at, "out-of-range", format!("{} must be from {low} to {high}", at.name()));
        }
        fitting
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, at: &At<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(at)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let help = match nearest(text, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it can be {}", list(&known, "or")),
            };
            self.error_help(at, "unknown-word", format!("{} cannot be `{text}`", at.name()), help);
        }
        found
    }

    pub(super) fn object(&self, at: &At<'_>) -> Option<Map<String, Value>> {
        match &at.node.content {
            Content::Map(entries) => Some(map_to_json(entries)),
            _ => {
                self.mistyped(at, "a mapping");
                None
            }
        }
    }

    pub(super) fn object_or_empty(&self, at: Option<At<'_>>) -> Map<String, Value> {
        at.and_then(|at| self.object(&at)).unwrap_or_default()
    }

    /// A text that is an expression whether `${ }` stands around it or not.
    pub(super) fn expression(&self, at: &At<'_>) -> Option<Expression> {
        let text = self.text(at)?;
        self.compile(at, enclosed(text).unwrap_or(text))
    }

    /// Whether the text is an expression as the schema defines one: `${ }` on one line.
    pub(super) fn is_expression(&self, text: &str) -> bool {
        enclosed(text).is_some_and(|inside| !inside.is_empty() && !inside.contains('\n'))
    }

    pub(super) fn compile(&self, at: &At<'_>, source: &str) -> Option<Expression> {
        match Expression::compile(source) {
            Ok(expression) => Some(expression),
            Err(error) => {
                let code =
                    if error.message.contains("$secrets") { "secret-in-expression" } else { "expression" };
                self.push(at, Severity::Error, code, error.message, error.help);
                None
            }
        }
    }

    /// Any value, with its expressions.
    pub(super) fn template(&self, at: &At<'_>) -> Option<Template> {
        match &at.node.content {
            Content::Text(text) => self.text_template(at, text),
            Content::List(_) => {
                let items: Vec<_> = self.items(at).iter().map(|item| self.template(item)).collect();
                Some(fold_list(at, items.into_iter().collect::<Option<Vec<_>>>()?))
            }
            Content::Map(entries) => {
                let read = |entry| {
                    let at = entry_at(at, entry);
                    Some((entry.key.clone(), self.template(&at)?))
                };
                let entries: Vec<_> = entries.iter().map(read).collect();
                Some(fold_map(at, entries.into_iter().collect::<Option<Vec<_>>>()?))
            }
            Content::Null | Content::Bool(_) | Content::Int(_) | Content::Unsigned(_) | Content::Float(_) => {
                Some(constant(at))
            }
        }
    }

    fn text_template(&self, at: &At<'_>, text: &str) -> Option<Template> {
        if let Some(inside) = enclosed(text) {
            return self.compile(at, inside).map(Template::Expression);
        }
        if self.language.get() == Language::Loose
            && let Ok(expression) = Expression::compile(text)
        {
            return Some(Template::Loose(expression, text.into()));
        }
        if text.contains("${") && !at.key().is_empty() && !matches!(at.key(), "code" | "command") {
            self.warn(
                at,
                "partial-expression",
                format!(
                    "{} contains `${{` but is not an expression as a whole, so it is taken as it is",
                    at.name()
                ),
                "write the whole text as one expression: ${ \"... \\(.name) ...\" }",
            );
        }
        Some(constant(at))
    }

    /// A text, or an expression that gives one.
    pub(super) fn string_template(&self, at: &At<'_>) -> Option<Template> {
        self.text(at)?;
        self.template(at)
    }

    /// A list of texts or expressions.
    pub(super) fn string_templates(&self, at: Option<At<'_>>) -> Vec<Template> {
        let Some(at) = at else { return Vec::new() };
        // One that cannot be read keeps its place, for the pointers of those behind it.
        let read = |item: &At<'_>| self.string_template(item).unwrap_or_else(Template::empty_object);
        self.items(&at).iter().map(read).collect()
    }

    /// A mapping with expressions in it; `{}` when absent.
    pub(super) fn object_template(&self, at: Option<At<'_>>) -> Template {
        at.filter(|at| self.any_fields(at).is_some())
            .and_then(|at| self.template(&at))
            .unwrap_or_else(Template::empty_object)
    }

    /// A mapping or an expression.
    pub(super) fn object_or_expression(&self, at: &At<'_>) -> Option<Template> {
        match &at.node.content {
            Content::Map(_) => self.template(at),
            Content::Text(_) => self.expression(at).map(Template::Expression),
            _ => {
                self.mistyped(at, "a mapping or an expression");
                None
            }
        }
    }

    /// A mapping of texts, or an expression in `${ }` that gives one.
    pub(super) fn strings_or_expression(&self, at: Option<At<'_>>) -> Template {
        let read = |at: &At<'_>| match &at.node.content {
            Content::Map(entries) => {
                let wrong = entries.iter().filter(|entry| !matches!(entry.value.content, Content::Text(_)));
                wrong.for_each(|entry| self.mistyped(&entry_at(at, entry), "a text"));
                self.template(at)
            }
            Content::Text(text) if self.is_expression(text) => self.template(at),
            _ => {
                self.mistyped(at, "a mapping of texts, or an expression in ${ } on one line");
                None
            }
        };
        at.and_then(|at| read(&at)).unwrap_or_else(Template::empty_object)
    }

    /// A URI with `{name}` parts.
    pub(super) fn uri_template(&self, at: &At<'_>, text: &str) -> Option<UriTemplate> {
        let refused = |message: &str, help: &str| {
            self.error_help(at, "uri", format!("{} {message}", at.name()), help);
            None
        };
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        let valid_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        };
        if !scheme.is_some_and(valid_scheme) {
            return refused(
                "must be a URI such as https://host/path, or an expression in ${ } on one line",
                "add the scheme",
            );
        }
        if let Some(bad) =
            text.chars().find(|c| c.is_whitespace() || c.is_control() || "\"'<>\\^`|".contains(*c))
        {
            return refused(&format!("has {bad:?} in it, which no URI has"), "write it as %XX");
        }
        match UriTemplate::parse(text) {
            Some(template) => Some(template),
            None => refused(
                "has a brace without its partner, or a name in braces that is none",
                "a variable is written {name}",
            ),
        }
    }
}

impl UriTemplate {
    fn parse(text: &str) -> Option<UriTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(open);
            let (name, after) = tail.strip_prefix('{')?.split_once('}')?;
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            if name.is_empty() || !name.chars().all(valid) || name.starts_with('.') || name.ends_with('.') {
                return None;
            }
            parts.push(UriPart::Literal(literal.to_owned()));
            parts.push(UriPart::Variable(name.to_owned()));
            rest = after;
        }
        parts.push(UriPart::Literal(rest.to_owned()));
        parts.retain(|part| !matches!(part, UriPart::Literal(text) if text.is_empty()));
        Some(UriTemplate { text: text.to_owned(), parts })
    }
}

fn constant(at: &At<'_>) -> Template {
    Template::Constant(Arc::new(at.node.to_json()))
}

fn fold_list(at: &At<'_>, items: Vec<Template>) -> Template {
    match items.iter().all(Template::is_constant) {
        true => constant(at),
        false => Template::Array(items),
    }
}

fn fold_map(at: &At<'_>, entries: Vec<(String, Template)>) -> Template {
    match entries.iter().all(|(_, item)| item.is_constant()) {
        true => constant(at),
        false => Template::Object(entries),
    }
}

/// The inside of `${ ... }`.
pub(super) fn enclosed(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}')
}

/// `a`, `b` and `c`
pub(super) fn list(words: &[&str], joiner: &str) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [head @ .., last] => format!("`{}` {joiner} `{last}`", head.join("`, `")),
    }
}

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let close = known.iter().map(|k| (distance(&lower, &k.to_lowercase()), *k)).min_by_key(|(d, _)| *d)?;
    let (distance, near) = close;
    (distance <= (word.len().max(near.len()) / 3).max(1) && distance < near.len()).then_some(near)
}

/// Letters to add, drop, change or swap with their neighbour to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
