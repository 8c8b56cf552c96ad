//! Attacks from inside a step: on the guest, on the kernel, on its own restrictions.

mod harness;

use std::collections::BTreeMap;

use harness::{Guest, probe, shell};
use protocol::frame::Layer;

fn results(output: &str) -> BTreeMap<&str, &str> {
    output.lines().filter_map(|line| line.split_once(": ")).collect()
}

#[test]
fn system_calls_that_open_an_attack_are_refused() {
    let ended = Guest::plain().run(probe(&["calls"]), b"");
    let results = results(&ended.stdout);
    assert!(results.len() > 40, "{}", ended.stdout);
    for (name, result) in &results {
        let expected = match *name {
            "SYS_clone3" | "SYS_io_uring_setup" | "call 1000" => "ENOSYS",
            "AF_PACKET" | "AF_VSOCK" | "AF_ALG" => "EAFNOSUPPORT",
            "raw IP" | "ICMP" | "netlink netfilter" => "EPROTONOSUPPORT",
            "netlink route" | "unix" | "tcp" => "done",
            // Some machines have no IPv6.
            "tcp6" => result,
            _ => "EPERM",
        };
        assert_eq!(*result, expected, "{name}");
    }
}

#[test]
fn calls_of_32_bits_kill_the_caller() {
    let ended = Guest::plain().run(probe(&["i386"]), b"");
    assert_eq!((ended.stdout.as_str(), ended.signal), ("before\n", Some(libc::SIGSYS)));
}

#[test]
fn the_step_has_no_privilege() {
    let ended = Guest::plain().run(probe(&["status"]), b"");
    let results = results(&ended.stdout);
    for (name, expected) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(results.get(name), Some(&expected), "{name}");
    }
    if rustix::process::getuid().is_root() {
        assert_eq!(results["CapBnd"], "0000000000000000");
        assert_eq!(results["Uid"], "1000 1000 1000 1000");
        assert_eq!(results["Gid"], "1000 1000 1000 1000");
        assert_eq!(results["Groups"], "", "no group is left");
    }
}

#[test]
fn a_program_with_set_user_id_gives_nothing() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can make a program of root's with the set-user-id bit");
        return;
    }
    let mut guest = Guest::plain();
    let program = guest.workspace.path().join("probe");
    std::fs::copy(harness::probe_program(), &program).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o6755)).unwrap();
    let ended = guest.run(harness::step(&[program.to_str().unwrap(), "status"]), b"");
    let results = results(&ended.stdout);
    assert_eq!((results["Uid"], results["CapEff"]), ("1000 1000 1000 1000", "0000000000000000"));
}

/// Where the bounding set stays, root's programs would have its capabilities again.
#[test]
fn a_step_of_roots_has_no_capability_even_if_the_bounding_set_stays() {
    let Some(mut guest) = Guest::half_privileged() else { return };
    let ended = guest.run(probe(&["status"]), b"");
    let results = results(&ended.stdout);
    assert_eq!(results["Uid"], "0 0 0 0");
    assert_ne!(results["CapBnd"], "0000000000000000");
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(results[name], "0000000000000000", "{name}");
    }
}

/// The guest and the step share a user here, which is the worse case: nothing but the guest's own care protects it.
#[test]
fn the_guest_cannot_be_read_or_reached_by_the_step() {
    let Some(guest) = Guest::in_namespaces() else { return };
    attack_guest(guest, 1);
    // Without the capabilities that a guest in namespaces has over its step, it is its being undumpable alone.
    let Some(guest) = Guest::unprivileged() else { return };
    let pid = guest.child.id();
    attack_guest(guest, pid);
}

fn attack_guest(mut guest: Guest, pid: u32) {
    assert!(guest.layers.iter().any(|layer| layer.layer == Layer::StepUser && !layer.enforced));
    let ended = guest.run(probe(&["guest", &pid.to_string()]), b"");
    let results = results(&ended.stdout);
    assert!(results.len() > 20, "{}{}", ended.stdout, ended.stderr);
    for (name, result) in &results {
        match *name {
            "ptrace" | "pidfd_getfd" => assert_eq!(*result, "EPERM", "{name}"),
            // Process 1 of a namespace ignores what is sent from within.
            "kill" => {}
            // The name of a process can be changed by its own user; it means nothing.
            "write comm" | "write oom_score_adj" => {}
            _ => assert_eq!(*result, "refused", "{name}"),
        }
    }
}

#[test]
fn the_layers_are_reported_as_they_are() {
    let plain = Guest::plain();
    let holds =
        |guest: &Guest, layer| guest.layers.iter().any(|report| report.layer == layer && report.enforced);
    assert!(!holds(&plain, Layer::PidNamespace));
    for layer in [Layer::NoNewPrivileges, Layer::Seccomp, Layer::UndumpableGuest] {
        assert!(holds(&plain, layer), "{layer:?}");
    }
    for report in &plain.layers {
        assert_eq!(report.enforced, report.note.is_empty(), "{report:?}");
    }
    let Some(enclosed) = Guest::in_namespaces() else { return };
    for layer in [
        Layer::UserNamespace,
        Layer::PidNamespace,
        Layer::NetworkNamespace,
        Layer::NoNewPrivileges,
        Layer::Capabilities,
        Layer::Seccomp,
        Layer::UndumpableGuest,
    ] {
        assert!(holds(&enclosed, layer), "{layer:?} {:?}", enclosed.layers);
    }
}

#[test]
fn threads_and_children_start() {
    assert_eq!(Guest::plain().run(probe(&["threads"]), b"").stdout, "2 true\n");
}

#[test]
fn frames_forged_on_the_output_are_data() {
    let mut forged = Vec::new();
    protocol::frame::codec::encode(&protocol::frame::FromGuest::Started { pid: 999 }, &mut forged).unwrap();
    let text: String = forged.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let ended = Guest::plain().run(shell(&format!("printf '{text}'; printf '{text}' >&2")), b"");
    assert_eq!(ended.stdout.as_bytes(), String::from_utf8_lossy(&forged).as_bytes());
    assert_eq!(ended.stderr, ended.stdout);
}

#[test]
fn interpreters_of_the_machine_work_under_the_filter() {
    for (program, arguments, expected) in [
        (
            "python3",
            &[
                "-c",
                "import threading,subprocess,socket,json;t=threading.Thread(target=print,args=('t',));t.start();t.join();print(subprocess.check_output(['echo','x']).decode())",
            ][..],
            "t\nx\n\n",
        ),
        (
            "node",
            &[
                "-e",
                "const {Worker}=require('worker_threads');new Worker('console.log(1+1)',{eval:true}).on('exit',()=>console.log(require('child_process').execSync('echo y').toString()))",
            ],
            "2\ny\n\n",
        ),
        ("git", &["--version"], "git version"),
        ("perl", &["-e", "print `echo z`"], "z\n"),
    ] {
        if std::process::Command::new(program)
            .arg("--version")
            .stdout(std::process::Stdio::null())
            .status()
            .is_err()
        {
            eprintln!("skipped: no {program} here");
            continue;
        }
        let mut argv = vec![program];
        argv.extend(arguments);
        let mut step = harness::step(&argv);
        step.directory = "/tmp".into();
        let ended = Guest::plain().run(step, b"");
        assert!(ended.stdout.starts_with(expected), "{program}: {}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn the_step_cannot_end_its_guest() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let ended =
        guest.run(shell("for s in TERM INT KILL STOP CHLD SEGV HUP; do kill -$s 1; done; echo alive"), b"");
    assert_eq!((ended.stdout.as_str(), ended.code), ("alive\n", Some(0)));
}
