//! Modes 1, 2 and 3: in a sandbox, with an identity from mode 2 up, by a CLI agent in mode 3.
//!
//! The order is what protects: the sandbox is there first, then the identity is sealed to its guest, and only the guest
//! can open it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::broker::SealedBinding;
use protocol::frame::{Layer, LayerReport, StartStep, StepLimits, Stream};
use protocol::step::{Artifact, Mode, NetworkRule, StepError, Work};
use sandbox::egress::Egress;
use sandbox::pool::Pool;
use sandbox::session::{ArtifactSink, Collect, Control, ExitStatus, Stdin, StepEvent};
use sandbox::{
    CancellationToken, Capabilities, SandboxError, SandboxLimits, Session, Template, missing_layers,
};
use tokio::sync::mpsc;

use super::process::{self, Process, WORKSPACE};
use super::{Attempted, Done, Undone, image, request};
use crate::agent::AgentManifest;
use crate::artifact::{ArtifactStore, Upload};
use crate::error::{authentication, configuration, runtime, timeout};
use crate::outcome::{Capture, End, failure};

/// Events of a step that wait for this worker.
const EVENT_QUEUE: usize = 64;
/// Number of the signal that the kernel sends when memory is out.
const KILL: i32 = 9;
/// From asking a cancelled step to end to killing it.
const GRACE: Duration = Duration::from_secs(2);
/// The guest ends the step by itself so much later than the worker would.
const GUEST_DEADLINE_SLACK_MS: u64 = 5_000;
/// Open descriptors of one process in a sandbox.
const DESCRIPTORS: u32 = 1024;
/// Artifacts of one step: largest file, largest sum, most files.
const ARTIFACT_LIMITS: (u64, u64, u32) = (64 * 1024 * 1024, 256 * 1024 * 1024, 1000);

pub(super) async fn run(attempted: &Attempted<'_>) -> Result<Done, Undone> {
    let pool = attempted.steps.sandboxes.choose(attempted.spec)?;
    let mut process = process::prepare(&attempted.spec.work, &attempted.steps.config.agents)?;
    let image = image::bring(attempted, pool).await?;
    let directory = match &image {
        Some(image) => image::apply(&image.config, &attempted.spec.work, &mut process)?,
        None => WORKSPACE.to_owned(),
    };
    let mut session = claim(attempted, pool, image.map(|image| image.pinned)).await?;
    attempted.started(&format!("{}/{}", pool.backend().name(), session.id()));
    let able = pool.backend().capabilities();
    let mut grant = None;
    let result = in_session(attempted, &mut session, process, directory, &able, &mut grant).await;
    let broker_told = async {
        if let (Some(grant), Some(broker)) = (grant, &attempted.steps.broker) {
            broker.release(&grant).await;
        }
    };
    // Nothing of a step may outlive it, so its end is reported once every process of the sandbox is dead.
    let (discarded, ()) = tokio::join!(pool.retire(session), broker_told);
    if let Err(error) = &discarded {
        tracing::error!(attempt = %attempted.id, %error, "a sandbox could not be destroyed");
    }
    match result {
        // A sandbox that ends by itself was ended by its step; but all of them end with what made them.
        Err(Undone::SandboxEnded(error)) => match gone(pool).await {
            Some(gone) => Err(sandbox_error(attempted, gone)),
            None => Err(error.into()),
        },
        result => result,
    }
}

/// Whether what makes the sandboxes is still there.
async fn gone(pool: &Pool) -> Option<SandboxError> {
    let checked = pool.backend().check().await;
    checked.err().filter(|error| matches!(error, SandboxError::Gone { .. } | SandboxError::Lost { .. }))
}

async fn claim(attempted: &Attempted<'_>, pool: &Pool, pinned: Option<String>) -> Result<Session, Undone> {
    let mut template = template(attempted);
    if pinned.is_some() {
        template.image = pinned;
    }
    tokio::select! {
        claimed = pool.claim(&template) => claimed.map_err(|error| sandbox_error(attempted, error)),
        () = attempted.cancel.cancelled() => Err(Undone::Stopped),
        () = tokio::time::sleep(attempted.time_limit) => Err(timeout("no sandbox was ready within the step's time").into()),
    }
}

fn template(attempted: &Attempted<'_>) -> Template {
    let asked = &attempted.spec.resources;
    let usual = SandboxLimits::default();
    Template {
        image: attempted.spec.image().map(str::to_owned),
        limits: SandboxLimits {
            cpu_millis: asked.cpu_millis.unwrap_or(usual.cpu_millis),
            memory_bytes: asked.memory_bytes.unwrap_or(usual.memory_bytes),
            disk_bytes: asked.disk_bytes.unwrap_or(usual.disk_bytes),
            processes: asked.processes.unwrap_or(usual.processes),
        },
    }
}

async fn in_session(
    attempted: &Attempted<'_>,
    session: &mut Session,
    process: Process,
    directory: String,
    able: &Capabilities,
    grant: &mut Option<String>,
) -> Result<Done, Undone> {
    let manifest = match &attempted.spec.work {
        Work::CliAgent { agent, .. } => Some(process::find(&attempted.steps.config.agents, agent)?),
        _ => None,
    };
    let guest_key = *session.guest_public_key();
    let sealed = seal(attempted, &guest_key, manifest, grant).await?;
    for file in process.files {
        session.put_file(file).await.map_err(|error| sandbox_error(attempted, error))?;
    }
    let network = network(attempted, manifest);
    let start = StartStep {
        argv: process.argv,
        environment: environment(&able.path, process.environment),
        directory,
        broker_key: sealed
            .as_ref()
            .and_then(|_| attempted.steps.broker.as_ref().map(|broker| broker.public_key)),
        sealed,
        attempt: Some(attempted.id),
        network: network.clone(),
        terminal: false,
        limits: limits(attempted, manifest, session.layers(), able),
    };
    let control = Control {
        egress: Egress::new(network, attempted.steps.dialer.clone()),
        cancel: CancellationToken::new(),
        grace: GRACE,
        deadline: time_limit(attempted, manifest),
    };
    let mut capture = match &attempted.spec.work {
        Work::Http(_) => Capture::of_answer(),
        _ => Capture::new(process.returns),
    };
    let stdin = if process.stdin.is_empty() { Stdin::Empty } else { Stdin::Bytes(process.stdin) };
    let end = drive(attempted, session, start, stdin, control, &mut capture).await?;
    let output = match (manifest, &attempted.spec.work) {
        (Some(manifest), _) => agent_output(manifest, end, capture)?,
        (None, Work::Http(call)) => request::output(call, end, &capture)?,
        (None, _) => capture.finish(end)?,
    };
    let artifacts = collect(attempted, session).await?;
    Ok(Done { output, artifacts })
}

/// Asks the broker to seal the step's identity to this guest. The blob that comes back is closed to this worker.
async fn seal(
    attempted: &Attempted<'_>,
    guest_key: &[u8; 32],
    manifest: Option<&AgentManifest>,
    grant: &mut Option<String>,
) -> Result<Option<String>, Undone> {
    let needs = manifest.map_or(&[][..], |manifest| &manifest.needs);
    if attempted.spec.identity.is_none() {
        return match (attempted.spec.mode, needs) {
            (Mode::Identity, _) => Err(configuration("a step in mode 2 names no identity").into()),
            (_, []) => Ok(None),
            _ => Err(configuration(
                "the CLI agent needs credentials: name an `identity` in the task's `metadata.execution`",
            )
            .into()),
        };
    }
    let broker = attempted.steps.broker.as_ref().ok_or_else(|| {
        configuration("this worker has no identity broker; its operator can name one with --broker")
    })?;
    let opened = tokio::select! {
        opened = broker.open(attempted.grant, guest_key) => opened?,
        () = attempted.cancel.cancelled() => return Err(Undone::Stopped),
    };
    *grant =
        serde_json::from_str::<SealedBinding>(&opened.sealed.bound_text).ok().map(|binding| binding.grant);
    let missing = needs.iter().filter(|name| !opened.names.contains(name)).count();
    if missing > 0 {
        // The names stay here: the control plane may not know them.
        tracing::warn!(attempt = %attempted.id, ?needs, given = ?opened.names, "an identity lacks keys that a CLI agent needs");
        return Err(authentication(403, format!(
            "the step's identity lacks {missing} of the keys that the CLI agent needs; the worker's log names them"
        )).into());
    }
    Ok(Some(serde_json::to_string(&opened.sealed).expect("a sealed identity is JSON")))
}

async fn drive(
    attempted: &Attempted<'_>,
    session: &mut Session,
    start: StartStep,
    stdin: Stdin,
    control: Control,
    capture: &mut Capture,
) -> Result<End, Undone> {
    let cancel = control.cancel.clone();
    let (events, mut received) = mpsc::channel(EVENT_QUEUE);
    let mut excess = None;
    let watch = async {
        loop {
            tokio::select! {
                event = received.recv() => match event {
                    None => return,
                    Some(event) => if let Err(error) = take(attempted, event, capture) && excess.is_none() {
                        excess = Some(error);
                        cancel.cancel();
                    },
                },
                () = attempted.cancel.cancelled(), if !cancel.is_cancelled() => cancel.cancel(),
            }
        }
    };
    let (exit, ()) = tokio::join!(session.run(start, stdin, events, control), watch);
    if let Some(error) = excess {
        return Err(error.into());
    }
    if attempted.cancel.is_cancelled() {
        return Err(Undone::Stopped);
    }
    let killed = match &exit {
        Ok(exit) => exit.status == ExitStatus::Signal(KILL),
        Err(error) => matches!(error, SandboxError::Ended(_)),
    };
    if killed && let Some(why) = session.cause_of_death().await {
        return Err(runtime(format!("the step was killed: {why}")).into());
    }
    match exit.map_err(|error| sandbox_error(attempted, error))?.status {
        ExitStatus::Code(code) => Ok(End::Exited(code)),
        ExitStatus::Signal(signal) => Ok(End::Signalled(signal)),
    }
}

fn take(attempted: &Attempted<'_>, event: StepEvent, capture: &mut Capture) -> Result<(), StepError> {
    match event {
        StepEvent::Started => {}
        StepEvent::Output(stream, data) => {
            // An answer is data and no log, as in mode 0.
            if stream == Stream::Stderr || !matches!(attempted.spec.work, Work::Http(_)) {
                attempted.log.output(stream, &data);
            }
            capture.add(stream, &data)?;
        }
        StepEvent::Denied(denial) => {
            attempted.log.note(&format!("refused: {denial}"));
            capture.denied(denial);
        }
    }
    Ok(())
}

/// The step's own list, and what the operator's manifest of the CLI agent adds.
fn network(attempted: &Attempted<'_>, manifest: Option<&AgentManifest>) -> Vec<NetworkRule> {
    let mut rules = attempted.spec.network.clone();
    for rule in manifest.into_iter().flat_map(|manifest| &manifest.network) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    rules
}

fn environment(path: &str, of_the_step: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let usual = [("PATH", path), ("HOME", sandbox::HOME), ("LANG", "C.UTF-8"), ("SAGEWAI", "1")];
    let mut environment: BTreeMap<_, _> =
        usual.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    environment.extend(of_the_step);
    environment
}

fn time_limit(attempted: &Attempted<'_>, manifest: Option<&AgentManifest>) -> Duration {
    let of_the_agent = manifest.and_then(|manifest| manifest.timeout_ms).map(Duration::from_millis);
    match (attempted.spec.timeout_ms, of_the_agent) {
        (None, Some(limit)) => limit.min(attempted.time_limit),
        _ => attempted.time_limit,
    }
}

fn limits(
    attempted: &Attempted<'_>,
    manifest: Option<&AgentManifest>,
    layers: &[LayerReport],
    able: &Capabilities,
) -> StepLimits {
    let of_the_sandbox = template(attempted).limits;
    StepLimits {
        memory_bytes: process_memory(of_the_sandbox.memory_bytes, layers),
        // What a guest sets counts all processes of the step's user, also those outside where sandboxes share the user.
        processes: if able.process_limit { 0 } else { of_the_sandbox.processes },
        file_bytes: of_the_sandbox.disk_bytes,
        descriptors: DESCRIPTORS,
        deadline_ms: time_limit(attempted, manifest).as_millis() as u64 + GUEST_DEADLINE_SLACK_MS,
    }
}

/// A cgroup limits the sandbox as a whole. Where there is none, at least no process of it takes more by itself.
fn process_memory(bytes: u64, layers: &[LayerReport]) -> u64 {
    if missing_layers(&[Layer::Cgroup], layers).is_empty() { 0 } else { bytes }
}

/// An agent is judged by what it says, then by its exit code.
fn agent_output(
    manifest: &AgentManifest,
    end: End,
    capture: Capture,
) -> Result<serde_json::Value, StepError> {
    let answer = manifest.answer(capture.stdout());
    match (end, answer) {
        (End::Exited(0), Ok(answer)) => Ok(answer),
        (End::Exited(0), Err(why)) => Err(runtime(why)),
        (end, Err(why)) if capture.stdout().is_empty() => {
            Err(runtime(format!("{}; {why}", failure(end, capture.stderr_tail()))))
        }
        (_, Err(why)) => Err(runtime(why)),
        (end, Ok(_)) => Err(runtime(failure(end, capture.stderr_tail()))),
    }
}

/// Brings the named files back and stores them at the server.
async fn collect(attempted: &Attempted<'_>, session: &mut Session) -> Result<Vec<Artifact>, Undone> {
    if attempted.spec.artifacts.is_empty() {
        return Ok(Vec::new());
    }
    let (max_file_bytes, max_total_bytes, max_files) = ARTIFACT_LIMITS;
    let what =
        Collect { patterns: attempted.spec.artifacts.clone(), max_file_bytes, max_total_bytes, max_files };
    let mut sink =
        Uploads { store: &attempted.steps.artifacts, current: None, stored: Vec::new(), refused: None };
    let collected = session.collect(&what, &mut sink).await;
    if let Some(error) = sink.refused {
        return Err(error.into());
    }
    let collected = collected.map_err(|error| sandbox_error(attempted, error))?;
    for skipped in &collected.skipped {
        attempted.log.note(&format!("artifact {:?} was left out: {}", skipped.path, skipped.reason));
    }
    if sink.stored.is_empty() {
        let patterns = attempted.spec.artifacts.join(", ");
        let skipped = collected.skipped.first().map(|s| format!("; {:?} was left out: {}", s.path, s.reason));
        return Err(runtime(format!(
            "the step ended, but no file matched its `artifacts` ({patterns}){}",
            skipped.unwrap_or_default()
        ))
        .into());
    }
    Ok(sink.stored)
}

struct Uploads<'a> {
    store: &'a ArtifactStore,
    current: Option<Upload>,
    stored: Vec<Artifact>,
    refused: Option<StepError>,
}

#[async_trait]
impl ArtifactSink for Uploads<'_> {
    async fn begin(&mut self, path: &str, _size: u64) -> std::io::Result<()> {
        self.current = Some(self.store.begin(path.to_owned()));
        Ok(())
    }

    async fn data(&mut self, bytes: Bytes) -> std::io::Result<()> {
        if let Some(upload) = &mut self.current {
            upload.add(bytes).await;
        }
        Ok(())
    }

    async fn end(&mut self) -> std::io::Result<()> {
        let Some(upload) = self.current.take() else { return Ok(()) };
        match upload.finish().await {
            Ok(artifact) => {
                self.stored.push(artifact);
                Ok(())
            }
            Err(error) => {
                self.refused = Some(error);
                Err(std::io::Error::other("the server did not store it"))
            }
        }
    }
}

pub(super) fn sandbox_error(attempted: &Attempted<'_>, error: SandboxError) -> Undone {
    use protocol::frame::FailureKind;
    match error {
        SandboxError::Cancelled if attempted.cancel.is_cancelled() => Undone::Stopped,
        SandboxError::Deadline | SandboxError::Refused { kind: FailureKind::Deadline, .. } => timeout(
            format!("the step did not end within {} ms and was killed", attempted.time_limit.as_millis()),
        )
        .into(),
        SandboxError::Refused { kind: FailureKind::Sealed, message } => authentication(403, message).into(),
        SandboxError::Refused { kind: FailureKind::NotFound, message } => configuration(message).into(),
        error @ (SandboxError::Unavailable { .. }
        | SandboxError::Image(_)
        | SandboxError::LayersAbsent(_)) => configuration(error.to_string()).into(),
        error @ SandboxError::Gone { .. } => {
            attempted.steps.sandboxes_gone.cancel();
            Undone::Lost(error.to_string())
        }
        error @ SandboxError::Lost { backend, .. } => {
            attempted.steps.sandboxes.lost(backend, &error);
            Undone::Lost(error.to_string())
        }
        error @ SandboxError::ShutDown => Undone::Lost(error.to_string()),
        error @ SandboxError::Ended(_) => Undone::SandboxEnded(runtime(error.to_string())),
        error => runtime(error.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_limited_where_its_sandbox_is_not() {
        let cgroup = |enforced| [LayerReport { layer: Layer::Cgroup, enforced, note: String::new() }];
        assert_eq!(process_memory(64 << 20, &cgroup(true)), 0);
        assert_eq!(process_memory(64 << 20, &cgroup(false)), 64 << 20);
        assert_eq!(process_memory(64 << 20, &[]), 64 << 20);
    }
}
