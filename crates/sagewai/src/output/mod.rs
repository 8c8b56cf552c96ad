//! What people and programs see: text or JSON, colour only on a terminal, errors once with one hint.

mod diagnostic;
mod paint;
mod progress;
mod safe;
mod table;
mod units;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::cli::{Form, Globals};
use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) use paint::{Paint, Tone};
pub(crate) use progress::{Progress, run_tone, steps_text};
pub(crate) use safe::{safe_line, safe_text};
pub(crate) use table::Table;
pub(crate) use units::{bytes, since};

/// Where and in which form a command writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) form: Form,
    /// Of standard output.
    pub(crate) paint: Paint,
    /// Whether standard output is a terminal that may be redrawn.
    pub(crate) redraws: bool,
}

impl Output {
    pub(crate) fn new(globals: &Globals) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Output {
            form: globals.output.unwrap_or(Form::Text),
            paint: Paint::new(terminal),
            redraws: terminal && !dumb,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// The answer of a command: JSON, indented, or the text.
    pub(crate) fn answer<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        match self.form {
            Form::Json => write(&format!("{}\n", serde_json::to_string_pretty(value).expect("plain data"))),
            Form::Text => write(&text()),
        }
    }

    /// One item of a stream: JSON on one line, or the text.
    pub(crate) fn item<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        match self.form {
            Form::Json => write(&format!("{}\n", serde_json::to_string(value).expect("plain data"))),
            Form::Text => write(&text()),
        }
    }

    /// A remark beside the answer, on standard error; programs do not get it.
    pub(crate) fn remark(&self, text: &str) {
        if self.form == Form::Text {
            eprintln!("{text}");
        }
    }

    /// A failed command, on standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.exit == Exit::Interrupted && failure.message.is_empty() {
            return;
        }
        match self.form {
            Form::Json => {
                let findings = failure.findings.as_ref().map(|findings| &findings.findings);
                let error = json!({ "error": {
                    "message": failure.message, "causes": failure.causes, "hint": failure.hint,
                    "exit": failure.exit as u8, "findings": findings,
                }});
                eprintln!("{error}");
            }
            Form::Text => eprint!("{}", failure_text(failure, Paint::new(std::io::stderr().is_terminal()))),
        }
    }
}

fn failure_text(failure: &Failure, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(findings) = &failure.findings {
        text.push_str(&diagnostic::draw(findings, paint));
    }
    text.push_str(&format!("{}: {}\n", paint.tone(Tone::Bad, "error"), safe_line(&failure.message)));
    for cause in &failure.causes {
        text.push_str(&format!("  cause: {}\n", safe_line(cause)));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("{}: {}\n", paint.tone(Tone::Note, "hint"), safe_line(hint)));
    }
    text
}

/// Findings that do not refuse a document, drawn.
pub(crate) fn draw_findings(findings: &crate::failure::Findings, paint: Paint) -> String {
    diagnostic::draw(findings, paint)
}

/// Writes to standard output. A reader that went away, as in `sagewai runs list | head -1`, ends the program quietly.
pub(crate) fn write(text: &str) {
    write_bytes(text.as_bytes());
}

/// As [`write`].
pub(crate) fn write_bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe { Exit::Ok } else { Exit::Failed };
        std::process::exit(exit as i32);
    }
}

/// What clap has to say: help and version are answers, the rest is a usage error.
pub(crate) fn usage_error(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            write(&error.render().to_string());
            Exit::Ok.into()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render());
            Exit::Usage.into()
        }
        _ => {
            let text = error.render().to_string();
            let text = text.split("\n\nUsage:").next().unwrap_or(&text).trim_end();
            eprintln!("{text}\nhint: sagewai COMMAND --help shows the flags and examples");
            Exit::Usage.into()
        }
    }
}
