//! The outcome of an attempt on its way from a worker's stream to its run: it waits for its log, and its artifacts are looked
//! for.

use std::sync::Arc;

use planner::Event;
use protocol::id::{AttemptId, Timestamp};
use protocol::step::{Artifact, StepError, StepOutcome, error_type};
use store::blob::{BlobId, Blobs};

use crate::core::Core;
use crate::driver::input::{Input, Origin};

/// An outcome that was claimed.
pub(crate) struct Reported {
    pub(crate) attempt: AttemptId,
    pub(crate) outcome: StepOutcome,
    pub(crate) origin: Origin,
    /// When it arrived.
    pub(crate) at: Timestamp,
}

impl Reported {
    /// The files that it says were stored.
    pub(crate) fn artifacts(&self) -> &[Artifact] {
        match &self.outcome {
            StepOutcome::Completed { artifacts, .. } => artifacts,
            StepOutcome::Failed { .. } | StepOutcome::Cancelled => &[],
        }
    }

    /// As it is if its artifacts are there, and kept from being swept until it is stored; else a failure that names the
    /// first one that is not.
    pub(crate) async fn checked(mut self, blobs: &Blobs) -> Self {
        for artifact in self.artifacts() {
            let found = match artifact.sha256.parse::<BlobId>() {
                Ok(blob) => blobs.claim(blob).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let why = match found {
                Ok(Some(size)) if size == artifact.size => continue,
                Ok(Some(size)) => format!("it has {size} bytes at the server, not {}", artifact.size),
                Ok(None) => "the server does not have it".to_owned(),
                Err(why) => why,
            };
            self.outcome = StepOutcome::Failed { error: not_stored(artifact, &why) };
            return self;
        }
        self
    }

    /// Gives it to its run; one that has `logged` waits until its log is stored.
    pub(crate) fn pass_on(self, core: &Arc<Core>, logged: bool) {
        let Reported { attempt, outcome, origin, at } = self;
        let event = Event::StepFinished { step: attempt.step, outcome, at };
        let input = Input::Event { event, origin };
        if logged {
            crate::logs::when_stored(core, move |core| core.schedule.push(attempt.run, input));
        } else {
            core.schedule.push(attempt.run, input);
        }
    }
}

fn not_stored(artifact: &Artifact, why: &str) -> StepError {
    StepError {
        kind: error_type::RUNTIME.to_owned(),
        status: 502,
        title: "An artifact was not stored".to_owned(),
        detail: format!("the worker reported the artifact {:?} ({}): {why}", artifact.path, artifact.sha256),
    }
}
