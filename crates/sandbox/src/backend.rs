//! The trait of sandbox backends: they make and destroy sandboxes, and say which layers of isolation hold.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protocol::frame::{Layer, LayerReport};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Image, SandboxError};

/// Makes sandboxes of one kind.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Name as operators and documents write it, such as `namespace`.
    fn name(&self) -> &'static str;

    /// What this sandbox backend can do, as far as is known without making a sandbox.
    fn capabilities(&self) -> Capabilities;

    /// Whether sandboxes can be made now: a sandbox backend that depends on a daemon asks it. The worker offers it to the
    /// server only while it can, and asks again from time to time.
    async fn check(&self) -> Result<(), SandboxError> {
        Ok(())
    }

    /// Brings the image of a reference here, unless it is here already, and says what it is. `tell` gets sentences for the
    /// step's log. Sandboxes are then made from [`Image::pinned`]. `None` where the sandbox backend reads no images itself.
    async fn pull(
        &self,
        _image: &str,
        _tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Option<Image>, SandboxError> {
        Ok(None)
    }

    /// Makes a sandbox in which a guest has been started; [`crate::Session::open`] waits for its first frame.
    async fn create(&self, template: &Template) -> Result<Box<dyn Sandbox>, SandboxError>;

    /// Each layer as it is enforced on this machine, with the remedy where it is absent (for `doctor`).
    async fn layers(&self) -> Result<Vec<LayerReport>, SandboxError>;
}

/// One sandbox. Dropping it destroys it too, without waiting.
#[async_trait]
pub trait Sandbox: Send {
    /// Names it in logs.
    fn id(&self) -> &SandboxId;

    /// The layers that its maker has enforced, known without asking the guest.
    fn layers(&self) -> Vec<LayerReport>;

    /// The channel to the guest; `None` the second time.
    fn take_channel(&mut self) -> Option<Channel>;

    /// Why the sandbox ended before its guest's first frame, if that is known.
    async fn obituary(&mut self) -> Option<String> {
        None
    }

    /// Kills every process of it and returns when they are dead, where that is faster than to discard it, which is still to
    /// be done; `false` where it is not, and nothing was done.
    async fn kill(&mut self) -> Result<bool, SandboxError> {
        Ok(false)
    }

    /// Why something in it was killed that neither the step nor the worker has killed, such as that it ran out of memory;
    /// asked when the step's process or the guest has ended so.
    async fn cause_of_death(&mut self) -> Option<String> {
        None
    }

    /// Destroys it, waits until nothing of it is left.
    async fn discard(self: Box<Self>) -> Result<(), SandboxError>;
}

/// Both directions of the byte channel to a guest.
pub struct Channel {
    /// What the guest writes.
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
    /// What the guest reads.
    pub writer: Pin<Box<dyn AsyncWrite + Send>>,
}

/// Names one sandbox, unique within a worker's life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SandboxId(Arc<str>);

impl SandboxId {
    /// A sandbox named so.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a sandbox is made from. Sandboxes of one template are alike, so they can be made ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Template {
    /// OCI image reference; absent means the sandbox backend's default root.
    pub image: Option<String>,
    /// Limits of the whole sandbox.
    pub limits: SandboxLimits,
}

/// Limits of a whole sandbox, guest included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SandboxLimits {
    /// Thousandths of a CPU core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes that may be written to files.
    pub disk_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self { cpu_millis: 1000, memory_bytes: 1 << 30, disk_bytes: 1 << 30, processes: 512 }
    }
}

/// What a sandbox backend can do. The default can do everything: a sandbox backend names what it cannot.
///
/// The dispatcher and the suites go by it: a step that needs more is refused early, a case that needs more is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether [`Template::image`] may be set.
    pub images: bool,
    /// Whether the memory and CPU limits of a template hold for the sandbox as a whole.
    pub limits: bool,
    /// Whether the sandbox itself holds the process limit of a template; otherwise the guest limits the step's user.
    pub process_limit: bool,
    /// Whether the disk limit of a template holds for all writable folders together; otherwise for each of them.
    pub disk_limit: bool,
    /// Whether the number of files is limited for the sandbox as a whole, and not by its memory alone.
    pub file_limit: bool,
    /// Whether what a user of the host may have of the kernel (inotify instances, pseudo terminals) is counted for each
    /// sandbox by itself, so that one cannot use it up for others.
    pub own_quotas: bool,
    /// Whether listed destinations can be reached through the worker.
    pub tunnel: bool,
    /// Whether the step's network is the tunnel alone, with nothing to close.
    pub tunnel_only: bool,
    /// Whether a step can have a terminal.
    pub terminal: bool,
    /// Whether the worker hears of a running step as it goes and can speak to it: standard input as it comes, signals.
    pub interactive: bool,
    /// Whether steps of mode 3 may run here.
    pub full: bool,
    /// Whether /proc tells nothing of the machine below, such as its devices, interrupts and kernel command line.
    pub hides_host: bool,
    /// Whether the processes of a sandbox are processes of this machine, so that what is left of one can be found here.
    pub local: bool,
    /// The longest a step may take; absent means as long as it likes.
    pub longest_step: Option<Duration>,
    /// Bytes of files, environment and standard input of one step together, at most; absent means no limit.
    pub largest_input_bytes: Option<u64>,
    /// Bytes of output and artifacts of one step together, at most; absent means no limit.
    pub largest_output_bytes: Option<u64>,
    /// What one idle sandbox costs, bytes; the warm pool plans with it.
    pub idle_bytes: u64,
    /// Time to make one, milliseconds; the warm pool plans with it.
    pub create_ms: u32,
    /// Where a step's programs are looked up unless it says otherwise; [`crate::PATH`] and what the operator added.
    pub path: String,
    /// The step's folder, [`crate::WORKSPACE`] unless nothing can be mounted there.
    pub workspace: String,
    /// The step's home, [`crate::HOME`] unless nothing can be mounted there.
    pub home: String,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            images: true,
            limits: true,
            process_limit: true,
            disk_limit: true,
            file_limit: true,
            own_quotas: true,
            tunnel: true,
            tunnel_only: true,
            terminal: true,
            interactive: true,
            full: true,
            hides_host: true,
            local: true,
            longest_step: None,
            largest_input_bytes: None,
            largest_output_bytes: None,
            idle_bytes: 8 << 20,
            create_ms: 200,
            path: crate::PATH.to_owned(),
            workspace: crate::WORKSPACE.to_owned(),
            home: crate::HOME.to_owned(),
        }
    }
}

/// Joins what a sandbox's maker enforced with what its guest found: where both speak of a layer, both must hold it.
pub fn merge_layers(made: &[LayerReport], found: &[LayerReport]) -> Vec<LayerReport> {
    let mut merged: Vec<LayerReport> = made.to_vec();
    for report in found {
        match merged.iter_mut().find(|known| known.layer == report.layer) {
            Some(known) if known.enforced && !report.enforced => *known = report.clone(),
            Some(_) => {}
            None => merged.push(report.clone()),
        }
    }
    merged.sort_by_key(|report| report.layer);
    merged
}

/// Which of `required` do not hold, each with its note.
pub fn missing_layers(required: &[Layer], reports: &[LayerReport]) -> Vec<(Layer, String)> {
    let note = |layer: &Layer| match reports.iter().find(|report| report.layer == *layer) {
        Some(report) if report.enforced => None,
        Some(report) => Some(report.note.clone()),
        None => Some("nothing reports on it".to_owned()),
    };
    required.iter().filter_map(|layer| note(layer).map(|note| (*layer, note))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(layer: Layer, enforced: bool) -> LayerReport {
        LayerReport { layer, enforced, note: if enforced { String::new() } else { "remedy".to_owned() } }
    }

    #[test]
    fn a_layer_that_either_side_finds_absent_is_absent() {
        let made = [report(Layer::Seccomp, true), report(Layer::Cgroup, false)];
        let found =
            [report(Layer::Seccomp, false), report(Layer::Cgroup, true), report(Layer::StepUser, true)];
        let merged = merge_layers(&made, &found);
        let missing =
            missing_layers(&[Layer::Seccomp, Layer::Cgroup, Layer::StepUser, Layer::Landlock], &merged);
        let missing: Vec<Layer> = missing.into_iter().map(|(layer, _)| layer).collect();
        assert_eq!(missing, [Layer::Seccomp, Layer::Cgroup, Layer::Landlock]);
    }
}
