//! How a run ends.

use std::sync::Arc;

use protocol::step::StepError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How a run has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// To its end, or by `then: end`.
    Completed {
        /// The run's output, any JSON.
        output: Arc<Value>,
    },
    /// With an error that nothing caught.
    Faulted {
        /// The error.
        error: RunError,
    },
    /// Because someone asked for it.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// An error of a run: problem details (RFC 9457) in the DSL's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// URI of the error's type; the standard ones are in [`protocol::step::error_type`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Status code, as HTTP has them.
    pub status: u16,
    /// A short sentence on the kind of error.
    pub title: String,
    /// What happened here and what to do; may be empty.
    #[serde(default)]
    pub detail: String,
    /// JSON pointer of the task that failed, such as `/do/1/query`.
    pub instance: String,
}

impl RunError {
    /// A step's error, at the place of its task.
    pub fn at(error: StepError, instance: impl Into<String>) -> Self {
        let StepError { kind, status, title, detail } = error;
        RunError { kind, status, title, detail, instance: instance.into() }
    }

    /// As expressions see it: `{type, status, title, detail, instance}`.
    pub fn to_json(&self) -> Value {
        json!({
            "type": self.kind,
            "status": self.status,
            "title": self.title,
            "detail": self.detail,
            "instance": self.instance,
        })
    }
}
