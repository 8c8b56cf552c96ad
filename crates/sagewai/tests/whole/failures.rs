//! What goes wrong, and what it looks like: a clear error for the one run, while its neighbours go on.

use serde_json::Value;

use crate::fleet::{Dev, Fleet};
use crate::sagewai::{Cli, document, signal, wait_for};

/// Runs bad tasks beside a good run; gives the bad run.
fn beside_a_good_run(cli: &Cli, name: &str, tasks: &str) -> Value {
    let bad = cli.submit(name, tasks);
    let good = cli.run(
        "neighbour",
        "- one: { call: noop, with: { n: 1 } }\n- two: { run: { shell: { command: 'echo fine' } } }",
    );
    assert_eq!(good["output"], "fine", "{good:#}");
    cli.ended(&bad)
}

fn error(run: &Value, kind: &str) -> String {
    assert_eq!(run["summary"]["state"], "faulted", "{run:#}");
    let found = run["error"]["type"].as_str().unwrap();
    assert!(found.ends_with(kind), "{found} is not of kind {kind}: {run:#}");
    run["error"]["detail"].as_str().unwrap().to_owned()
}

#[test]
fn an_endless_expression_faults_its_own_run() {
    let dev = Dev::start(&[]);
    for (name, expression) in
        [("endless", "def f: f; f"), ("huge", "[range(1e12)] | length"), ("deep", "def f: 1 + f; f")]
    {
        let run =
            beside_a_good_run(&dev.cli, name, &format!("- bad: {{ set: {{ x: '${{ {expression} }}' }} }}"));
        let detail = error(&run, "/expression");
        assert!(
            ["than it may", "too deep", "too large", "limit"].iter().any(|word| detail.contains(word)),
            "{detail}"
        );
    }
}

#[test]
fn a_fork_bomb_and_a_memory_bomb_end_in_their_own_sandbox() {
    let dev = Dev::start(&[]);
    let bomb = r#"
- bomb:
    run: { shell: { command: 'bomb() { bomb | bomb & }; bomb; sleep 1000' } }
    metadata: { execution: { resources: { processes: 64 } } }
    timeout: { after: { seconds: 3 } }
"#;
    error(&beside_a_good_run(&dev.cli, "fork-bomb", bomb), "/timeout");
    let memory = r#"
- eat:
    run: { shell: { command: 'exec tail -c 4000000000 /dev/zero' } }
    metadata: { execution: { resources: { memory: 64Mi } } }
    timeout: { after: { seconds: 20 } }
"#;
    let run = beside_a_good_run(&dev.cli, "memory-bomb", memory);
    assert_eq!(run["summary"]["state"], "faulted", "{run:#}");
}

#[test]
fn a_flood_of_output_ends_with_advice() {
    let dev = Dev::start(&[]);
    let run = beside_a_good_run(
        &dev.cli,
        "flood",
        "- flood: { run: { shell: { command: 'head -c 1073741824 /dev/zero' } } }",
    );
    assert!(error(&run, "/runtime").contains("artifacts"));
    let quiet = "- flood: { run: { shell: { command: 'head -c 1073741824 /dev/zero' }, return: code } }";
    let run = beside_a_good_run(&dev.cli, "drained", quiet);
    assert_eq!(run["output"], 0, "what is not returned may be large: {run:#}");
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_a_suggestion() {
    let dev = Dev::start(&[]);
    let tasks = "- one:\n    call: noop\n    with: 1\n    metadata: { execution: { identiy: x } }";
    let output = dev.cli.call_with(&["run", "-"], document("typo", tasks).as_bytes());
    assert_eq!(output.status.code(), Some(6), "the exit code of an invalid document");
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    for part in ["identiy", "identity", "/do/0/one/metadata/execution"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

#[test]
fn a_missing_identity_and_a_forbidden_one_are_refused_and_audited() {
    let dev = Dev::start(&[]);
    let with = |identity: &str| {
        format!(
            "- one: {{ run: {{ shell: {{ command: 'true' }} }}, metadata: {{ execution: {{ mode: 2, identity: {identity} }} }} }}"
        )
    };
    let missing = error(&beside_a_good_run(&dev.cli, "missing", &with("nobody")), "/authentication");
    assert!(missing.contains("nobody") || missing.contains("not known"), "{missing}");
    let arguments =
        ["identity", "set", "others", "TOKEN_OF_OTHERS", "--stdin", "--allow-namespace", "elsewhere"];
    assert!(dev.cli.call_with(&arguments, b"a value of theirs").status.success());
    let forbidden = error(&beside_a_good_run(&dev.cli, "forbidden", &with("others")), "/authentication");
    assert!(!forbidden.contains("TOKEN_OF_OTHERS"), "no key's name may reach the control plane: {forbidden}");
    let audit = dev.cli.call(&["identity", "audit"]);
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(audit.contains("others") && audit.contains("nobody"), "{audit}");
}

#[test]
fn without_the_broker_no_step_with_an_identity_starts() {
    let mut fleet = Fleet::start();
    fleet.cli.keep_secret("vault-c", "SOME_TOKEN", b"a value of some length");
    let with = "- one: { run: { shell: { command: 'echo started' } }, metadata: { execution: { mode: 2, identity: vault-c } } }";
    assert_eq!(fleet.cli.run("before", with)["output"], "started");
    fleet.broker.interrupt();
    let run = beside_a_good_run(&fleet.cli, "after", with);
    let detail = error(&run, "/authentication");
    assert!(detail.contains("broker") && detail.contains("did not start"), "{detail}");
    assert!(!fleet.cli.logs(run["summary"]["id"].as_str().unwrap()).contains("started"));
}

#[test]
fn a_step_that_asks_for_what_no_worker_offers_waits_and_says_why() {
    let dev = Dev::start(&[]);
    let run = dev.cli.submit(
        "gpu",
        "- one: { call: noop, with: { n: 1 }, metadata: { execution: { requires: { gpu: '1' } } } }",
    );
    let waiting =
        wait_for("the reason", || dev.cli.show(&run)["steps"][0]["waiting"].as_str().map(str::to_owned));
    assert!(waiting.contains("gpu"), "{waiting}");
    dev.cli.ok(&["runs", "cancel", &run]);
    assert_eq!(dev.cli.ended(&run)["summary"]["state"], "cancelled");
}

#[test]
fn a_full_disk_refuses_what_cannot_be_kept_and_loses_nothing() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: a small disk needs a mount, and that needs root");
        return;
    }
    let disk = SmallDisk::mount("16m");
    let data = disk.folder.path().join("data").display().to_string();
    let mut dev = Dev::start_in(&data, &[]);
    let before = dev.cli.run("before", "- one: { call: noop, with: { n: 1 } }");
    assert_eq!(before["output"]["n"], 1);
    let filler = disk.folder.path().join("filler");
    let mut filling = std::process::Command::new("dd");
    filling.args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", filler.display()));
    let _ = filling.stderr(std::process::Stdio::null()).status();
    let refused = wait_for("a refusal", || {
        let output = dev
            .cli
            .call_with(&["run", "-"], document("full", "- one: { call: noop, with: { n: 1 } }").as_bytes());
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    });
    assert!(refused.contains("disk") || refused.contains("full") || refused.contains("space"), "{refused}");
    std::fs::remove_file(filler).unwrap();
    wait_for("the recovery", || {
        let output = dev
            .cli
            .call_with(&["run", "-"], document("again", "- one: { call: noop, with: { n: 2 } }").as_bytes());
        output.status.success().then_some(())
    });
    assert_eq!(
        dev.cli.show(before["summary"]["id"].as_str().unwrap())["output"]["n"],
        1,
        "what was acknowledged is there"
    );
    dev.process.interrupt();
}

/// A tmpfs of a given size.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        SmallDisk { folder }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[test]
fn ctrl_c_ends_all_processes_in_order_and_leaves_nothing() {
    let mut dev = Dev::start(&[]);
    dev.cli.run("one", "- one: { run: { shell: { command: 'true' } } }");
    let all = crate::processes::below(dev.process.pid());
    assert!(all.len() >= 4, "server, broker, worker and spawner: {all:?}");
    let status = dev.process.interrupt();
    assert!(matches!(status.code(), Some(0 | 130)), "{status}");
    wait_for("all processes to end", || {
        all.iter().all(|pid| !crate::processes::is_alive(*pid)).then_some(())
    });
}

#[test]
fn a_terminated_dev_ends_its_children() {
    let dev = Dev::start(&[]);
    let all = crate::processes::below(dev.process.pid());
    signal(dev.process.pid(), "KILL");
    wait_for("all processes to end", || {
        all.iter().all(|pid| !crate::processes::is_alive(*pid)).then_some(())
    });
}
