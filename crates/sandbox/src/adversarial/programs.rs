//! Attacks that are commands of the probe. It says `LEAKED …` for each way that worked, and `DONE NAME` at the end of each.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::SandboxError;
use crate::conformance::{Ran, Step, run};
use crate::suite::{Case, Need, Outside, Subject, Trying, Verdict, Why, done, rule};

/// The longest the probe may take for all attacks.
const PROBE_LIMIT: Duration = Duration::from_secs(90);
/// A listed name, whose look-alikes are tried.
const LISTED: &str = "greeter.example";
/// Files of the host that no sandbox may show; an image has others under the same names.
const PRIVATE_FILES: [&str; 7] = [
    "/etc/shadow",
    "/etc/machine-id",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_rsa_key",
    "/root/.ssh/id_rsa",
    "/root/.ssh/id_ed25519",
    "/var/log/dpkg.log",
];

macro_rules! attacks {
    ($($name:literal $defence:literal [$($need:expr),*])*) => {
        &[$(Case { name: $name, defence: $defence, needs: &[$($need),*], run: |subject| attack(subject, $name) }),*]
    };
}

pub(super) const ATTACKS: &[Case] = attacks! {
    "read-the-guest"
        "the guest is undumpable, another user where there is one, its channel is close-on-exec" []
    "inherited-descriptors" "close_range before exec, fresh pipes for the step" []
    "nested-namespaces" "seccomp on clone flags, unshare, setns; clone3 answers ENOSYS" []
    "change-mounts" "no capabilities, seccomp, Landlock" []
    "kernel-surface" "seccomp allow-list of system calls, other architectures' tables killed" []
    "socket-families" "seccomp allow-list of socket families, no CAP_NET_RAW" []
    "gain-privileges" "empty capability sets, no_new_privs, nosuid mounts, user namespace" []
    "networks-beyond-the-tunnel" "network namespace with loopback alone" []
    "look-alike-names" "one spelling per name, compared label by label" [Need::Tunnel]
    "files-of-the-host" "mount namespace built from nothing, read-only binds, Landlock" []
    "write-outside" "a read-only root, mounts one by one, another user than the root's" []
    "kernel-settings" "own /proc with masks, read-only /proc/sys, pid and UTS namespaces" []
    "facts-of-the-host" "masks over /proc, no /sys, a cgroup namespace" [Need::HidesHost]
    "type-into-the-terminal" "seccomp on ioctl" []
    "kill-the-guest" "the guest is process 1 of its pid namespace, seccomp on prlimit; a step without its guest has failed" []
};

fn attack<'a>(subject: &'a Subject, name: &'static str) -> Trying<'a> {
    Box::pin(async move {
        let (_, verdict) = try_in_one(subject, &[name]).await.into_iter().next().expect("one for each name");
        match verdict {
            Verdict::Held => Ok(()),
            Verdict::Broken(how) => Err(Why::Broken(how)),
            Verdict::Skipped(why) => Err(Why::Skipped(why)),
        }
    })
}

/// All of them in one sandbox.
pub(super) async fn try_together(subject: &Subject) -> Vec<(&'static str, Verdict)> {
    let able = subject.backend.capabilities();
    let unmet = |case: &Case| case.needs.iter().find_map(|need| need.unmet(&able));
    let skipped = ATTACKS.iter().filter_map(|case| Some((case.name, Verdict::Skipped(unmet(case)?))));
    let able_to: Vec<&'static str> =
        ATTACKS.iter().filter(|case| unmet(case).is_none()).map(|case| case.name).collect();
    let mut verdicts = try_in_one(subject, &able_to).await;
    verdicts.extend(skipped);
    verdicts
}

async fn try_in_one(subject: &Subject, names: &[&'static str]) -> Vec<(&'static str, Verdict)> {
    let with_all = |verdict: Verdict| names.iter().map(|name| (*name, verdict.clone())).collect();
    match probe(subject, names).await {
        Ok(ran) => names.iter().map(|name| (*name, verdict(&ran, name))).collect(),
        Err(Why::Broken(how)) => with_all(Verdict::Broken(how)),
        Err(Why::Skipped(why)) => with_all(Verdict::Skipped(why)),
    }
}

async fn probe(subject: &Subject, names: &[&'static str]) -> Result<Ran, Why> {
    let bait = Bait::lay()?;
    let mut session = subject.open().await?;
    let mut step = subject.probe(std::iter::once("attack").chain(names.iter().copied()));
    bait.tell(&mut step);
    let able = subject.backend.capabilities();
    if able.tunnel_only {
        step.environment.insert("PROBE_LOOPBACK_ONLY".to_owned(), "1".to_owned());
    }
    if able.tunnel {
        step = Outside { listed: vec![rule(LISTED, 80)], operator: &[] }.of(step)?;
    }
    step.terminal = able.terminal;
    let ran = run(&mut session, step.within(PROBE_LIMIT)).await;
    done(session).await?;
    Ok(ran)
}

/// What the probe said of one attack, between its `BEGIN` and its `DONE`.
fn verdict(ran: &Ran, name: &str) -> Verdict {
    let said = ran.text().replace('\r', "");
    let (begin, end) = (format!("BEGIN {name}"), format!("DONE {name}"));
    let of_it = said.lines().skip_while(|line| *line != begin).take_while(|line| *line != end);
    let leaks: Vec<&str> = of_it.filter(|line| line.starts_with("LEAKED")).collect();
    if !leaks.is_empty() {
        return Verdict::Broken(leaks.join("\n"));
    }
    if said.lines().any(|line| line == end) {
        return Verdict::Held;
    }
    match ran.exit {
        Err(SandboxError::Ended(_)) => Verdict::Broken("the sandbox ended".to_owned()),
        _ => Verdict::Broken(format!(
            "the attack did not finish: {:?}\n{said}\n{}",
            ran.exit,
            String::from_utf8_lossy(&ran.stderr)
        )),
    }
}

/// What of this machine the probe is told to look for.
struct Bait {
    canary: PathBuf,
    secret: String,
    listener: std::net::TcpListener,
    name: String,
    _abstract: UnixListener,
}

impl Bait {
    fn lay() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        fn told(error: std::io::Error) -> String {
            error.to_string()
        }
        let name = format!("sagewai-canary-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (canary, secret) = (std::env::temp_dir().join(&name), format!("content of {name}"));
        std::fs::write(&canary, &secret).map_err(told)?;
        let address = SocketAddr::from_abstract_name(&name).map_err(told)?;
        let _abstract = UnixListener::bind_addr(&address).map_err(told)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(told)?;
        Ok(Self { canary, secret, listener, name, _abstract })
    }

    fn tell(&self, step: &mut Step) {
        let port = self.listener.local_addr().map_or(0, |address| address.port());
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let files: Vec<String> = PRIVATE_FILES
            .iter()
            .filter_map(|path| Some(format!("{path}={}", digest(&std::fs::read(path).ok()?))))
            .collect();
        for (name, value) in [
            ("PROBE_CANARY", self.canary.to_string_lossy().into_owned()),
            ("PROBE_SECRET", self.secret.clone()),
            ("PROBE_FILES", files.join(",")),
            ("PROBE_PORT", port.to_string()),
            ("PROBE_ABSTRACT", self.name.clone()),
            ("PROBE_HOST_NAME", host_name.trim().to_owned()),
            ("PROBE_LISTED", LISTED.to_owned()),
        ] {
            step.environment.insert(name.to_owned(), value);
        }
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        // A canary that stays harms nobody.
        let _ = std::fs::remove_file(&self.canary);
    }
}

/// FNV-1a, as the probe has it.
fn digest(bytes: &[u8]) -> String {
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}
