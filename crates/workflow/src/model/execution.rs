//! `metadata.execution`: where a task runs, as whom, and with what (design §5).

use std::collections::BTreeMap;

use protocol::step::{Mode, NetworkRule, Resources};

use super::{Call, Process, TaskKind};

/// `metadata.execution` as written: what is absent is left to the document's head, then to the kind of task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Execution {
    /// `mode`
    pub mode: Option<Mode>,
    /// `identity`: an opaque reference such as `acme-prod/reporting`.
    pub identity: Option<String>,
    /// `image`: OCI image of the sandbox.
    pub image: Option<String>,
    /// `network`: destinations that may be reached.
    pub network: Option<Vec<NetworkRule>>,
    /// `resources`: limits.
    pub resources: Option<Resources>,
    /// `requires`: labels that the worker must carry.
    pub requires: Option<BTreeMap<String, String>>,
    /// `backend`: a sandbox backend by name.
    pub backend: Option<String>,
    /// `artifacts`: paths below /workspace that come back.
    pub artifacts: Option<Vec<String>>,
}

/// The settings in force for a task.
#[derive(Clone, Debug, PartialEq)]
pub struct StepExecution {
    /// Where it runs; `None` for kinds that need no worker.
    pub mode: Option<Mode>,
    /// As whom; only with mode 2 and up.
    pub identity: Option<String>,
    /// OCI image of the sandbox.
    pub image: Option<String>,
    /// Destinations that may be reached; empty means none.
    pub network: Vec<NetworkRule>,
    /// Limits.
    pub resources: Resources,
    /// Labels that the worker must carry.
    pub requires: BTreeMap<String, String>,
    /// A sandbox backend by name.
    pub backend: Option<String>,
    /// Paths below /workspace that come back.
    pub artifacts: Vec<String>,
}

impl Execution {
    /// These settings where stated, else `base`'s, key by key.
    pub fn over(&self, base: &Execution) -> Execution {
        Execution {
            mode: self.mode.or(base.mode),
            identity: self.identity.clone().or_else(|| base.identity.clone()),
            image: self.image.clone().or_else(|| base.image.clone()),
            network: self.network.clone().or_else(|| base.network.clone()),
            resources: self.resources.clone().or_else(|| base.resources.clone()),
            requires: self.requires.clone().or_else(|| base.requires.clone()),
            backend: self.backend.clone().or_else(|| base.backend.clone()),
            artifacts: self.artifacts.clone().or_else(|| base.artifacts.clone()),
        }
    }

    /// Fills what is absent with the defaults of the kind. Flow tasks get no mode whatever is stated.
    pub fn for_kind(self, kind: &TaskKind) -> StepExecution {
        let mode = match kind {
            // It measures a fleet, and has nothing that a sandbox could run.
            TaskKind::Call(Call::Noop(_)) => Some(Mode::Bare),
            kind => default_mode(kind).map(|default| self.mode.unwrap_or(default)),
        };
        StepExecution {
            mode,
            identity: self.identity.filter(|_| mode.is_some_and(|mode| mode >= Mode::Identity)),
            image: self.image,
            network: self.network.unwrap_or_default(),
            resources: self.resources.unwrap_or_default(),
            requires: self.requires.unwrap_or_default(),
            backend: self.backend,
            artifacts: self.artifacts.unwrap_or_default(),
        }
    }
}

/// The mode of a kind of task that does not state one; `None` when it needs no worker.
pub fn default_mode(kind: &TaskKind) -> Option<Mode> {
    match kind {
        TaskKind::Call(Call::Function(_)) => None,
        TaskKind::Call(Call::CliAgent(_)) => Some(Mode::Full),
        TaskKind::Call(_) => Some(Mode::Bare),
        TaskKind::Run(run) => match run.process {
            Process::Workflow(_) => None,
            Process::Container(_) | Process::Script(_) | Process::Shell(_) => Some(Mode::Sandboxed),
        },
        TaskKind::Do(_)
        | TaskKind::Emit(_)
        | TaskKind::For(_)
        | TaskKind::Fork(_)
        | TaskKind::Listen(_)
        | TaskKind::Raise(_)
        | TaskKind::Set(_)
        | TaskKind::Switch(_)
        | TaskKind::Try(_)
        | TaskKind::Wait(_) => None,
    }
}
