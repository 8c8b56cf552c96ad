//! Why a command failed: what, the causes, and one hint.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;

use control::api::problem::{Finding, Kind, Problem};

use crate::exit::Exit;

/// A failed command. It is printed once, in `main`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What failed, without a full stop.
    pub(crate) message: String,
    /// Why, the outermost first.
    pub(crate) causes: Vec<String>,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// Findings about a document, and the document they are about, to be drawn.
    pub(crate) findings: Option<Box<Findings>>,
    /// Findings of the server, not yet beside a text.
    pub(crate) problem_findings: Vec<Finding>,
}

/// Findings about a text.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) findings: Vec<Finding>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            findings: None,
            problem_findings: Vec::new(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message)
    }

    /// Something here failed: a file, a process.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure::new(Exit::Failed, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error and all its sources, as causes.
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if self.causes.last().is_none_or(|last| !last.ends_with(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// A file could not be used.
    pub(crate) fn file(action: &str, path: &Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "check the owner and mode of the file and its folders",
            std::io::ErrorKind::StorageFull => "free some space on that disk",
            _ => "check the disk and the path",
        };
        Failure::failed(format!("failed to {action} {}", path.display())).because(error).hint(hint)
    }

    /// A document is refused; `file` is what people call it.
    pub(crate) fn document(file: impl Display, text: &str, findings: Vec<Finding>) -> Self {
        let count = findings.iter().filter(|finding| finding.severity == "error").count();
        let noun = if count == 1 { "error" } else { "errors" };
        let file = file.to_string();
        Failure {
            findings: Some(Box::new(Findings { file: file.clone(), text: text.to_owned(), findings })),
            ..Failure::new(Exit::Invalid, format!("{file} is refused: {count} {noun}"))
        }
        .hint("each finding names the place; `sagewai workflow validate FILE` checks without a server")
    }

    /// The server refused a request.
    pub(crate) fn problem(problem: Problem) -> Self {
        let kind = Kind::of(&problem.kind);
        let exit = match kind {
            Some(Kind::Unauthenticated | Kind::Forbidden) => Exit::Refused,
            Some(Kind::NotFound | Kind::MethodNotAllowed) => Exit::NotFound,
            Some(Kind::Conflict | Kind::IdempotencyMismatch) => Exit::Conflict,
            Some(Kind::Overloaded | Kind::Unavailable | Kind::StorageFull) => Exit::Unreachable,
            Some(Kind::Internal) | None => Exit::Failed,
            Some(
                Kind::MalformedRequest
                | Kind::InvalidDocument
                | Kind::PayloadTooLarge
                | Kind::HeadersTooLarge
                | Kind::UnsupportedMediaType,
            ) => Exit::Invalid,
        };
        let hint = problem.hint.map_or_else(|| default_hint(kind).to_owned(), String::from);
        let mut failure = Failure::new(exit, problem.detail).hint(hint);
        failure.causes = problem.errors.iter().map(described).collect();
        failure.problem_findings = problem.errors;
        failure
    }
}

fn default_hint(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Unauthenticated) => "name the token's file with --token-file",
        Some(Kind::Forbidden) => "ask an admin for another token: sagewai token create",
        Some(Kind::NotFound) => "the lists show what there is: sagewai runs list, sagewai workflow list",
        Some(Kind::Conflict) => "read its state first: sagewai runs show ID",
        Some(Kind::Overloaded | Kind::Unavailable) => "try again; sagewai doctor shows the server's state",
        Some(Kind::StorageFull) => "free some space in the server's data folder, then try again",
        Some(Kind::Internal) => "the server's log has the cause",
        _ => "sagewai COMMAND --help shows what the command takes",
    }
}

/// A finding on one line, for where there is no text to draw it on.
fn described(finding: &Finding) -> String {
    let place = if finding.pointer.is_empty() { String::new() } else { format!("{}: ", finding.pointer) };
    let help = finding.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
    format!("{place}{}{help}", finding.detail)
}
