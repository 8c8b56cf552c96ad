//! A program that is measured: started with a log file, asked for its CPU time and memory, stopped at the end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take until it says that it is ready.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often what is waited for is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// How long a program may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of a log that are shown when a program fails.
const SHOWN_LOG_BYTES: usize = 2000;

/// A running program. Dropped, it is stopped.
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a program whose output goes to `FOLDER/NAME.log`.
    pub(crate) fn start(name: &str, folder: &Path, command: &mut Command) -> Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Process { name: name.to_owned(), log, child })
    }

    /// Waits for a line of its output that `of` takes something from.
    pub(crate) async fn said<T>(&mut self, what: &str, of: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let whole_lines = text.rfind('\n').map_or("", |end| &text[..end]);
            if let Some(found) = whole_lines.lines().find_map(&of) {
                return Ok(found);
            }
            self.check()?;
            if Instant::now() > deadline {
                bail!("{} did not say {what} within {READY_LIMIT:?}:\n{}", self.name, self.last_words());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fails, with the end of its log, if the program has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.last_words()),
            None => Ok(()),
        }
    }

    /// CPU time of the program so far, its children left out; in ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The second field is the program's name in parentheses and may hold anything.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("/proc/PID/stat has another form")?;
        Ok(Duration::from_secs_f64((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Resident memory, MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(kib.context("/proc/PID/status has no VmRSS")? / 1024.0)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).with_context(|| format!("{} is gone: {path}", self.name))
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(SHOWN_LOG_BYTES)..]).into_owned()
    }
}

impl Process {
    /// Asks it to end, and waits; killed if it takes too long.
    pub(crate) fn stop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An empty folder `name` below `work`; what was in it is removed.
pub(crate) fn fresh_folder(work: &Path, name: &str) -> Result<PathBuf> {
    let folder = work.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
