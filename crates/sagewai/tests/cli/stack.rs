//! `sagewai dev` in a folder of its own, as a child of the test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::golden::said;

/// How long a process may take to end, and a killed one to be back.
const LIMIT: Duration = Duration::from_secs(30);

/// The program, without what the user's environment would change.
pub(crate) fn sagewai() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagewai"));
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SAGEWAI_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// A running stack.
pub(crate) struct Stack {
    folder: tempfile::TempDir,
    dev: Child,
    url: String,
}

impl Stack {
    /// Starts one and waits until it is ready.
    pub(crate) fn start() -> Stack {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut dev = sagewai()
            .args([
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--broker-listen",
                "127.0.0.1:0",
                "--output",
                "json",
                "--data",
            ])
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("sagewai dev starts");
        let mut line = String::new();
        let stdout = dev.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("dev says that it is ready");
        let facts: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("dev did not start ({error}): {line}"));
        let url = facts["server"].as_str().expect("the URL").to_owned();
        assert!(
            facts["token"].as_str().is_some_and(|token| token.starts_with("swt_")),
            "the first start shows the token"
        );
        Stack { folder, dev, url }
    }

    /// Puts a file where commands run.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("the file can be written");
    }

    /// What a command says.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = sagewai();
        command.current_dir(self.folder.path()).args(arguments);
        // As another terminal: server and token are found in the data folder.
        let home = self.folder.path().join("home/.local/share");
        std::fs::create_dir_all(&home).expect("a home");
        let _ = std::os::unix::fs::symlink(self.folder.path().join("data"), home.join("sagewai"));
        command.env("HOME", self.folder.path().join("home")).env_remove("XDG_DATA_HOME");
        said(command)
    }

    /// What a command says once it says `word`.
    pub(crate) fn run_until(&self, arguments: &[&str], word: &str) -> String {
        let started = Instant::now();
        loop {
            let said = self.run(arguments);
            if said.contains(word) {
                return said;
            }
            assert!(started.elapsed() < LIMIT, "it never says {word}: {said}");
        }
    }

    /// Id of the newest run.
    pub(crate) fn latest_run(&self) -> String {
        let said = self.run(&["runs", "list", "--limit", "1", "--output", "json"]);
        let id = said.split("\"id\": \"").nth(1).and_then(|rest| rest.split('"').next());
        id.unwrap_or_else(|| panic!("no run at {}: {said}", self.url)).to_owned()
    }

    /// Kills the process that runs this subcommand, and waits until another has taken its place.
    pub(crate) fn kill_part(&self, name: &str) {
        let pid = self.part(name).expect("the process runs");
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs").success());
        let started = Instant::now();
        while self.part(name).is_none_or(|other| other == pid) {
            assert!(started.elapsed() < LIMIT, "the {name} is not back");
            std::thread::yield_now();
        }
    }

    /// Waits until the server answers.
    pub(crate) fn wait_for_server(&self) {
        let started = Instant::now();
        while !self.run(&["runs", "list"]).ends_with("exit 0\n") {
            assert!(started.elapsed() < LIMIT, "the server does not answer");
        }
    }

    /// Ctrl-C, and nothing is left.
    pub(crate) fn stop(mut self) {
        let pids: Vec<u32> =
            ["server", "broker", "worker"].iter().filter_map(|name| self.part(name)).collect();
        assert!(
            Command::new("kill")
                .args(["-INT", &self.dev.id().to_string()])
                .status()
                .expect("kill runs")
                .success()
        );
        let status = self.dev.wait().expect("dev ends");
        assert_eq!(status.code(), Some(0));
        for pid in pids {
            assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "process {pid} is left");
        }
    }

    /// The child of dev that runs this subcommand.
    fn part(&self, name: &str) -> Option<u32> {
        let dev = self.dev.id();
        let children = std::fs::read_to_string(format!("/proc/{dev}/task/{dev}/children")).ok()?;
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
            let mut line = Vec::new();
            let read = std::fs::File::open(format!("/proc/{pid}/cmdline"))
                .and_then(|mut f| f.read_to_end(&mut line));
            read.is_ok() && line.split(|byte| *byte == 0).nth(1) == Some(name.as_bytes())
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.dev.kill();
        let _ = self.dev.wait();
    }
}
