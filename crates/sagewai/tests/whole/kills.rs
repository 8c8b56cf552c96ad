//! kill -9 of every process at random points: no acknowledged run is lost, every run ends right, nothing is left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::fleet::Dev;
use crate::processes::{below, is_alive, sandbox_cgroups};
use crate::sagewai::{document, signal, wait_for};

/// Runs that are submitted while processes die.
const RUNS: usize = 200;
/// Processes that are killed.
const KILLS: usize = 10;

/// Modes 0, 1 and 2; the step with an identity is tried again while the broker is away.
const TASKS: &str = r#"
- zero: { call: noop, with: { n: 1 } }
- one: { run: { shell: { command: 'echo boxed' } } }
- two:
    try:
      - known:
          run: { shell: { command: 'test "$KILL_TOKEN" = "a value of some length" && echo known' } }
          metadata: { execution: { mode: 2, identity: vault-k } }
    catch:
      errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/authentication' } }
      retry: { delay: { milliseconds: 300 }, limit: { attempt: { count: 60 } } }
- last: { set: '${ { said: . } }' }
"#;

#[test]
fn every_run_ends_right_when_processes_are_killed_at_random() {
    let seed = std::env::var("SAGEWAI_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    });
    eprintln!("SAGEWAI_SEED={seed}");
    let mut random = Random(seed | 1);
    let mut dev = Dev::start(&[]);
    dev.cli.keep_secret("vault-k", "KILL_TOKEN", b"a value of some length");
    let cli = dev.cli.clone();
    let submitting = std::thread::spawn(move || (0..RUNS).map(|n| submit(&cli, n)).collect::<Vec<String>>());

    let mut workers = BTreeSet::new();
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(300 + random.below(1500)));
        workers.extend(dev.part("worker"));
        let victim = match random.below(4) {
            0 => dev.part("server"),
            1 => dev.part("broker"),
            2 => dev.part("worker"),
            _ => dev.spawner(),
        };
        if let Some(pid) = victim {
            signal(pid, "KILL");
        }
    }
    let runs = submitting.join().unwrap();
    assert_eq!(runs.iter().collect::<BTreeSet<_>>().len(), RUNS, "each submission is one run");
    let began = Instant::now();
    for run in &runs {
        let ended = dev.cli.ended(run);
        assert_eq!(ended["summary"]["state"], "completed", "seed {seed}: {ended:#}");
        assert_eq!(ended["output"], serde_json::json!({ "said": "known" }), "seed {seed}: {ended:#}");
        assert_eq!(
            ended["steps"].as_array().unwrap().iter().filter(|step| step["state"] == "completed").count(),
            3,
            "{ended:#}"
        );
    }
    eprintln!("all ended {:?} after the last submission", began.elapsed());
    workers.extend(dev.part("worker"));
    let all = below(dev.process.pid());
    dev.process.interrupt();
    wait_for("all processes to end", || all.iter().all(|pid| !is_alive(*pid)).then_some(()));
    let left: Vec<_> = sandbox_cgroups()
        .into_iter()
        .filter(|path| {
            workers.iter().any(|pid| path.display().to_string().contains(&format!("sagewai-{pid}-")))
        })
        .collect();
    assert!(left.is_empty(), "cgroups are left: {left:?}");
}

/// Submits one run until it is acknowledged; the key makes repetitions harmless.
fn submit(cli: &crate::sagewai::Cli, number: usize) -> String {
    let key = format!("run-{number}");
    wait_for("an acknowledgement", || {
        let output =
            cli.call_with(&["run", "-", "--idempotency-key", &key], document("killed", TASKS).as_bytes());
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(answer["id"].as_str()?.to_owned())
    })
}

/// xorshift64*: one seed replays the same kills.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}
