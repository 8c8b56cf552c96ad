//! The emulator's server: requests come in as AWS's clients send them; signatures are not checked.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::Answer;
use super::control::{self, Function, unique};
use super::environment::{Environment, Event, Outcome};
use super::invoke::{self, Asked};
use crate::http::{Request, read_request};

/// How the emulator behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder for code and logs.
    pub folder: PathBuf,
    /// Invocations of all functions at once.
    pub concurrency: usize,
}

/// A running emulator. Dropping it ends its environments.
pub struct Emulator {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    functions: Mutex<BTreeMap<String, Function>>,
    /// Environments that wait, by function and tenant.
    idle: Mutex<BTreeMap<(String, String), Vec<Environment>>>,
    running: AtomicUsize,
    started: AtomicUsize,
    stopped: AtomicBool,
}

impl Emulator {
    /// Whether this machine can make execution environments; an error says what is missing.
    pub fn is_possible() -> Result<(), String> {
        let tried = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--ipc",
                "--fork",
                "--mount-proc",
                "setpriv",
                "--reuid",
                "993",
                "true",
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match tried {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err("execution environments need root, `unshare` and `setpriv`".to_owned()),
            Err(error) => Err(format!("unshare cannot be started: {error}")),
        }
    }

    /// Listens on a free port of loopback.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            settings,
            functions: Mutex::default(),
            idle: Mutex::default(),
            running: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&served)) else { continue };
                // A client that breaks off is its own matter.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(Emulator { address, shared })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Execution environments that were made.
    pub fn environments(&self) -> usize {
        self.shared.started.load(Ordering::SeqCst)
    }

    /// Limits how many invocations of a function may run at once.
    pub fn reserve(&self, function: &str, concurrency: usize) {
        if let Some(function) = lock(&self.shared.functions).get_mut(function) {
            function.concurrency = Some(concurrency);
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        lock(&self.shared.idle).clear();
        drop(TcpStream::connect(self.address));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some(request) = read_request(&mut reader)? else { return Ok(()) };
    let mut out = stream;
    answer(shared, &request).send(&mut out)
}

fn answer(shared: &Shared, request: &Request) -> Answer {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
    let qualifier = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("Qualifier="))
        .map(|text| text.replace("%24", "$"));
    match parts.as_slice() {
        ["functions", name, "invocations"] if request.method == "POST" => {
            invoke(shared, name, qualifier.as_deref(), request)
        }
        parts => {
            let mut functions = lock(&shared.functions);
            let folder = &shared.settings.folder;
            control::call(&mut functions, folder, &request.method, parts, qualifier.as_deref(), &request.body)
        }
    }
}

fn invoke(shared: &Shared, name: &str, qualifier: Option<&str>, request: &Request) -> Answer {
    let missing = || Answer::error(404, "ResourceNotFoundException", "Function not found");
    let Some(function) = lock(&shared.functions).get(name).cloned() else { return missing() };
    let Some(version) = function.version(qualifier) else { return missing() };
    let asked = Asked {
        kind: request.header("x-amz-invocation-type").unwrap_or("RequestResponse"),
        log: request.header("x-amz-log-type") == Some("Tail"),
        tenant: request.header("x-amz-tenant-id"),
        payload: &request.body,
    };
    if let Some(refusal) = invoke::refusal(&asked, function.tenants()) {
        return refusal;
    }
    if asked.kind == "DryRun" {
        return Answer::empty(204);
    }
    let limit = function.concurrency.unwrap_or(usize::MAX).min(shared.settings.concurrency);
    if shared.running.fetch_add(1, Ordering::SeqCst) >= limit {
        shared.running.fetch_sub(1, Ordering::SeqCst);
        return invoke::throttled();
    }
    let ran = run(shared, name, &function, &asked);
    shared.running.fetch_sub(1, Ordering::SeqCst);
    let Ok((id, outcome, log)) = ran else {
        return Answer::error(502, "EC2UnexpectedException", "an environment could not be made");
    };
    if asked.kind == "Event" {
        return Answer::empty(202).with("x-amzn-requestid", id);
    }
    let limit = Duration::from_secs(function.timeout_seconds());
    invoke::answer(outcome, &id, &version, limit, function.memory_mib(), asked.log.then_some(log.as_str()))
}

/// In an environment that waits, if it is the same tenant's, or in a new one.
fn run(
    shared: &Shared,
    name: &str,
    function: &Function,
    asked: &Asked<'_>,
) -> io::Result<(String, Outcome, String)> {
    let place = (format!("{name} {}", function.code.display()), asked.tenant.unwrap_or_default().to_owned());
    let waiting = lock(&shared.idle).get_mut(&place).and_then(Vec::pop);
    let environment = match waiting {
        Some(environment) => environment,
        None => {
            shared.started.fetch_add(1, Ordering::SeqCst);
            Environment::start(function, &shared.settings.folder)?
        }
    };
    let before = environment.log().len();
    let limit = Duration::from_secs(function.timeout_seconds());
    let id = format!("00000000-0000-4000-8000-{:012x}", unique());
    let event = Event {
        request: id.clone(),
        payload: asked.payload.to_vec(),
        tenant: asked.tenant.map(str::to_owned),
        arn: function.described["FunctionArn"].as_str().unwrap_or_default().to_owned(),
        deadline: limit,
    };
    let outcome = environment.invoke(event, limit);
    let log = environment.log().get(before..).unwrap_or_default().to_owned();
    if environment.is_usable() && !shared.stopped.load(Ordering::SeqCst) {
        lock(&shared.idle).entry(place).or_default().push(environment);
    }
    Ok((id, outcome, log))
}
