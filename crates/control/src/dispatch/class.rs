//! Classes of steps: what a worker must offer, as a short text that the store can index. Steps of one class fit the same
//! workers.

use std::collections::{BTreeMap, BTreeSet};

use protocol::step::{Mode, StepSpec, Work};
use protocol::worker_api::Hello;
use serde::{Deserialize, Serialize};

/// What a step needs of its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requirements {
    mode: Mode,
    /// A `run` in mode 0, which the worker's operator must have allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bare_run: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

/// What a connected worker offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    modes: BTreeSet<String>,
    bare_run: bool,
    sandboxes: Vec<String>,
    agents: BTreeSet<String>,
    labels: BTreeMap<String, String>,
}

impl Requirements {
    /// What a step needs.
    pub(crate) fn of(spec: &StepSpec) -> Self {
        let runs_process = matches!(spec.work, Work::Shell(_) | Work::Script { .. } | Work::Container { .. });
        let agent = match &spec.work {
            Work::CliAgent { agent, .. } => Some(agent.clone()),
            _ => None,
        };
        Requirements {
            mode: spec.mode,
            bare_run: spec.mode == Mode::Bare && runs_process,
            backend: spec.backend.clone().filter(|_| spec.mode != Mode::Bare),
            agent,
            labels: spec.requires.clone(),
        }
    }

    /// The class: canonical JSON.
    pub(crate) fn class(&self) -> String {
        serde_json::to_string(self).expect("requirements are strings and booleans")
    }

    /// The requirements behind a class; `None` for a text that is none, such as one of a newer server.
    pub(crate) fn of_class(class: &str) -> Option<Self> {
        serde_json::from_str(class).ok()
    }

    /// Each single need, in words.
    fn needs(&self) -> Vec<Need<'_>> {
        let mut needs = vec![Need::Mode(self.mode)];
        if self.bare_run {
            needs.push(Need::BareRun);
        }
        if let Some(backend) = &self.backend {
            needs.push(Need::Backend(backend));
        } else if self.mode != Mode::Bare {
            needs.push(Need::AnySandbox);
        }
        if let Some(agent) = &self.agent {
            needs.push(Need::Agent(agent));
        }
        needs.extend(self.labels.iter().map(|(key, value)| Need::Label(key, value)));
        needs
    }
}

enum Need<'a> {
    Mode(Mode),
    BareRun,
    AnySandbox,
    Backend(&'a str),
    Agent(&'a str),
    Label(&'a str, &'a str),
}

impl Need<'_> {
    fn is_met(&self, offer: &Capabilities) -> bool {
        match self {
            Need::Mode(mode) => offer.modes.contains(mode.name()),
            Need::BareRun => offer.bare_run,
            Need::AnySandbox => !offer.sandboxes.is_empty(),
            Need::Backend(backend) => offer.sandboxes.iter().any(|sandbox| sandbox == backend),
            Need::Agent(agent) => offer.agents.contains(*agent),
            Need::Label(key, value) => offer.labels.get(*key).is_some_and(|label| label == value),
        }
    }

    fn words(&self) -> String {
        match self {
            Need::Mode(mode) => format!("mode {mode}"),
            Need::BareRun => "`run` in mode bare (start one with bare runs allowed)".to_owned(),
            Need::AnySandbox => "a sandbox".to_owned(),
            Need::Backend(backend) => format!("sandbox backend {backend}"),
            Need::Agent(agent) => format!("agent {agent}"),
            Need::Label(key, value) => format!("{key}={value}"),
        }
    }
}

impl Capabilities {
    /// What a worker says of itself.
    pub(crate) fn of(hello: &Hello) -> Self {
        Capabilities {
            modes: hello.modes.iter().cloned().collect(),
            bare_run: hello.bare_run,
            sandboxes: hello.sandboxes.clone(),
            agents: hello.agents.iter().cloned().collect(),
            labels: hello.labels.clone().into_iter().collect(),
        }
    }

    /// Whether steps with these requirements may go to the worker.
    pub(crate) fn meet(&self, requirements: &Requirements) -> bool {
        requirements.needs().iter().all(|need| need.is_met(self))
    }

    /// The sandbox backend that a step of this spec will run on.
    pub(crate) fn sandbox_for<'a>(&'a self, wanted: Option<&'a str>) -> &'a str {
        wanted.or(self.sandboxes.first().map(String::as_str)).unwrap_or_default()
    }
}

/// Why no worker of `offers` takes steps with these requirements; `None` when one does.
pub(crate) fn why_none<'a>(
    requirements: &Requirements,
    offers: impl Iterator<Item = &'a Capabilities> + Clone,
) -> Option<String> {
    if offers.clone().next().is_none() {
        return Some("no worker is connected".to_owned());
    }
    if offers.clone().any(|offer| offer.meet(requirements)) {
        return None;
    }
    let needs = requirements.needs();
    let missing: Vec<String> = needs
        .iter()
        .filter(|need| !offers.clone().any(|offer| need.is_met(offer)))
        .map(Need::words)
        .collect();
    if missing.is_empty() {
        let all: Vec<String> = needs.iter().map(Need::words).collect();
        return Some(format!("no single worker offers {} together", all.join(", ")));
    }
    Some(format!("no worker offers {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(mode: Mode, labels: &[(&str, &str)]) -> Requirements {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Requirements { mode, bare_run: false, backend: None, agent: None, labels }
    }

    fn worker(modes: &[&str], labels: &[(&str, &str)]) -> Capabilities {
        Capabilities::of(&Hello {
            modes: modes.iter().map(|m| (*m).to_owned()).collect(),
            sandboxes: vec!["namespace".to_owned()],
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Hello::default()
        })
    }

    #[test]
    fn a_class_is_read_back_as_the_requirements_it_was_made_of() {
        let mut requirements = needs(Mode::Identity, &[("gpu", "1"), ("zone", "a b\"")]);
        requirements.backend = Some("docker".to_owned());
        assert_eq!(Requirements::of_class(&requirements.class()), Some(requirements));
        assert_eq!(Requirements::of_class("from the future"), None);
    }

    #[test]
    fn the_reason_names_what_is_missing() {
        let gpu = needs(Mode::Sandboxed, &[("gpu", "1")]);
        let none: [Capabilities; 0] = [];
        assert_eq!(why_none(&gpu, none.iter()).as_deref(), Some("no worker is connected"));
        let plain = [worker(&["bare", "sandboxed"], &[])];
        assert_eq!(why_none(&gpu, plain.iter()).as_deref(), Some("no worker offers gpu=1"));
        let split = [worker(&["sandboxed"], &[]), worker(&["bare"], &[("gpu", "1")])];
        assert_eq!(
            why_none(&gpu, split.iter()).as_deref(),
            Some("no single worker offers mode sandboxed, a sandbox, gpu=1 together")
        );
        let fitting = [worker(&["sandboxed"], &[("gpu", "1")])];
        assert_eq!(why_none(&gpu, fitting.iter()), None);
    }

    #[test]
    fn a_bare_run_needs_a_worker_that_allows_it() {
        let mut run = needs(Mode::Bare, &[]);
        run.bare_run = true;
        let mut offer = worker(&["bare"], &[]);
        assert!(!offer.meet(&run));
        offer.bare_run = true;
        assert!(offer.meet(&run));
    }
}
