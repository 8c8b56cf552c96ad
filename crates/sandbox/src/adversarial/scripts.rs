//! Attacks that are programs in the sandbox. They say `LEAKED …` for each way that worked, and `DONE` at the end.

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::{Attack, Trying, Verdict, done, open};
use crate::conformance::{Step, run};
use crate::session::PutFile;
use crate::{Backend, Template};

/// What is said of an attack that ended its own sandbox.
const ENDED: &str = "the sandbox ended";
const PRELUDE: &str = include_str!("programs/prelude.py");

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "read-the-guest",
        defence: "the guest is undumpable, another user where there is one, its channel is close-on-exec",
        run: |backend| script(backend, include_str!("programs/guest_memory.py")),
    },
    Attack {
        name: "inherited-descriptors",
        defence: "close_range before exec, fresh pipes for the step",
        run: |backend| script(backend, include_str!("programs/descriptors.py")),
    },
    Attack {
        name: "nested-namespaces",
        defence: "seccomp on clone flags, unshare, setns; clone3 answers ENOSYS",
        run: |backend| script(backend, include_str!("programs/namespaces.py")),
    },
    Attack {
        name: "change-mounts",
        defence: "no capabilities, seccomp, Landlock",
        run: |backend| script(backend, include_str!("programs/mounts.py")),
    },
    Attack {
        name: "kernel-surface",
        defence: "seccomp allow-list of system calls, other architectures' tables killed",
        run: |backend| script(backend, include_str!("programs/kernel_surface.py")),
    },
    Attack {
        name: "socket-families",
        defence: "seccomp allow-list of socket families, no CAP_NET_RAW",
        run: |backend| script(backend, include_str!("programs/sockets.py")),
    },
    Attack {
        name: "gain-privileges",
        defence: "empty capability sets, no_new_privs, nosuid mounts, user namespace",
        run: |backend| script(backend, include_str!("programs/privileges.py")),
    },
    Attack {
        name: "networks-beyond-the-tunnel",
        defence: "network namespace with loopback alone",
        run: |backend| Box::pin(networks(backend)),
    },
    Attack {
        name: "files-of-the-host",
        defence: "mount namespace built from nothing, read-only binds, Landlock",
        run: |backend| Box::pin(files(backend)),
    },
    Attack {
        name: "kernel-settings",
        defence: "own /proc with masks, read-only /proc/sys, UTS and cgroup namespaces",
        run: |backend| script(backend, include_str!("programs/kernel_settings.py")),
    },
    Attack {
        name: "kill-the-guest",
        defence: "the guest is process 1 of its pid namespace, seccomp on prlimit; a step without its guest has failed",
        run: |backend| script(backend, include_str!("programs/guest_survives.py")),
    },
    Attack {
        name: "type-into-the-terminal",
        defence: "seccomp on ioctl",
        run: |backend| Box::pin(terminal(backend)),
    },
];

fn script<'a>(backend: &'a dyn Backend, program: &'static str) -> Trying<'a> {
    Box::pin(async move { program_in(backend, program, &[], false).await })
}

/// Runs a program with its prelude, and reads its verdict.
async fn program_in(
    backend: &dyn Backend,
    program: &str,
    arguments: &[&str],
    terminal: bool,
) -> Result<Verdict, String> {
    let mut session = open(backend, &Template::default()).await?;
    let content = format!("{PRELUDE}\n{program}\nprint(\"DONE\")\n").into_bytes();
    let file = PutFile { path: "attack.py".to_owned(), mode: 0o644, content: content.into() };
    session.put_file(file).await.map_err(super::told)?;
    // Without site packages and its own cache of compiled files.
    let command = ["python3", "-I", "-S", "-B", "/workspace/attack.py"];
    let mut step = Step::new(command.iter().chain(arguments).copied());
    step.terminal = terminal;
    step.deadline = std::time::Duration::from_secs(90);
    let ran = run(&mut session, step).await;
    done(session).await?;
    if let Err(crate::SandboxError::Refused { kind: protocol::frame::FailureKind::NotFound, .. }) = ran.exit {
        return Ok(Verdict::Skipped("there is no python3 in the sandbox".to_owned()));
    }
    let said = ran.text();
    let leaks: Vec<&str> = said.lines().filter(|line| line.starts_with("LEAKED")).collect();
    if !leaks.is_empty() {
        return Ok(Verdict::Leaked(leaks.join("\n")));
    }
    if !said.lines().any(|line| line.trim() == "DONE") {
        if matches!(ran.exit, Err(crate::SandboxError::Ended(_))) {
            return Ok(Verdict::Leaked(ENDED.to_owned()));
        }
        return Err(format!(
            "the attack did not finish: {:?}\n{said}\n{}",
            ran.exit,
            String::from_utf8_lossy(&ran.stderr)
        ));
    }
    Ok(Verdict::Refused)
}

async fn networks(backend: &dyn Backend) -> Result<Verdict, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port().to_string();
    let name = format!("sagewai-canary-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).map_err(|error| error.to_string())?;
    let _abstract = UnixListener::bind_addr(&address).map_err(|error| error.to_string())?;
    program_in(backend, include_str!("programs/network.py"), &[&port, &name], false).await
}

async fn files(backend: &dyn Backend) -> Result<Verdict, String> {
    let secret = format!("canary of {}", std::process::id());
    let path = std::env::temp_dir().join(format!("sagewai-canary-{}", std::process::id()));
    let planted = std::fs::File::create(&path).and_then(|mut file| file.write_all(secret.as_bytes()));
    planted.map_err(|error| error.to_string())?;
    let text = path.to_string_lossy().into_owned();
    let verdict = program_in(backend, include_str!("programs/files.py"), &[&text, &secret], false).await;
    let _ = std::fs::remove_file(&path);
    verdict
}

async fn terminal(backend: &dyn Backend) -> Result<Verdict, String> {
    program_in(backend, include_str!("programs/terminal.py"), &[], true).await
}
