//! The main job, as the README has it.

use std::process::Command;

use crate::sagewai::program;

#[test]
fn the_demo_runs_and_proves_what_it_claims() {
    check(Command::new(program()));
}

#[test]
fn the_demo_runs_as_an_ordinary_user() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: this user is an ordinary one already");
        return;
    }
    // The program may lie where an ordinary user cannot read.
    let folder = tempfile::tempdir().unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let copy = folder.path().join("sagewai");
    std::fs::copy(program(), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]).arg(&copy);
    command.current_dir(folder.path()).env("HOME", folder.path()).env("TMPDIR", folder.path());
    check(command);
}

fn check(mut command: Command) {
    let output = command.arg("demo").output().unwrap();
    let (said, noise) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{noise}", output.status);
    for mode in ["mode 0", "mode 1", "mode 2", "mode 3"] {
        assert!(said.contains(mode), "no {mode} in\n{said}");
    }
    for proof in ["my token is [REDACTED:1]", "Signed off by the reporting desk", "it is nowhere"] {
        assert!(said.contains(proof), "no {proof:?} in\n{said}");
    }
    assert!(!said.contains("demo_"), "the token itself was shown:\n{said}");
}
