//! The layers of isolation as they look from inside. What cannot be seen from here (mounts, IPC and host name of one's
//! own, Landlock, cgroups) is reported by the sandbox backend that set it up.

use std::fs;

use protocol::frame::{Layer, LayerReport};

use crate::harden::Restrictions;
use crate::network::Reach;

/// Reports each layer that can be seen from inside, as it holds for the step.
pub(crate) fn reports(restrictions: &Restrictions, reach: &Reach) -> Vec<LayerReport> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    vec![
        user_namespace(&uid_map),
        report(Layer::PidNamespace, std::process::id() == 1, || {
            "the guest is not the first process: start it as process 1 of a pid namespace".into()
        }),
        network_namespace(&devices),
        report(Layer::NoNewPrivileges, field(&status, "NoNewPrivs") == Some("1"), || {
            "no_new_privs is not set".into()
        }),
        report(
            Layer::Capabilities,
            is_zero(field(&status, "CapBnd")) && is_zero(field(&status, "CapInh")),
            || {
                "the bounding set is not empty: start the guest with CAP_SETPCAP or drop all capabilities outside".into()
            },
        ),
        seccomp(restrictions, field(&status, "Seccomp")),
        report(Layer::StepUser, restrictions.step_user.is_some(), || {
            format!(
                "the step shares the guest's user: map uid and gid {} into the sandbox",
                crate::harden::STEP_ID
            )
        }),
        report(Layer::UndumpableGuest, restrictions.undumpable, || "PR_SET_DUMPABLE was refused".into()),
        report(Layer::ClosedNetwork, !matches!(reach, Reach::Untried), || {
            "there are interfaces beside loopback, and whether they lead anywhere was not tried".into()
        }),
    ]
}

/// Whether loopback is all there is of a network, and so the sandbox's own.
pub(crate) fn is_network_isolated() -> bool {
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    interfaces(&devices).eq(["lo"])
}

fn report(layer: Layer, enforced: bool, note: impl FnOnce() -> String) -> LayerReport {
    LayerReport { layer, enforced, note: if enforced { String::new() } else { note() } }
}

fn user_namespace(uid_map: &str) -> LayerReport {
    let words: Vec<&str> = uid_map.split_whitespace().collect();
    let enforced = !words.is_empty() && words != ["0", "0", "4294967295"];
    report(Layer::UserNamespace, enforced, || "the users of the host are the users of the sandbox".into())
}

fn network_namespace(devices: &str) -> LayerReport {
    let interfaces: Vec<&str> = interfaces(devices).collect();
    report(Layer::NetworkNamespace, interfaces == ["lo"], || match interfaces.as_slice() {
        [] => "/proc/self/net/dev cannot be read".into(),
        _ => format!("there are interfaces beside loopback: {}", interfaces.join(" ")),
    })
}

/// Names of interfaces in the kernel's table; the first two lines are its head.
fn interfaces(devices: &str) -> impl Iterator<Item = &str> {
    devices.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()))
}

fn seccomp(restrictions: &Restrictions, mode: Option<&str>) -> LayerReport {
    let installed = &restrictions.seccomp;
    report(Layer::Seccomp, installed.is_ok() && mode == Some("2"), || match installed {
        Err(error) => format!("the filter was not accepted: {error}"),
        Ok(()) => "the kernel does not show the filter".into(),
    })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn is_zero(mask: Option<&str>) -> bool {
    mask.is_some_and(|mask| u64::from_str_radix(mask, 16) == Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: &str = "Inter-|   Receive\n face |bytes\n    lo:  100 1\n";

    #[test]
    fn loopback_alone_is_a_network_of_its_own() {
        assert!(network_namespace(DEVICES).enforced);
        let open = network_namespace(&format!("{DEVICES}  eth0: 5 5\n"));
        assert!(!open.enforced);
        assert!(open.note.ends_with("lo eth0"), "{}", open.note);
        assert!(!network_namespace("").enforced);
    }

    #[test]
    fn the_initial_user_namespace_is_no_layer() {
        assert!(!user_namespace("         0          0 4294967295\n").enforced);
        assert!(!user_namespace("").enforced);
        assert!(user_namespace("0 1000 1\n").enforced);
    }

    #[test]
    fn fields_of_the_status_are_found_by_whole_name() {
        let status = "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nCapBnd:\t0000000000000000\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert!(is_zero(field(status, "CapBnd")));
        assert!(!is_zero(field(status, "CapInh")));
    }
}
