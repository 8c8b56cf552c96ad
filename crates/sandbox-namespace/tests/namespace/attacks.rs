//! Every attack of the adversarial suite, as this user and as an ordinary one.

use std::sync::Arc;

use super::harness;
use sandbox::adversarial::{Verdict, attacks, try_attack};
use sandbox::suite::Subject;

/// Tries one attack; what could not be tried is said.
fn attack(name: &str) {
    harness::run(async |backend| match try_attack(&Subject::new(Arc::clone(backend)), name).await {
        Ok(Verdict::Held) => {}
        Ok(Verdict::Skipped(why)) => eprintln!("skipped: {why}"),
        Ok(Verdict::Broken(how)) => panic!("the attack worked:\n{how}"),
        Err(why) => panic!("{why}"),
    });
}

/// All in a few sandboxes, as sandbox backends with slow starts do it, come to the same.
#[test]
fn all_attacks_together() {
    harness::run(async |backend| {
        let report = sandbox::adversarial::check(&Subject::new(Arc::clone(backend))).await;
        report.expect_held();
        assert_eq!(report.verdicts.len(), attacks().count());
    });
}

macro_rules! attacks {
    ($($test:ident $as_user:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                attack($name);
            }

            #[test]
            fn $as_user() {
                harness::again_as_ordinary_user(concat!("attacks::", stringify!($test)));
            }
        )*

        const TRIED: &[&str] = &[$($name),*];
    };
}

attacks! {
    reads_the_guest reads_the_guest_as_user "read-the-guest"
    inherited_descriptors inherited_descriptors_as_user "inherited-descriptors"
    nested_namespaces nested_namespaces_as_user "nested-namespaces"
    changes_mounts changes_mounts_as_user "change-mounts"
    kernel_surface kernel_surface_as_user "kernel-surface"
    socket_families socket_families_as_user "socket-families"
    gains_privileges gains_privileges_as_user "gain-privileges"
    networks_beyond_the_tunnel networks_beyond_the_tunnel_as_user "networks-beyond-the-tunnel"
    look_alike_names look_alike_names_as_user "look-alike-names"
    files_of_the_host files_of_the_host_as_user "files-of-the-host"
    writes_outside writes_outside_as_user "write-outside"
    facts_of_the_host facts_of_the_host_as_user "facts-of-the-host"
    frames_on_a_terminal frames_on_a_terminal_as_user "frames-forged-on-a-terminal"
    kernel_settings kernel_settings_as_user "kernel-settings"
    kills_the_guest kills_the_guest_as_user "kill-the-guest"
    types_into_the_terminal types_into_the_terminal_as_user "type-into-the-terminal"
    forged_frames forged_frames_as_user "forged-frames"
    unlisted_destination unlisted_destination_as_user "unlisted-destination"
    private_address private_address_as_user "listed-name-of-a-private-address"
    other_port other_port_as_user "other-port-of-a-listed-host"
    sockets_after_the_end sockets_after_the_end_as_user "sockets-after-the-end"
    processes_after_the_end processes_after_the_end_as_user "processes-after-the-end"
    artifacts_through_links artifacts_through_links_as_user "artifacts-through-links"
    what_the_last_one_left what_the_last_one_left_as_user "what-the-last-one-left"
    fork_bomb fork_bomb_as_user "fork-bomb"
    memory_bomb memory_bomb_as_user "memory-bomb"
    fills_the_disk fills_the_disk_as_user "fill-the-disk"
    fills_the_inodes fills_the_inodes_as_user "fill-the-inodes"
    output_flood output_flood_as_user "output-flood"
    exhausts_descriptors exhausts_descriptors_as_user "exhaust-descriptors"
    exhausts_inotify exhausts_inotify_as_user "exhaust-inotify"
    exhausts_terminals exhausts_terminals_as_user "exhaust-terminals"
}

#[test]
fn every_attack_is_tried_and_told_in_the_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security/attacks.md");
    let docs = std::fs::read_to_string(path).expect("docs/security/attacks.md is there");
    for attack in attacks() {
        assert!(TRIED.contains(&attack.name), "`{}` is not tried here", attack.name);
        let row = format!("| `{}` | {} |", attack.name, attack.defence);
        assert!(docs.contains(&row), "docs/security/attacks.md lacks the row\n{row}");
    }
}
