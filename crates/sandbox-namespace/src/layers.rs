//! Which layers the spawner itself enforces, and the remedies where the machine stands in the way.

use std::fs;
use std::io;

use protocol::frame::{Layer, LayerReport};

/// Layers that a sandbox has because it could be made at all.
const INHERENT: [Layer; 7] = [
    Layer::UserNamespace,
    Layer::PidNamespace,
    Layer::MountNamespace,
    Layer::NetworkNamespace,
    Layer::IpcNamespace,
    Layer::UtsNamespace,
    Layer::NoNewPrivileges,
];

/// The layers of every sandbox of this spawner.
pub(crate) fn made(landlock: bool, cgroup: LayerReport) -> Vec<LayerReport> {
    let enforced = |layer: &Layer| LayerReport { layer: *layer, enforced: true, note: String::new() };
    let mut reports: Vec<LayerReport> = INHERENT.iter().map(enforced).collect();
    let note = if landlock {
        String::new()
    } else {
        "the kernel has no Landlock, or an old one: use Linux 6.2 or newer with `landlock` in the list of `lsm=`".to_owned()
    };
    reports.push(LayerReport { layer: Layer::Landlock, enforced: landlock, note });
    reports.push(cgroup);
    reports
}

/// What to do where namespaces are refused.
pub(crate) fn remedy(error: &io::Error) -> String {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return "AppArmor restricts user namespaces here: put `abi <abi/4.0>, include <tunables/global> profile sagewai \
                /PATH/OF/sagewai flags=(unconfined) { userns, }` into /etc/apparmor.d/sagewai and load it with \
                `apparmor_parser -r`, or set the sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            .to_owned();
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return "set the sysctl kernel.unprivileged_userns_clone=1".to_owned();
    }
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return "set the sysctl user.max_user_namespaces to a positive number".to_owned();
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this process may not make namespaces: within a container, allow `unshare`, `clone` and `mount` in its seccomp \
             profile and an unmasked /proc, or choose another sandbox backend"
                .to_owned()
        }
        _ => "use Linux 5.12 or newer, or choose another sandbox backend".to_owned(),
    }
}
