//! Reads a document as a whole.

use std::sync::Arc;

use super::reader::{At, Reader};
use super::syntax;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expression::Language;
use crate::model::{
    Components, Document, Execution, Extension, InputFilter, OutputFilter, TaskList, Workflow,
};

const TOP_KEYS: &[&str] = &["document", "input", "use", "do", "timeout", "output", "schedule", "evaluate"];
const DOCUMENT_KEYS: &[&str] =
    &["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"];
const USE_KEYS: &[&str] =
    &["authentications", "errors", "extensions", "functions", "retries", "secrets", "timeouts", "catalogs"];
const EXTENSION_TARGETS: &[&str] =
    &["call", "composite", "emit", "for", "listen", "raise", "run", "set", "switch", "try", "wait", "all"];

impl Workflow {
    /// Reads a document in YAML or JSON. All that is wrong with it is in the error, warnings included.
    pub fn parse(text: &str) -> Result<Workflow, Diagnostics> {
        let (workflow, diagnostics) = Workflow::parse_with_warnings(text);
        workflow.ok_or(diagnostics)
    }

    /// As [`Workflow::parse`], with the warnings of a document that is accepted.
    pub fn parse_with_warnings(text: &str) -> (Option<Workflow>, Diagnostics) {
        let node = match syntax::read(text) {
            Ok(node) => node,
            Err(diagnostic) => return (None, Diagnostics(vec![diagnostic])),
        };
        let reader = Reader::default();
        let root = At::root(&node);
        let workflow = read(&reader, &root);
        let mut found: Vec<Diagnostic> = reader.into_diagnostics();
        if let Some(workflow) = &workflow {
            found.extend(crate::validate::references(workflow, &node));
        }
        let mut diagnostics = Diagnostics(found);
        diagnostics.sort();
        let accepted = workflow.filter(|_| !diagnostics.has_errors());
        (accepted, diagnostics)
    }
}

fn read(reader: &Reader, root: &At<'_>) -> Option<Workflow> {
    let fields = reader.fields(root, TOP_KEYS)?;
    // First, because it decides what is an expression.
    if let Some(at) = fields.get("evaluate") {
        reader.language.set(evaluate(reader, &at));
    }
    let document = fields.require("document").and_then(|at| head(reader, &at));
    let use_ = fields.get("use").map(|at| components(reader, &at)).unwrap_or_default();
    let do_ = fields.require("do").map(|at| reader.task_list(&at));
    let input = fields.get("input").map(|at| reader.input(&at));
    let output = fields.get("output").map(|at| reader.output(&at));
    let timeout = fields.get("timeout").and_then(|at| reader.timeout_reference(&at));
    let schedule = fields.get("schedule").map(|at| reader.schedule(&at));
    Some(Workflow {
        document: document?,
        input: input.unwrap_or_else(InputFilter::default),
        use_,
        do_: do_?,
        timeout,
        output: output.unwrap_or_else(OutputFilter::default),
        schedule,
        evaluate: reader.language.get(),
        definition: Arc::new(root.node.to_json()),
    })
}

fn evaluate(reader: &Reader, at: &At<'_>) -> Language {
    let Some(fields) = reader.fields(at, &["language", "mode"]) else { return Language::Strict };
    if let Some(at) = fields.get("language")
        && reader.text(&at).is_some_and(|language| language != "jq")
    {
        reader.error_help(
            &at,
            "not-supported-yet",
            "expressions in another language than jq",
            "write language: jq",
        );
    }
    let modes = [("strict", Language::Strict), ("loose", Language::Loose)];
    fields.get("mode").and_then(|at| reader.word(&at, &modes)).unwrap_or_default()
}

fn head(reader: &Reader, at: &At<'_>) -> Option<Document> {
    let fields = reader.fields(at, DOCUMENT_KEYS)?;
    let dsl = fields.require("dsl").and_then(|at| dsl_version(reader, &at));
    let namespace = fields.require("namespace").and_then(|at| label(reader, &at));
    let name = fields.require("name").and_then(|at| label(reader, &at));
    let version = fields.require("version").and_then(|at| semantic_version(reader, &at));
    let title = fields.get("title").and_then(|at| reader.string(&at));
    let summary = fields.get("summary").and_then(|at| reader.string(&at));
    let tags = reader.object_or_empty(fields.get("tags"));
    let metadata = fields.get("metadata");
    Some(Document {
        execution: metadata.as_ref().map_or_else(Execution::default, |at| reader.execution_of(at)),
        metadata: reader.object_or_empty(metadata),
        dsl: dsl?,
        namespace: namespace?,
        name: name?,
        version: version?,
        title,
        summary,
        tags,
    })
}

fn dsl_version(reader: &Reader, at: &At<'_>) -> Option<String> {
    let version = semantic_version(reader, at)?;
    if !version.starts_with("1.0.") {
        let message = format!("`dsl` is {version}; documents of version 1.0 are read");
        reader.error_help(at, "dsl-version", message, "write dsl: '1.0.3'");
        return None;
    }
    Some(version)
}

/// Letters, digits and inner hyphens, at most 63.
fn label(reader: &Reader, at: &At<'_>) -> Option<String> {
    let text = reader.string(at)?;
    let inner = text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if text.is_empty() || !inner || text.starts_with('-') || text.ends_with('-') {
        let message = format!("`{}` must be letters, digits and inner hyphens, at most 63", at.key());
        reader.error(at, "name", message);
        return None;
    }
    Some(text)
}

fn semantic_version(reader: &Reader, at: &At<'_>) -> Option<String> {
    let text = reader.string(at)?;
    if !is_semantic_version(&text) {
        let message = format!("`{}` must be a semantic version such as 1.0.0, not `{text}`", at.key());
        reader.error(at, "version", message);
        return None;
    }
    Some(text)
}

/// <https://semver.org>, as the official schema's pattern has it.
fn is_semantic_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn components(reader: &Reader, at: &At<'_>) -> Components {
    let Some(fields) = reader.fields(at, USE_KEYS) else { return Components::default() };
    Components {
        authentications: fields
            .get("authentications")
            .map(|at| reader.by_name(&at, |at| reader.authentication(at)))
            .unwrap_or_default(),
        errors: fields
            .get("errors")
            .map(|at| reader.by_name(&at, |at| reader.error_definition(at)))
            .unwrap_or_default(),
        extensions: fields
            .get("extensions")
            .map(|at| reader.items(&at).iter().filter_map(|item| extension(reader, item)).collect())
            .unwrap_or_default(),
        functions: fields
            .get("functions")
            .map(|at| reader.by_name(&at, |at| reader.task(at)))
            .unwrap_or_default(),
        retries: fields
            .get("retries")
            .map(|at| reader.by_name(&at, |at| reader.retry_policy(at)))
            .unwrap_or_default(),
        secrets: fields
            .get("secrets")
            .map(|at| reader.items(&at).iter().filter_map(|item| reader.string(item)).collect())
            .unwrap_or_default(),
        timeouts: fields
            .get("timeouts")
            .map(|at| reader.by_name(&at, |at| reader.timeout(at)))
            .unwrap_or_default(),
        catalogs: fields
            .get("catalogs")
            .map(|at| reader.by_name(&at, |at| catalog(reader, at)))
            .unwrap_or_default(),
    }
}

fn catalog(reader: &Reader, at: &At<'_>) -> Option<crate::model::Endpoint> {
    let fields = reader.fields(at, &["endpoint"])?;
    fields.require("endpoint").and_then(|at| reader.endpoint(&at))
}

fn extension(reader: &Reader, at: &At<'_>) -> Option<Extension> {
    let at = reader.single(at)?;
    let fields = reader.fields(&at, &["extend", "when", "before", "after"])?;
    let targets: Vec<(&str, &str)> = EXTENSION_TARGETS.iter().map(|target| (*target, *target)).collect();
    let extend = fields.require("extend").and_then(|at| reader.word(&at, &targets));
    let when = fields.get("when").and_then(|at| reader.expression(&at));
    let tasks = |key| fields.get(key).map_or_else(TaskList::default, |at| reader.task_list(&at));
    let (before, after) = (tasks("before"), tasks("after"));
    Some(Extension { name: at.key().to_owned(), extend: extend?.to_owned(), when, before, after })
}
