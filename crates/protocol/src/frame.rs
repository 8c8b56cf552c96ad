//! Frames between a worker and a guest, over one ordered byte channel (the guest's standard input and output).
//!
//! A frame is `length: u32 little-endian ‖ body`, the body a postcard-encoded [`ToGuest`] or [`FromGuest`]; see
//! [`MAX_FRAME_BYTES`]. The worker treats each frame as hostile: it caps lengths, keeps credits and a state machine.
//!
//! Order: the guest says [`FromGuest::Hello`]; files may be put; [`ToGuest::Start`] once; [`FromGuest::Started`] or
//! [`FromGuest::Failed`]; output, tunnels and standard input in any order; [`FromGuest::Exited`] after all output;
//! then artifacts may be collected; then the sandbox is destroyed. A guest serves one step.
//!
//! Credits: every stream (standard input, each output stream, each direction of each tunnel) starts with
//! [`STREAM_WINDOW_BYTES`]; what the sender has sent beyond that must have been granted. Artifacts have no credits.
//! A tunnel ends when both directions have ended or when either side says `TunnelClose`; whoever forgets a tunnel
//! first says so, and frames for a tunnel that is gone are ignored, since they may cross.
//! [`FromGuest::Failed`] is final, with one exception: `Deadline` after `Started` is followed by `Exited`.
//! End of the channel: the guest kills everything in the sandbox and exits.

pub mod codec;
pub mod knock;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::step::NetworkRule;

/// Version of this protocol; a guest of another version is refused.
pub const FRAME_VERSION: u16 = 1;
/// Largest body of a frame.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;
/// Largest data part of a frame; what is longer is split.
pub const MAX_DATA_BYTES: usize = 64 * 1024;
/// Bytes each stream may have in flight before the receiver grants more with a credit frame.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Tunnels open at once in one sandbox.
pub const MAX_TUNNELS: usize = 256;

/// From the worker to the guest.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum ToGuest {
    /// A file for /workspace, in order: one `PutFile`, its `PutData` frames, the last marked.
    PutFile {
        /// Path below /workspace, `/`-separated, without `..`.
        path: String,
        /// Permission bits, such as 0o644.
        mode: u32,
    },
    /// Content of the file being put.
    PutData {
        /// At most [`MAX_DATA_BYTES`].
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
        /// Whether the file is complete.
        last: bool,
    },
    /// Start the one step.
    Start(Box<StartStep>),
    /// Standard input of the step.
    Stdin {
        /// At most [`MAX_DATA_BYTES`]; empty means end of input.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Send a signal to the step's whole process group.
    Signal {
        /// Signal number of Linux.
        number: i32,
    },
    /// Kill everything in the sandbox but the guest, at once.
    Kill,
    /// The worker has consumed output: the guest may send as many more bytes.
    OutputCredit {
        /// Which stream.
        stream: Stream,
        /// Bytes.
        bytes: u32,
    },
    /// Answer to [`FromGuest::TunnelOpen`]: connected.
    TunnelOpened {
        /// The tunnel.
        tunnel: u32,
    },
    /// Answer to [`FromGuest::TunnelOpen`]: not allowed, or not reachable. The guest resets the connection.
    TunnelRefused {
        /// The tunnel.
        tunnel: u32,
    },
    /// Bytes from the destination; empty means its end of stream.
    TunnelData {
        /// The tunnel.
        tunnel: u32,
        /// At most [`MAX_DATA_BYTES`].
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// The guest may send as many more bytes into the tunnel.
    TunnelCredit {
        /// The tunnel.
        tunnel: u32,
        /// Bytes.
        bytes: u32,
    },
    /// The tunnel is gone on the worker's side.
    TunnelClose {
        /// The tunnel.
        tunnel: u32,
    },
    /// Collect files after the step has exited.
    Collect {
        /// Patterns below /workspace with `*` (within a name) and `**` (across folders).
        patterns: Vec<String>,
        /// Largest single file.
        max_file_bytes: u64,
        /// Largest sum of all files.
        max_total_bytes: u64,
        /// Most files.
        max_files: u32,
    },
}

/// Everything the guest needs to start its one step.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct StartStep {
    /// Program and arguments; the program is looked up in the step's PATH.
    pub argv: Vec<String>,
    /// Plain environment; the sealed values are added inside.
    pub environment: BTreeMap<String, String>,
    /// Working directory inside the sandbox.
    pub directory: String,
    /// The sealed identity, JSON of [`crate::broker::Sealed`]; absent in mode 1.
    pub sealed: Option<String>,
    /// The broker's Ed25519 public key that must have signed `sealed`, 32 bytes; set when `sealed` is.
    pub broker_key: Option<[u8; 32]>,
    /// What `sealed` must be bound to, JSON of [`crate::broker::SealedBinding`]'s `attempt`.
    pub attempt: Option<crate::id::AttemptId>,
    /// Names the step may look up and ports it may reach, for the DNS and the listeners inside.
    pub network: Vec<NetworkRule>,
    /// Whether the step gets a terminal instead of pipes.
    pub terminal: bool,
    /// Limits that the guest sets on the step's processes.
    pub limits: StepLimits,
}

/// Limits inside the sandbox; 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLimits {
    /// Memory that one process may write to by itself, bytes; 0 is no limit.
    pub memory_bytes: u64,
    /// Processes and threads of the step.
    pub processes: u32,
    /// Largest file, bytes.
    pub file_bytes: u64,
    /// Open descriptors of one process.
    pub descriptors: u32,
    /// Milliseconds after which the guest kills the step even if the worker is silent.
    pub deadline_ms: u64,
}

/// An output stream of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// From the guest to the worker.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum FromGuest {
    /// First frame.
    Hello {
        /// [`FRAME_VERSION`].
        version: u16,
        /// The guest's X25519 public key.
        public_key: [u8; 32],
        /// The layers of isolation as the guest found them from inside.
        layers: Vec<LayerReport>,
    },
    /// The step's process runs.
    Started {
        /// Its process id inside the sandbox.
        pid: u32,
    },
    /// Output, already redacted: `[REDACTED:n]` stands for a secret value and `[KEY:n]` for a secret key's name, `n`
    /// being its place, from 1, in the sorted list of the identity's secret names. Who knows the list can resolve it.
    Output {
        /// Which stream.
        stream: Stream,
        /// At most [`MAX_DATA_BYTES`].
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// The worker may send as many more bytes of standard input.
    StdinCredit {
        /// Bytes.
        bytes: u32,
    },
    /// The step's process is gone and all its output has been sent.
    Exited {
        /// Exit code, if it exited by itself.
        code: Option<i32>,
        /// Signal that ended it, else.
        signal: Option<i32>,
        /// Largest resident set, bytes.
        max_rss_bytes: u64,
        /// CPU time, microseconds.
        cpu_us: u64,
    },
    /// Something in the sandbox connects to a listed name.
    TunnelOpen {
        /// Chosen by the guest, never used twice.
        tunnel: u32,
        /// Host name as looked up.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Bytes for the destination; empty means end of stream.
    TunnelData {
        /// The tunnel.
        tunnel: u32,
        /// At most [`MAX_DATA_BYTES`].
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// The worker may send as many more bytes into the tunnel.
    TunnelCredit {
        /// The tunnel.
        tunnel: u32,
        /// Bytes.
        bytes: u32,
    },
    /// The tunnel is gone on the guest's side.
    TunnelClose {
        /// The tunnel.
        tunnel: u32,
    },
    /// A name was looked up that is not listed; shown to the user in the run's log.
    Denied {
        /// Host name, cleaned and shortened.
        host: String,
        /// TCP port where known, else 0.
        port: u16,
    },
    /// A collected file follows: its `ArtifactData` frames, the last marked.
    Artifact {
        /// Path below /workspace.
        path: String,
        /// Bytes that follow.
        size: u64,
    },
    /// Content of the collected file (text is redacted like output).
    ArtifactData {
        /// At most [`MAX_DATA_BYTES`].
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
        /// Whether the file is complete.
        last: bool,
    },
    /// All artifacts have been sent; files that were left out, each with the reason.
    Collected {
        /// Path and reason.
        skipped: Vec<(String, String)>,
    },
    /// The guest cannot do what was asked.
    Failed {
        /// What kind.
        kind: FailureKind,
        /// A sentence for the user; no secret and no key name.
        message: String,
    },
}

/// Why a guest could not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The sealed identity did not open, or was bound to something else.
    Sealed,
    /// The program is not there or may not be executed.
    NotFound,
    /// A file could not be written.
    Workspace,
    /// A layer of isolation could not be set up.
    Isolation,
    /// A frame was out of order or malformed.
    Protocol,
    /// The deadline inside the guest passed.
    Deadline,
}

/// One layer of isolation, as enforced or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Which.
    pub layer: Layer,
    /// Whether it holds.
    pub enforced: bool,
    /// Why not, and the remedy, where it does not.
    pub note: String,
}

/// The layers of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A user namespace of its own.
    UserNamespace,
    /// Own process ids.
    PidNamespace,
    /// Own mounts and root.
    MountNamespace,
    /// Own network, loopback alone.
    NetworkNamespace,
    /// Own System V and POSIX IPC.
    IpcNamespace,
    /// Own host name.
    UtsNamespace,
    /// No gain of privileges by exec.
    NoNewPrivileges,
    /// All capabilities dropped, bounding set empty.
    Capabilities,
    /// System calls filtered.
    Seccomp,
    /// File access restricted.
    Landlock,
    /// Memory, processes and CPU limited by cgroup.
    Cgroup,
    /// The step runs under another uid than the guest.
    StepUser,
    /// The guest cannot be traced or read by the step.
    UndumpableGuest,
    /// Nothing beyond loopback answers; where there is another interface, the guest has tried.
    ClosedNetwork,
}
