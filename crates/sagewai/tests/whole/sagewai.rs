//! The program under test: one call, or a process that runs on.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what must come; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_sagewai")
}

/// Waits until `ask` gives something.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that runs on; killed when the test is over.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// The first line that it printed.
    pub(crate) said: Value,
}

impl Process {
    /// Starts the program and waits for its first line, which is JSON.
    pub(crate) fn start(arguments: &[&str], log_file: &Path) -> Process {
        Process::start_with(arguments, &[], log_file)
    }

    /// As [`Process::start`], with these variables in its environment.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, String)], log_file: &Path) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(log_file).unwrap();
        let mut child = Command::new(program())
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        // What it prints later is of no interest, but it must not block.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let said = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("{arguments:?} said {line:?}: {}", std::fs::read_to_string(log_file).unwrap_or_default())
        });
        Process { child, said }
    }

    /// Starts the program, which prints nothing of interest.
    pub(crate) fn start_silent(arguments: &[&str], environment: &[(&str, &str)], log: &Path) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new(program())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .envs(environment.iter().copied())
            .spawn()
            .unwrap();
        Process { child, said: Value::Null }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.said[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.said)).to_owned()
    }

    /// Ctrl-C, then the end.
    pub(crate) fn interrupt(&mut self) -> std::process::ExitStatus {
        signal(self.pid(), "INT");
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

/// The command line, pointed at one server and one broker.
#[derive(Clone)]
pub(crate) struct Cli {
    pub(crate) server: String,
    pub(crate) token_file: PathBuf,
    pub(crate) broker_data: PathBuf,
}

impl Cli {
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        self.call_with(arguments, b"")
    }

    /// One call, with something on standard input.
    pub(crate) fn call_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(program());
        command.args(arguments).args(["--server", &self.server, "--token-file"]).arg(&self.token_file);
        command.args(["--output", "json"]);
        if arguments[0] == "identity" {
            command.arg("--broker-data").arg(&self.broker_data);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// One call that must succeed; gives its JSON, if it prints any.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Value {
        json(arguments, &self.call(arguments))
    }

    /// Keeps a secret at the broker, for workflows of namespace `test`.
    pub(crate) fn keep_secret(&self, identity: &str, key: &str, value: &[u8]) {
        let arguments = ["identity", "set", identity, key, "--stdin", "--allow-namespace", "test"];
        json(&arguments, &self.call_with(&arguments, value));
    }

    /// Submits a document of namespace `test` with these tasks; gives the run's id.
    pub(crate) fn submit(&self, name: &str, tasks: &str) -> String {
        let document = document(name, tasks);
        let arguments = ["run", "-"];
        let output = self.call_with(&arguments, document.as_bytes());
        json(&arguments, &output)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn show(&self, run: &str) -> Value {
        self.ok(&["runs", "show", run])
    }

    /// Waits until a run has ended and gives it.
    pub(crate) fn ended(&self, run: &str) -> Value {
        wait_for(&format!("the end of run {run}"), || {
            let shown = self.call(&["runs", "show", run]);
            let run: Value = serde_json::from_slice(&shown.stdout).ok()?;
            let state = run["summary"]["state"].as_str()?;
            matches!(state, "completed" | "faulted" | "cancelled").then_some(run)
        })
    }

    /// Runs tasks to their end.
    pub(crate) fn run(&self, name: &str, tasks: &str) -> Value {
        self.ended(&self.submit(name, tasks))
    }

    /// What the steps of a run wrote, all streams together.
    pub(crate) fn logs(&self, run: &str) -> String {
        let output = self.call(&["runs", "logs", run]);
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let pieces = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        pieces.filter_map(|piece| piece["text"].as_str().map(str::to_owned)).collect()
    }
}

/// A document of namespace `test`; `tasks` is the YAML list below `do`, without indentation.
pub(crate) fn document(name: &str, tasks: &str) -> String {
    let tasks: String = tasks.lines().map(|line| format!("  {line}\n")).collect();
    format!("document: {{ dsl: '1.0.3', namespace: test, name: {name}, version: '1.0.0' }}\ndo:\n{tasks}")
}

fn json(arguments: &[&str], output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}
