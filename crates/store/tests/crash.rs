//! kill -9 at random points: what was acknowledged is there, and nothing is there by half.
//!
//! The test starts itself as the child that commits and prints what was acknowledged, and kills it. The seed is printed;
//! `SAGEWAI_SEED` replays it.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod sample;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sample::{create, hot_turn, open, run_id};
use store::{MAX_INLINE_BYTES, StepState, Store, TurnOutcome};

const FOLDER: &str = "SAGEWAI_CRASH_FOLDER";
/// Lives of the child.
const LIVES: u32 = 10;
/// Runs that the child advances side by side, so that groups are of many calls.
const RUNS: u128 = 8;
/// Each of so many turns has a value for the blob store.
const LARGE_EVERY: u64 = 50;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let seed = std::env::var("SAGEWAI_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("SAGEWAI_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for life in 0..LIVES {
        // Some die while they open the new database, before they have committed anything.
        let until = if life % 4 == 0 { random(&mut seed, 3) } else { random(&mut seed, 250) };
        live_and_die(folder.path(), until, random(&mut seed, 3_000), &mut acknowledged);
        check(folder.path(), &acknowledged);
    }
    assert!(acknowledged.values().sum::<u64>() > 100, "the child hardly ran: {acknowledged:?}");
}

/// Runs the child until it has acknowledged `until` turns and some microseconds more; notes the highest version that it
/// acknowledged of each run.
fn live_and_die(folder: &Path, until: u64, more_us: u64, acknowledged: &mut BTreeMap<u128, u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // A line cut short has no end mark. The harness prints a line of its own before the first.
    let mut note = |line: &str| {
        let said = line.strip_suffix(';').and_then(|line| line.rsplit_once("ack ")).map(|(_, said)| said);
        let Some((run, version)) = said.and_then(|said| said.split_once(' ')) else { return 0 };
        acknowledged.insert(run.parse().unwrap(), version.parse().unwrap());
        1
    };
    let mut seen = 0;
    while seen < until {
        let line = lines.next().expect("the child goes on until it is killed").unwrap();
        seen += note(&line);
    }
    // Not to wait for something, but to kill at any point of a commit.
    std::thread::sleep(Duration::from_micros(more_us));
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had printed before it died counts too.
    for line in lines.map_while(Result::ok) {
        note(&line);
    }
}

fn check(folder: &Path, acknowledged: &BTreeMap<u128, u64>) {
    let store = open(folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut runs, mut leased, mut completed) = (0, 0, 0);
        for number in 1..=RUNS {
            let Some(loaded) = store.load_run(run_id(number)).await.unwrap() else {
                assert_eq!(acknowledged.get(&number), None, "run {number} is lost");
                continue;
            };
            let version = loaded.summary.version;
            assert!(version >= acknowledged.get(&number).copied().unwrap_or(0), "run {number}: {version}");
            let history = store.history(run_id(number), 0, 10_000).await.unwrap();
            assert_eq!(history.len() as u64, version, "each turn of run {number} has one event");
            assert!(history.iter().zip(1..).all(|(entry, number)| entry.number == number));
            // The turn at version v ended step v-1 and leased step v.
            let steps = store.steps(run_id(number), None, 10_000).await.unwrap();
            assert_eq!(steps.len() as u64, version - 1, "each turn of run {number} but the first has a step");
            let open = u64::from(version > 1);
            let ended = steps.iter().filter(|step| step.state == StepState::Completed).count() as u64;
            assert_eq!(ended, version - 1 - open);
            (runs, leased, completed) = (runs + 1, leased + open, completed + ended);
        }
        let counts = store.counts(None).await.unwrap();
        assert_eq!(counts.runs(store::RunStatus::Pending), runs);
        assert_eq!(counts.steps(StepState::Leased), leased);
        assert_eq!(counts.steps(StepState::Completed), completed);
        assert_eq!(store.worker_leases("worker-1").await.unwrap().len() as u64, leased);
    });
}

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "started by what_was_acknowledged_survives_kill_9"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Arc::new(open(Path::new(&folder)).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let runs: Vec<_> = (1..=RUNS).map(|number| tokio::spawn(advance(store.clone(), number))).collect();
        for run in runs {
            run.await.unwrap();
        }
    });
}

async fn advance(store: Arc<store::sqlite::SqliteStore>, number: u128) {
    let mut version = match store.run_summary(run_id(number)).await.unwrap() {
        Some(summary) => summary.version,
        None => {
            store.commit(vec![create(number)]).await.unwrap();
            acknowledge(number, 1);
            1
        }
    };
    loop {
        let mut turn = hot_turn(number, version);
        if version.is_multiple_of(LARGE_EVERY) {
            turn.events[0].event = Bytes::from(vec![b'l'; MAX_INLINE_BYTES + 1]);
        }
        let outcomes = store.commit(vec![turn]).await.unwrap();
        version += 1;
        assert_eq!(outcomes, [TurnOutcome::Committed { version }]);
        acknowledge(number, version);
    }
}

/// One write of a whole line, so that a line is there or not.
fn acknowledge(number: u128, version: u64) {
    let line = format!("ack {number} {version};\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// A number below `below` (SplitMix64).
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) % below
}
