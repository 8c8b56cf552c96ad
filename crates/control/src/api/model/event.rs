//! What the streams of a run carry: its progress, and its logs.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Run, RunState, StepState, Time};
use crate::logs::{LogEntry, LogStream};
use crate::watch::RunEvent;

/// Progress of a run. As a server-sent event, `event` is also the name of the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The whole state: first on every connection, and again where events were missed.
    Snapshot {
        /// The run now.
        run: Box<Run>,
    },
    /// The run's state changed.
    Status {
        /// When.
        time: Time,
        /// The new state.
        state: RunState,
    },
    /// A step changed.
    Step {
        /// When.
        time: Time,
        /// The step.
        step: u32,
        /// JSON pointer of its task.
        task: String,
        /// Its mode.
        mode: String,
        /// The mode as people say it.
        mode_number: String,
        /// Its attempt, from 1; 0 before the first lease.
        attempt: u32,
        /// The new state.
        state: StepState,
        /// The worker that holds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// What people should know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// One line for people.
    Note {
        /// When.
        time: Time,
        /// The step it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        /// The line.
        text: String,
    },
    /// The run has ended and nothing follows; the state it ended in.
    End {
        /// The state.
        state: RunState,
    },
}

impl Event {
    /// Name of the server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Snapshot { .. } => "snapshot",
            Event::Status { .. } => "status",
            Event::Step { .. } => "step",
            Event::Note { .. } => "note",
            Event::End { .. } => "end",
        }
    }

    /// The event that a watcher was told of; `None` for [`RunEvent::Resync`], which a snapshot stands for.
    pub(crate) fn of(event: RunEvent) -> Option<Event> {
        Some(match event {
            RunEvent::Status { time, status, .. } => {
                Event::Status { time: time.into(), state: store::RunStatus::from_name(&status)?.into() }
            }
            RunEvent::Step { time, step, task, mode, attempt, state, worker, note } => Event::Step {
                time: time.into(),
                step: step.0,
                task,
                mode: mode.name().to_owned(),
                mode_number: mode.number().to_owned(),
                attempt,
                state: state.into(),
                worker,
                note,
            },
            RunEvent::Note { time, step, text } => {
                Event::Note { time: time.into(), step: step.map(|step| step.0), text }
            }
            RunEvent::Resync => return None,
        })
    }
}

/// A piece of a step's log: bytes as `text` where they are UTF-8, else as `base64`. A piece is not always whole lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Position in the run's log, `step.attempt.number`: pass the last one seen as `after` to go on.
    pub position: String,
    /// The step that wrote it.
    pub step: u32,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// `stdout`, `stderr` or `platform`.
    pub stream: String,
    /// When, by the worker's clock.
    pub time: Time,
    /// The bytes as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes as base64, where they are not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl LogLine {
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.text, &self.base64) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(base64)) => Base64::decode_vec(base64).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

impl From<LogEntry> for LogLine {
    fn from(entry: LogEntry) -> Self {
        let stream = match entry.stream {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::Platform => "platform",
        };
        let (text, base64) = match std::str::from_utf8(&entry.data) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(Base64::encode_string(&entry.data))),
        };
        LogLine {
            position: format!("{}.{}.{}", entry.attempt.step, entry.attempt.attempt, entry.sequence),
            step: entry.attempt.step.0,
            attempt: entry.attempt.attempt,
            stream: stream.to_owned(),
            time: entry.time.into(),
            text,
            base64,
        }
    }
}
