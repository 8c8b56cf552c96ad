//! The network plugin (CNI) of a test cluster: what a pod gets is in the name of its namespace.
//!
//! `*-open`: an interface that reaches the node, as where nothing enforces a NetworkPolicy. `*-filtered`: an interface
//! whose packets all vanish, as where one is enforced. Any other: loopback alone, as real as it can be closed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Folder of plugins, in the cluster's.
pub(super) const PROGRAMS: &str = "cni-programs";
/// Folder of what the kubelet reads.
pub(super) const CONFIGURATION: &str = "cni";

/// Names the plugin, as a file and in the configuration.
const PLUGIN: &str = "by-namespace";

/// Answers to the four commands of CNI 0.4. An interface is a pair whose outer end is not forwarded anywhere. For
/// `filtered` the gateway is a neighbour that is said to be there and is not.
const PROGRAM: &str = r#"#!/bin/bash
set -e
config=$(cat)
version='{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}'
[ "$CNI_COMMAND" = VERSION ] && { echo "$version"; exit 0; }
outer=sgw$(echo -n "$CNI_CONTAINERID" | cut -c1-10)
if [ "$CNI_COMMAND" = DEL ]; then
  ip link del "$outer" 2>/dev/null || true
  exit 0
fi
[ "$CNI_COMMAND" = ADD ] || exit 0
namespace=$(echo "$CNI_ARGS" | tr ';' '\n' | sed -n 's/^K8S_POD_NAMESPACE=//p')
inside() { nsenter --net="$CNI_NETNS" -- "$@"; }
inside ip link set lo up
address=
# A kubelet calls a plugin of that name first, whatever is configured.
[ "$(basename "$0")" = loopback ] && namespace=loopback
case "$namespace" in
  loopback) ;;
  *-open | *-filtered)
    ip link add "$outer" type veth peer name eth0 netns "$CNI_NETNS"
    ip link set "$outer" up
    inside ip addr add 198.18.77.2/30 dev eth0
    inside ip link set eth0 up
    case "$namespace" in
      *-open) ip addr add 198.18.77.1/30 dev "$outer" ;;
      *) inside ip neigh add 198.18.77.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent ;;
    esac
    inside ip route add default via 198.18.77.1
    address='{"version":"4","address":"198.18.77.2/30","gateway":"198.18.77.1"}'
    ;;
  *)
    # A kubelet takes a pod without an address on eth0 for broken: loopback has that name too.
    inside ip link property add dev lo altname eth0
    inside ip addr add 198.18.77.2/32 dev lo scope global
    address='{"version":"4","address":"198.18.77.2/32"}'
    ;;
esac
echo "{\"cniVersion\":\"0.4.0\",\"interfaces\":[],\"ips\":[$address],\"routes\":[],\"dns\":{}}"
"#;

/// Writes the plugin and its configuration below `folder`.
pub(super) fn install(folder: &Path) -> io::Result<()> {
    let (programs, configuration) = (folder.join(PROGRAMS), folder.join(CONFIGURATION));
    fs::create_dir_all(&programs)?;
    fs::create_dir_all(&configuration)?;
    for name in [PLUGIN, "loopback"] {
        let program = programs.join(name);
        fs::write(&program, PROGRAM)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    let list = format!(r#"{{"cniVersion":"0.4.0","name":"test","plugins":[{{"type":"{PLUGIN}"}}]}}"#);
    fs::write(configuration.join("10-test.conflist"), list)
}
