//! Classes of steps: what a worker must offer, as a short text that the store can index. Steps of one class fit the same
//! workers.

use std::collections::{BTreeMap, BTreeSet};

use protocol::step::{Mode, SandboxNeeds, StepSpec, Work};
use protocol::worker_api::{Hello, SandboxOffer};
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
    /// Whether the step names an image.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    image: bool,
    /// Whether it asks for more time than every sandbox backend gives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    long: bool,
    /// Whether it lists destinations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    network: bool,
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
    sandboxes: Vec<SandboxOffer>,
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
        let sandbox = SandboxNeeds::of(spec);
        Requirements {
            mode: spec.mode,
            bare_run: spec.mode == Mode::Bare && runs_process,
            backend: sandbox.as_ref().and_then(|needs| needs.backend).map(str::to_owned),
            image: sandbox.as_ref().is_some_and(|needs| needs.image),
            long: sandbox.as_ref().is_some_and(|needs| needs.long),
            network: sandbox.as_ref().is_some_and(|needs| needs.network),
            agent,
            labels: spec.requires.clone(),
        }
    }

    /// What it needs of a sandbox backend; `None` in mode 0.
    fn sandbox(&self) -> Option<SandboxNeeds<'_>> {
        (self.mode != Mode::Bare).then_some(SandboxNeeds {
            mode: self.mode,
            backend: self.backend.as_deref(),
            image: self.image,
            long: self.long,
            network: self.network,
        })
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
        needs.extend(self.sandbox().map(Need::Sandbox));
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
    Sandbox(SandboxNeeds<'a>),
    Agent(&'a str),
    Label(&'a str, &'a str),
}

impl Need<'_> {
    fn is_met(&self, offer: &Capabilities) -> bool {
        match self {
            Need::Mode(mode) => offer.modes.contains(mode.name()),
            Need::BareRun => offer.bare_run,
            Need::Sandbox(needs) => offer.sandboxes.iter().any(|sandbox| sandbox.takes(needs)),
            Need::Agent(agent) => offer.agents.contains(*agent),
            Need::Label(key, value) => offer.labels.get(*key).is_some_and(|label| label == value),
        }
    }

    fn words(&self) -> String {
        match self {
            Need::Mode(mode) => format!("mode {mode}"),
            Need::BareRun => "`run` in mode bare (start one with bare runs allowed)".to_owned(),
            Need::Sandbox(needs) => sandbox_words(needs),
            Need::Agent(agent) => format!("agent {agent}"),
            Need::Label(key, value) => format!("{key}={value}"),
        }
    }
}

/// Such as `sandbox backend docker that takes images and mode full`.
fn sandbox_words(needs: &SandboxNeeds<'_>) -> String {
    let what = match needs.backend {
        Some(name) => format!("sandbox backend {name}"),
        None => "a sandbox".to_owned(),
    };
    let mut takes = Vec::new();
    if needs.image {
        takes.push("images".to_owned());
    }
    if needs.mode >= Mode::Full {
        takes.push(format!("mode {}", needs.mode));
    }
    if needs.long {
        takes.push("steps of more than 15 minutes".to_owned());
    }
    if needs.network {
        takes.push("steps with `network`".to_owned());
    }
    if takes.is_empty() { what } else { format!("{what} that takes {}", takes.join(" and ")) }
}

impl Capabilities {
    /// What a worker says of itself.
    pub(crate) fn of(hello: &Hello) -> Self {
        Capabilities {
            modes: hello.modes.iter().cloned().collect(),
            bare_run: hello.bare_run,
            sandboxes: offers(hello),
            agents: hello.agents.iter().cloned().collect(),
            labels: hello.labels.clone().into_iter().collect(),
        }
    }

    /// Whether steps with these requirements may go to the worker.
    pub(crate) fn meet(&self, requirements: &Requirements) -> bool {
        requirements.needs().iter().all(|need| need.is_met(self))
    }

    /// The sandbox backend that a step of this spec will run on, by the same rule as the worker's; empty without one.
    pub(crate) fn sandbox_for(&self, spec: &StepSpec) -> &str {
        let needs = SandboxNeeds::of(spec);
        needs
            .and_then(|needs| self.sandboxes.iter().find(|offer| offer.takes(&needs)))
            .map_or("", |offer| offer.name.as_str())
    }
}

/// What the worker's sandbox backends can do. One of an older version only names them: they take all of its modes.
fn offers(hello: &Hello) -> Vec<SandboxOffer> {
    let plain = |name: &String| SandboxOffer {
        name: name.clone(),
        images: false,
        modes: hello.modes.clone(),
        long: true,
        tunnel: true,
    };
    let known = |name: &String| hello.offers.iter().find(|offer| offer.name == *name).cloned();
    hello.sandboxes.iter().map(|name| known(name).unwrap_or_else(|| plain(name))).collect()
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
        Requirements {
            mode,
            bare_run: false,
            backend: None,
            image: false,
            long: false,
            network: false,
            agent: None,
            labels,
        }
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
    fn a_sandbox_backend_is_matched_by_what_it_can_do() {
        let offer = |name: &str, images, modes: &[&str], long| SandboxOffer {
            name: name.to_owned(),
            images,
            modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
            long,
            tunnel: true,
        };
        let modes = ["sandboxed", "identity", "full"];
        let mixed = Capabilities::of(&Hello {
            modes: modes.map(str::to_owned).to_vec(),
            sandboxes: ["namespace", "lambda", "docker"].map(str::to_owned).to_vec(),
            offers: vec![
                offer("namespace", false, &modes, true),
                offer("lambda", true, &modes[..2], false),
                offer("docker", true, &modes, true),
            ],
            ..Hello::default()
        });
        let spec = |mode, image: Option<&str>, backend: Option<&str>, timeout_ms| StepSpec {
            task: String::new(),
            work: Work::Shell(protocol::step::ProcessRun::default()),
            mode,
            identity: None,
            image: image.map(str::to_owned),
            network: Vec::new(),
            resources: protocol::step::Resources::default(),
            requires: BTreeMap::new(),
            backend: backend.map(str::to_owned),
            artifacts: Vec::new(),
            timeout_ms,
        };
        for (wanted, spec) in [
            ("namespace", spec(Mode::Sandboxed, None, None, None)),
            ("lambda", spec(Mode::Sandboxed, Some("busybox"), None, None)),
            ("docker", spec(Mode::Sandboxed, Some("busybox"), None, Some(3_600_000))),
            ("docker", spec(Mode::Full, Some("busybox"), None, None)),
            ("docker", spec(Mode::Identity, None, Some("docker"), None)),
        ] {
            assert_eq!(mixed.sandbox_for(&spec), wanted);
            assert!(mixed.meet(&Requirements::of(&spec)), "{wanted}");
        }
        let never = spec(Mode::Full, Some("busybox"), Some("lambda"), None);
        assert_eq!(mixed.sandbox_for(&never), "");
        assert_eq!(
            why_none(&Requirements::of(&never), [mixed].iter()).as_deref(),
            Some("no worker offers sandbox backend lambda that takes images and mode full")
        );
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
