//! Steps that use up all they can: they end at their limits, and a neighbour does not notice.

use std::time::Duration;

use protocol::frame::StepLimits;

use super::{Attack, Verdict, done, open, refused_unless};
use crate::conformance::{Ran, Step, run};
use crate::{Backend, SandboxLimits, Template};

/// How long an attack is let run.
const ATTACK_TIME: Duration = Duration::from_secs(3);

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "fork-bomb",
        defence: "pids cgroup, RLIMIT_NPROC in the user namespace",
        run: |backend| Box::pin(fork_bomb(backend)),
    },
    Attack { name: "memory-bomb", defence: "memory cgroup", run: |backend| Box::pin(memory_bomb(backend)) },
    Attack {
        name: "fill-the-disk",
        defence: "size-capped tmpfs, shared by all writable places",
        run: |backend| Box::pin(disk(backend)),
    },
    Attack {
        name: "fill-the-inodes",
        defence: "inode-capped tmpfs",
        run: |backend| Box::pin(inodes(backend)),
    },
    Attack {
        name: "output-flood",
        defence: "credits: a step that floods is blocked by its own full pipe",
        run: |backend| Box::pin(flood(backend)),
    },
    Attack {
        name: "exhaust-descriptors",
        defence: "RLIMIT_NOFILE",
        run: |backend| Box::pin(descriptors(backend)),
    },
];

/// Small limits, so that they are reached soon.
fn small() -> Template {
    let limits =
        SandboxLimits { cpu_millis: 500, memory_bytes: 64 << 20, disk_bytes: 16 << 20, processes: 64 };
    Template { image: None, limits }
}

fn limited(mut step: Step) -> Step {
    step.limits = StepLimits { processes: 64, descriptors: 128, ..StepLimits::default() };
    step.within(ATTACK_TIME)
}

/// Runs the attack in one sandbox, and beside it a neighbour, which must succeed.
async fn beside_neighbour(backend: &dyn Backend, attack: Step) -> Result<Ran, String> {
    let mut attacked = open(backend, &small()).await?;
    let mut neighbour = open(backend, &Template::default()).await?;
    let beside = async {
        tokio::time::sleep(ATTACK_TIME / 3).await;
        run(&mut neighbour, Step::shell("echo alive; sh -c 'echo well'")).await
    };
    let (ran, beside) = tokio::join!(run(&mut attacked, attack), beside);
    done(attacked).await?;
    done(neighbour).await?;
    if beside.text() == "alive\nwell" { Ok(ran) } else { Err(format!("the neighbour suffered: {beside:?}")) }
}

async fn fork_bomb(backend: &dyn Backend) -> Result<Verdict, String> {
    let script = "bomb() { bomb | bomb & }; bomb; for n in $(seq 500); do sleep 5 & done; echo started; wait";
    let ran = beside_neighbour(backend, limited(Step::shell(script))).await?;
    // More processes than the limit would have let the loop go through without an error.
    let held =
        String::from_utf8_lossy(&ran.stderr).contains("fork") || ran.exit.is_err() || ran.code() != Some(0);
    Ok(refused_unless(!held, || format!("{ran:?}")))
}

async fn memory_bomb(backend: &dyn Backend) -> Result<Verdict, String> {
    if !backend.capabilities().limits {
        return Ok(Verdict::Skipped(
            "this sandbox backend has no limit of memory here, and says so".to_owned(),
        ));
    }
    // Three processes of 100 MiB each, more than the sandbox has in all.
    let script = "for n in 1 2 3; do head -c 104857600 /dev/zero | tail -c 104857600 | (sleep 2; wc -c) & done; wait; echo survived";
    let ran = beside_neighbour(backend, limited(Step::shell(script))).await?;
    let whole = ran.text().matches("104857600").count();
    Ok(refused_unless(whole == 3, || format!("{ran:?}")))
}

async fn disk(backend: &dyn Backend) -> Result<Verdict, String> {
    let script = "for place in /workspace /tmp /home/step /dev/shm; do head -c 12582912 /dev/zero > $place/fill; done; \
                  cat /workspace/fill /tmp/fill /home/step/fill /dev/shm/fill | wc -c";
    let ran = beside_neighbour(backend, limited(Step::shell(script))).await?;
    let written: u64 = ran.text().parse().map_err(|_| format!("{ran:?}"))?;
    Ok(refused_unless(written > 16 << 20, || format!("{written} bytes were written")))
}

async fn inodes(backend: &dyn Backend) -> Result<Verdict, String> {
    let script = "mkdir d; n=0; while [ $n -lt 20000 ] && : > d/$n; do n=$((n+1)); done 2>/dev/null; echo $n";
    let mut step = limited(Step::shell(script));
    step.deadline = Duration::from_secs(60);
    let ran = beside_neighbour(backend, step).await?;
    // The shell ends where it cannot open its file; nothing is printed then.
    Ok(refused_unless(ran.text() == "20000", || "20000 files were made".to_owned()))
}

async fn flood(backend: &dyn Backend) -> Result<Verdict, String> {
    let mut attacked = open(backend, &small()).await?;
    let (start, stdin, control) = limited(Step::shell("yes & yes >&2 & yes")).into_parts();
    let (events, said) = tokio::sync::mpsc::channel(1);
    // Nobody reads. The step must end by its deadline all the same.
    let exit = attacked.run(start, stdin, events, control).await;
    drop(said);
    done(attacked).await?;
    Ok(refused_unless(!matches!(exit, Err(crate::SandboxError::Deadline)), || format!("{exit:?}")))
}

async fn descriptors(backend: &dyn Backend) -> Result<Verdict, String> {
    let script =
        "n=10; while [ $n -lt 5000 ] && eval \"exec $n</dev/null\"; do n=$((n+1)); done 2>/dev/null; echo $n";
    let mut step = limited(Step::shell(script));
    step.argv[0] = "bash".to_owned();
    let ran = beside_neighbour(backend, step).await?;
    if matches!(ran.exit, Err(crate::SandboxError::Refused { .. })) {
        return Ok(Verdict::Skipped("there is no bash in the sandbox".to_owned()));
    }
    Ok(refused_unless(ran.text() == "5000", || format!("{ran:?}")))
}
