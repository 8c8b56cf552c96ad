//! An execution environment: a process tree with its own /tmp and process ids, without rights, and the Runtime API that its
//! runtime asks. It is frozen between invocations and keeps /tmp, also when its runtime has ended.

use std::fs::File;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::answer::Answer;
use super::control::{Function, unique};
use crate::http::read_request;

/// User and group of a function's processes: of nobody on this machine, as AWS's are.
const USER: &str = "993";
const GROUP: &str = "990";
/// Where the function's code is; AWS has /var/task.
const TASK_ROOT: &str = "/mnt";

/// What the runtime answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A result.
    Result(Vec<u8>),
    /// An error: its body.
    Error(Vec<u8>),
    /// It ended without an answer.
    Exited,
    /// It did not answer in time and was ended.
    TimedOut,
}

/// One invocation for the runtime.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) request: String,
    pub(super) payload: Vec<u8>,
    pub(super) tenant: Option<String>,
    pub(super) arn: String,
    pub(super) deadline: Duration,
}

#[derive(Default)]
struct State {
    /// Waits for the runtime's next question.
    pending: Option<Event>,
    /// The runtime has it.
    running: Option<String>,
    outcome: Option<Outcome>,
    /// The runtime waits for an invocation.
    ready: bool,
    over: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An execution environment. Dropping it ends all that runs in it.
pub(super) struct Environment {
    child: Child,
    shared: Arc<Shared>,
    api: SocketAddr,
    log: PathBuf,
}

impl Environment {
    /// A new one; `folder` is for its log.
    pub(super) fn start(function: &Function, folder: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let api = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.lock().over {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&served)) else { continue };
                // A runtime that breaks off is its own matter.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        let log = folder.join(format!("environment-{}.log", unique()));
        let out = File::create(&log)?;
        // The first process is not the runtime: it starts it again, as AWS does, when it ends.
        let script = format!(
            "mount --bind \"$1\" {TASK_ROOT} && mount -t tmpfs -o mode=1777,size={size}m tmpfs /tmp && \
             mount -o remount,bind,ro {TASK_ROOT} && cd {TASK_ROOT} && while :; do \
             setpriv --reuid {USER} --regid {GROUP} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \
             env -i PATH=/usr/local/bin:/usr/bin:/bin AWS_LAMBDA_RUNTIME_API={api} LAMBDA_TASK_ROOT={TASK_ROOT} \
             AWS_LAMBDA_FUNCTION_NAME={name} AWS_LAMBDA_FUNCTION_MEMORY_SIZE={memory} AWS_REGION=us-east-1 \
             AWS_ACCESS_KEY_ID=ASIAEMULATED AWS_SECRET_ACCESS_KEY=emulated-secret AWS_SESSION_TOKEN=emulated-token \
             ./bootstrap; sleep 0.05; done",
            size = function.ephemeral_mib(),
            name =
                function.described.get("FunctionName").and_then(|name| name.as_str()).unwrap_or("function"),
            memory = function.memory_mib(),
        );
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--pid",
                "--ipc",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .arg(&function.code)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        Ok(Environment { child: command.spawn()?, shared, api, log })
    }

    /// Gives an invocation to the runtime and waits for its end.
    pub(super) fn invoke(&self, event: Event, limit: Duration) -> Outcome {
        self.signal("CONT");
        let until = Instant::now() + limit;
        let mut state = self.shared.lock();
        state.outcome = None;
        state.pending = Some(event);
        self.shared.changed.notify_all();
        let outcome = loop {
            if let Some(outcome) = state.outcome.take() {
                break outcome;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.over = true;
                break Outcome::TimedOut;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        // It may go on until it asks for the next invocation; then it is frozen.
        while !state.ready && !state.over && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(500));
            let waited =
                self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() {
                break;
            }
        }
        drop(state);
        if outcome != Outcome::TimedOut {
            self.signal("STOP");
        }
        outcome
    }

    /// Whether it may be used again.
    pub(super) fn is_usable(&self) -> bool {
        !self.shared.lock().over
    }

    /// What its processes wrote to standard output and error.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Freezes or thaws all processes in it.
    fn signal(&self, name: &str) {
        let mut all = vec![self.child.id()];
        let mut at = 0;
        while let Some(parent) = all.get(at).copied() {
            let children =
                std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
            at += 1;
        }
        // The outermost process only waits; a stopped one would keep its end from being seen.
        let pids: Vec<String> = all[1..].iter().map(u32::to_string).collect();
        if !pids.is_empty() {
            drop(Command::new("kill").arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status());
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        // The kernel ends the whole pid namespace with its first process, which ends with unshare.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(TcpStream::connect(self.api));
    }
}

/// One request of the runtime.
fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some(request) = read_request(&mut reader)? else { return Ok(()) };
    let mut out = stream;
    let path = request.target.strip_prefix("/2018-06-01/runtime/").unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["invocation", "next"]) => {
            let Some(event) = next(shared) else { return Ok(()) };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut answer = Answer { status: 200, headers: Vec::new(), body: event.payload.clone() }
                .with("content-type", "application/json")
                .with("Lambda-Runtime-Aws-Request-Id", event.request.clone())
                .with("Lambda-Runtime-Deadline-Ms", (now + event.deadline).as_millis().to_string())
                .with("Lambda-Runtime-Invoked-Function-Arn", event.arn.clone());
            if let Some(tenant) = &event.tenant {
                answer = answer.with("Lambda-Runtime-Aws-Tenant-Id", tenant.clone());
            }
            answer.send(&mut out)
        }
        ("POST", ["invocation", id, kind @ ("response" | "error")]) => {
            let outcome = if *kind == "response" {
                Outcome::Result(request.body)
            } else {
                Outcome::Error(request.body)
            };
            let taken = finish(shared, id, outcome);
            Answer::empty(if taken { 202 } else { 400 }).send(&mut out)
        }
        ("POST", ["init", "error"]) => Answer::empty(202).send(&mut out),
        _ => Answer::empty(404).send(&mut out),
    }
}

/// Waits for an invocation. A runtime that asks while it still owes an answer is a new one: the old one has ended.
fn next(shared: &Shared) -> Option<Event> {
    let mut state = shared.lock();
    if state.running.take().is_some() {
        state.outcome = Some(Outcome::Exited);
    }
    state.ready = true;
    shared.changed.notify_all();
    loop {
        if state.over {
            return None;
        }
        if let Some(event) = state.pending.take() {
            state.running = Some(event.request.clone());
            state.ready = false;
            return Some(event);
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn finish(shared: &Shared, id: &str, outcome: Outcome) -> bool {
    let mut state = shared.lock();
    let known = state.running.as_deref() == Some(id);
    if known {
        state.running = None;
        state.outcome = Some(outcome);
        shared.changed.notify_all();
    }
    known
}
