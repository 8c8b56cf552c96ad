//! Steps that use up all they can: they end at their limits, and a neighbour does not notice.

use std::time::Duration;

use protocol::frame::StepLimits;

use crate::conformance::{Ran, Step, run};
use crate::suite::{Case, Need, Subject, Why, done, ensure};
use crate::{SandboxError, SandboxLimits};

/// How long an attack is let run.
const ATTACK_TIME: Duration = Duration::from_secs(6);
/// From the attack's start to the neighbour's.
const HEAD_START: Duration = Duration::from_millis(1500);
/// Small limits, so that they are reached soon.
const SMALL: SandboxLimits =
    SandboxLimits { cpu_millis: 500, memory_bytes: 64 << 20, disk_bytes: 16 << 20, processes: 64 };
/// Descriptors of one process.
const DESCRIPTORS: u32 = 128;
/// What an attack takes at most, far beyond any limit.
const MOST: usize = 20_000;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "fork-bomb",
        defence: "pids cgroup, RLIMIT_NPROC in the user namespace",
        needs: &[],
        run: |s| Box::pin(fork_bomb(s)),
    },
    Case {
        name: "memory-bomb",
        defence: "memory cgroup",
        needs: &[Need::Limits],
        run: |s| Box::pin(memory_bomb(s)),
    },
    Case {
        name: "fill-the-disk",
        defence: "size-capped tmpfs, shared by all writable places",
        needs: &[],
        run: |s| Box::pin(disk(s)),
    },
    Case {
        name: "fill-the-inodes",
        defence: "inode-capped tmpfs",
        needs: &[Need::DiskLimit, Need::FileLimit],
        run: |s| Box::pin(inodes(s)),
    },
    Case {
        name: "output-flood",
        defence: "credits: a step that floods is blocked by its own full pipe",
        needs: &[Need::Interactive],
        run: |s| Box::pin(flood(s)),
    },
    Case {
        name: "exhaust-descriptors",
        defence: "RLIMIT_NOFILE",
        needs: &[],
        run: |s| Box::pin(descriptors(s)),
    },
    Case {
        name: "exhaust-inotify",
        defence: "a quota of the sandbox's user namespace",
        needs: &[Need::OwnQuotas],
        run: |s| Box::pin(quota(s, "take-inotify")),
    },
    Case {
        name: "exhaust-terminals",
        defence: "devpts of its own with a maximum",
        needs: &[Need::OwnQuotas, Need::Terminal],
        run: |s| Box::pin(quota(s, "take-terminals")),
    },
];

fn limited(mut step: Step) -> Step {
    step.limits =
        StepLimits { processes: SMALL.processes, descriptors: DESCRIPTORS, ..StepLimits::default() };
    step.within(ATTACK_TIME)
}

/// Runs the attack in one sandbox, and beside it a neighbour, which must do well.
async fn beside_neighbour(subject: &Subject, attack: Step) -> Result<Ran, Why> {
    let mut attacked = subject.open_limited(SMALL).await?;
    let mut neighbour = subject.open().await?;
    let beside = async {
        tokio::time::sleep(HEAD_START).await;
        let mut step = subject.probe(["fine"]);
        step.terminal = subject.backend.capabilities().terminal;
        run(&mut neighbour, step).await
    };
    let (ran, beside) = tokio::join!(run(&mut attacked, attack), beside);
    done(attacked).await?;
    done(neighbour).await?;
    ensure(beside.text() == "fine", || format!("the neighbour suffered: {beside:?}"))?;
    Ok(ran)
}

/// The number behind the last word that is `what`, or the only one.
fn number(ran: &Ran, what: &str) -> Result<usize, String> {
    let text = ran.text();
    let line = text.lines().rfind(|line| line.starts_with(what)).unwrap_or_default();
    line.trim_start_matches(what).trim().parse().map_err(|_| format!("{ran:?}"))
}

async fn fork_bomb(subject: &Subject) -> Result<(), Why> {
    let ran = beside_neighbour(subject, limited(subject.probe(["fork-bomb", "500"]))).await?;
    // A step that cannot say how many it made was held off too.
    let made = number(&ran, "").unwrap_or(0);
    ensure(made < SMALL.processes as usize, || format!("{made} processes were made: {ran:?}"))
}

async fn memory_bomb(subject: &Subject) -> Result<(), Why> {
    // Three processes of 100 MiB each, more than the sandbox has in all.
    let ran = beside_neighbour(subject, limited(subject.probe(["memory-bomb", "3", "104857600"]))).await?;
    let whole = ran.text().matches("whole").count();
    ensure(whole < 3, || format!("{whole} of 3 got their memory: {ran:?}"))
}

async fn disk(subject: &Subject) -> Result<(), Why> {
    let able = subject.backend.capabilities();
    let bytes = (2 * SMALL.disk_bytes).to_string();
    let places = [able.workspace.as_str(), "/tmp", able.home.as_str(), "/dev/shm"];
    let step = subject.probe(["fill", bytes.as_str()].into_iter().chain(places));
    let ran = beside_neighbour(subject, limited(step)).await?;
    let written: Vec<u64> =
        ran.text().lines().filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    ensure(!written.is_empty(), || format!("nothing, but it did not say what it wrote: {ran:?}"))?;
    let (most, sum) = (written.iter().max().copied().unwrap_or(0), written.iter().sum::<u64>());
    let judged = if able.disk_limit { sum } else { most };
    ensure(judged <= SMALL.disk_bytes, || format!("{written:?} bytes were written"))
}

async fn inodes(subject: &Subject) -> Result<(), Why> {
    let step = limited(subject.probe(["make-files".to_owned(), MOST.to_string()]));
    let ran = beside_neighbour(subject, step.within(Duration::from_secs(60))).await?;
    let made = number(&ran, "")?;
    ensure(made < MOST, || format!("{made} files were made"))
}

async fn flood(subject: &Subject) -> Result<(), Why> {
    let mut attacked = subject.open_limited(SMALL).await?;
    let (start, stdin, control) = limited(subject.probe(["flood"])).within(HEAD_START).into_parts();
    let (events, said) = tokio::sync::mpsc::channel(1);
    // Nobody reads. The step must end by its deadline all the same.
    let exit = attacked.run(start, stdin, events, control).await;
    drop(said);
    done(attacked).await?;
    ensure(matches!(exit, Err(SandboxError::Deadline)), || format!("{exit:?}"))
}

async fn descriptors(subject: &Subject) -> Result<(), Why> {
    let step = limited(subject.probe(["take-descriptors".to_owned(), MOST.to_string()]));
    let ran = beside_neighbour(subject, step).await?;
    let taken = number(&ran, "descriptors")?;
    ensure(taken < DESCRIPTORS as usize, || format!("{taken} descriptors were taken"))
}

/// Whatever it took, the neighbour got its own.
async fn quota(subject: &Subject, command: &str) -> Result<(), Why> {
    let mut step = limited(subject.probe([command.to_owned(), MOST.to_string()]));
    step.limits.descriptors = 1024;
    let ran = beside_neighbour(subject, step).await?;
    ensure(!ran.text().is_empty(), || format!("nothing, but it did not say what it took: {ran:?}"))
}
