//! Mode 0: in the worker itself. HTTP and the no-op always; processes only where the operator started the worker so.

use std::process::Stdio;

use protocol::frame::Stream;
use protocol::step::Work;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::process::{self, Process};
use super::{Attempted, Done, Undone};
use crate::error::{authorization, configuration, runtime, timeout};
use crate::outcome::{Capture, End};

/// Bytes read from a process at a time.
const READ_BYTES: usize = 32 * 1024;

pub(super) async fn run(attempted: &Attempted<'_>) -> Result<Done, Undone> {
    let work = async {
        match &attempted.spec.work {
            Work::Noop { value } => Ok(value.clone().into()),
            Work::Http(call) => {
                attempted.started("");
                Ok(attempted.steps.http.call(call).await?.into())
            }
            Work::Shell(_) | Work::Script { .. } => bare_process(attempted).await,
            Work::Container { .. } | Work::CliAgent { .. } => Err(configuration(
                "containers and CLI agents need a sandbox; remove `mode: bare` from the task's `metadata.execution`",
            )
            .into()),
        }
    };
    tokio::select! {
        done = work => done,
        () = attempted.cancel.cancelled() => Err(Undone::Stopped),
        () = tokio::time::sleep(attempted.time_limit) => Err(timeout(format!(
            "the step did not end within {} ms", attempted.time_limit.as_millis()
        )).into()),
    }
}

/// A process with all that the worker's user may do: the operator allowed it with `--allow-bare`.
async fn bare_process(attempted: &Attempted<'_>) -> Result<Done, Undone> {
    if !attempted.steps.config.bare_run {
        return Err(authorization(
            "`run` in mode 0 (bare) is not allowed on this worker; remove `mode: bare`, so that it runs in a sandbox, \
             or start the worker with --allow-bare",
        )
        .into());
    }
    let process = process::prepare(&attempted.spec.work, &attempted.steps.config.agents)?;
    let folder = Scratch::new(attempted)?;
    let argv = folder.put(&process)?;
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .envs(&process.environment)
        .current_dir(&folder.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| configuration(format!("cannot start {:?}: {error}", argv[0])))?;
    let mut group = Group(child.id());
    attempted.started("");
    Ok(drive(attempted, &mut child, &mut group, process).await?.into())
}

async fn drive(
    attempted: &Attempted<'_>,
    child: &mut Child,
    group: &mut Group,
    process: Process,
) -> Result<Value, Undone> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let capture = std::sync::Mutex::new(Capture::new(process.returns));
    let feed = async move {
        // A process may end without reading its input.
        let _ = stdin.write_all(&process.stdin).await;
        drop(stdin);
        Ok(())
    };
    tokio::try_join!(
        feed,
        pump(stdout, Stream::Stdout, &capture, attempted),
        pump(stderr, Stream::Stderr, &capture, attempted)
    )?;
    let lost = |error: std::io::Error| runtime(format!("the process was lost: {error}"));
    ended(child).await.map_err(lost)?;
    // Before it is reaped: until then its id, which is its group's, cannot be another's.
    group.kill();
    let status = child.wait().await.map_err(lost)?;
    let end = match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Signalled(signal.unwrap_or(0)),
    };
    Ok(capture.into_inner().expect("no holder of the capture panics").finish(end)?)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    stream: Stream,
    capture: &std::sync::Mutex<Capture>,
    attempted: &Attempted<'_>,
) -> Result<(), Undone> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = from
            .read(&mut buffer)
            .await
            .map_err(|e| runtime(format!("the process's output broke off: {e}")))?;
        if read == 0 {
            return Ok(());
        }
        attempted.log.output(stream, &buffer[..read]);
        capture.lock().expect("no holder of the capture panics").add(stream, &buffer[..read])?;
    }
}

/// Waits until the process has ended, and does not reap it.
async fn ended(child: &Child) -> std::io::Result<()> {
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return Ok(()) };
    let waiting = move || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    tokio::task::spawn_blocking(waiting).await.map_err(std::io::Error::other)?.map(drop).map_err(Into::into)
}

/// Kills the whole process group when the step is over, however it ended. Its leader is not reaped yet: it is older than
/// this, and dropped after it.
struct Group(Option<u32>);

impl Group {
    /// Once, since the id is free for others after that.
    fn kill(&mut self) {
        if let Some(group) = self.0.take().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A working folder of the worker's that is removed with the step.
struct Scratch {
    path: std::path::PathBuf,
}

impl Scratch {
    fn new(attempted: &Attempted<'_>) -> Result<Self, Undone> {
        let id = attempted.id;
        let path = attempted.steps.config.scratch.join(format!("{}-{}-{}", id.run, id.step, id.attempt));
        std::fs::create_dir_all(&path)
            .map_err(|error| runtime(format!("cannot make a working folder for the step: {error}")))?;
        Ok(Scratch { path })
    }

    /// Writes the process's files and gives its command line with their places here.
    fn put(&self, process: &Process) -> Result<Vec<String>, Undone> {
        for file in &process.files {
            let path = self.path.join(&file.path);
            let written = path
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&path, &file.content));
            written
                .map_err(|error| runtime(format!("cannot write {:?} for the step: {error}", file.path)))?;
        }
        let here = self.path.display().to_string();
        Ok(process
            .argv
            .iter()
            .map(|word| match word.strip_prefix(process::WORKSPACE) {
                Some(rest) => format!("{here}{rest}"),
                None => word.clone(),
            })
            .collect())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
