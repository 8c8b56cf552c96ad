//! The whole output of commands, as people and scripts see it, held by golden files in `tests/golden`.
//!
//! `SAGEWAI_BLESS=1` rewrites the files; then read the difference.

mod cli {
    pub(crate) mod golden;
    pub(crate) mod stack;
}

use std::os::unix::fs::PermissionsExt;

use cli::golden::{check, said};
use cli::stack::{Stack, sagewai};

const HELLO: &str = "\
document: { dsl: '1.0.3', namespace: acme, name: hello, version: '1.0.0' }
do:
  - greet: { set: { greeting: '${ \"hello \" + .name }' } }
  - shout: { run: { shell: { command: 'echo HELLO' } } }
";

const BROKEN: &str = "\
document: { dsl: '1.0.3', namespace: acme, name: broken, version: '1.0.0' }
do:
  - query:
      run: { shell: { command: 'psql' } }
      metadata:
        execution: { modee: identity, identity: acme-prod }
  - twice: { sett: { a: 1 } }
";

const FAULTY: &str = "\
document: { dsl: '1.0.3', namespace: acme, name: faulty, version: '1.0.0' }
do:
  - fail: { run: { shell: { command: 'echo no such customer >&2; exit 3' } } }
";

#[test]
fn validation_draws_each_finding_on_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.yaml"), BROKEN).unwrap();
    std::fs::write(folder.path().join("hello.yaml"), HELLO).unwrap();
    let mut command = sagewai();
    command.current_dir(&folder).args(["workflow", "validate", "hello.yaml", "broken.yaml"]);
    check("validate", &said(command));
    let mut command = sagewai();
    command.current_dir(&folder).args(["workflow", "validate", "broken.yaml", "--output", "json"]);
    check("validate-json", &said(command));
}

#[test]
fn errors_have_one_hint_and_their_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [&[&str]; 6] = [
        &["runs"],
        &["rnus", "list"],
        &["run", "missing.yaml"],
        &["runs", "list", "--server", "ftp://example.org"],
        &["runs", "list", "--config", "none.toml"],
        &["identity", "list", "--broker-data", "nowhere"],
    ];
    let mut text = String::new();
    for case in cases {
        let mut command = sagewai();
        command.current_dir(&folder).env("HOME", folder.path()).args(case);
        text.push_str(&said(command));
        text.push('\n');
    }
    check("errors", &text);
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "swt_x").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = sagewai();
    command.current_dir(&folder).args([
        "runs",
        "list",
        "--server",
        "http://127.0.0.1:1",
        "--token-file",
        "token",
    ]);
    check("unreachable", &said(command));
}

#[test]
fn runs_are_followed_shown_and_read() {
    let stack = Stack::start();
    stack.write("hello.yaml", HELLO);
    stack.write("faulty.yaml", FAULTY);
    stack.write("broken.yaml", BROKEN);
    // The order of a step's lines depends on the machine's speed, that of their last states does not.
    let followed =
        stack.run(&["run", "hello.yaml", "--input", "{\"name\":\"you\"}", "--follow", "--output", "json"]);
    assert!(followed.contains("\"event\":\"end\",\"state\":\"completed\""), "{followed}");
    let id = stack.latest_run();
    check("show", &stack.run(&["runs", "show", &id]));
    // A step's log is stored beside its outcome, not before it.
    check("logs", &stack.run_until(&["runs", "logs", &id], "HELLO"));
    check("list", &stack.run(&["runs", "list", "--namespace", "acme"]));
    check("refused", &stack.run(&["run", "broken.yaml"]));
    let faulted = stack.run(&["run", "faulty.yaml", "--follow"]);
    assert!(faulted.ends_with("exit 1\n") && faulted.contains("no such customer"), "{faulted}");
    check("show-faulted", &stack.run(&["runs", "show", &stack.latest_run()]));
    check("conflict", &stack.run(&["runs", "cancel", &stack.latest_run()]));
    check("not-found", &stack.run(&["runs", "show", "01010101-0101-0101-0101-010101010101"]));
    check("publish", &stack.run(&["workflow", "publish", "hello.yaml"]));
    check("workflows", &stack.run(&["workflow", "list"]));
    let published = stack.run(&["run", "acme/hello", "--input", "{\"name\":\"all\"}", "--follow"]);
    assert!(published.ends_with("exit 0\n"), "{published}");
    stack.stop();
}

#[test]
fn identities_are_managed_and_audited_without_their_values() {
    let stack = Stack::start();
    stack.write("value", "s3cr3t-of-the-test");
    let mut text = String::new();
    for arguments in [
        vec!["identity", "set", "acme-prod", "API_TOKEN", "--file", "value", "--allow-namespace", "acme"],
        vec!["identity", "set", "acme-prod", "REGION", "--plain", "--file", "value"],
        vec!["identity", "view", "acme-prod", "reporting", "API_TOKEN"],
        vec!["identity", "rotate", "acme-prod", "API_TOKEN", "--file", "value"],
        vec!["identity", "rotate", "acme-prod", "OTHER", "--file", "value"],
        vec!["identity", "list"],
        vec!["identity", "show", "acme-prod"],
        vec!["identity", "revoke", "acme-prod", "--reason", "a test"],
        vec!["identity", "policy", "acme-prod", "--deny-all"],
        vec!["identity", "remove", "acme-prod"],
        vec!["identity", "show", "acme-prod"],
        vec!["identity", "audit"],
    ] {
        let said = stack.run(&arguments);
        assert!(!said.contains("s3cr3t"), "{said}");
        text.push_str(&said);
        text.push('\n');
    }
    check("identity", &text);
    let verified = stack.run(&["identity", "audit", "--verify"]);
    assert!(verified.contains("the trail holds together"), "{verified}");
    stack.stop();
}

#[test]
fn a_process_that_dies_is_started_again_and_stop_leaves_nothing() {
    let stack = Stack::start();
    stack.write("hello.yaml", HELLO);
    for name in ["server", "broker", "worker"] {
        stack.kill_part(name);
        stack.wait_for_server();
        let said = stack.run(&["run", "hello.yaml", "--input", "{\"name\":\"again\"}", "--follow"]);
        assert!(said.ends_with("exit 0\n"), "after the death of the {name}: {said}");
    }
    stack.stop();
}

#[test]
fn every_command_has_help_with_examples() {
    let mut command = sagewai();
    command.arg("--help");
    check("help", &said(command));
    for name in ["dev", "demo", "run", "server", "broker", "worker", "doctor", "completions", "identity"] {
        let mut command = sagewai();
        command.args([name, "--help"]);
        let said = said(command);
        assert!(said.contains("Examples:") && said.ends_with("exit 0\n"), "{said}");
    }
}
