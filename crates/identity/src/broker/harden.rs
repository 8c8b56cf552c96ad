//! What the broker's process does so that values do not leave its memory by the back door: no core dumps, no ptrace by others of
//! the same user, no swap where the limit allows. Each layer is reported as enforced or absent.

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use serde::{Deserialize, Serialize};

/// One layer and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What it is.
    pub name: String,
    /// Whether it is enforced.
    pub enforced: bool,
    /// Why not, and the remedy; empty where it is.
    pub detail: String,
}

/// Hardens the calling process.
pub fn harden() -> Vec<Layer> {
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| error.to_string());
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    let core = setrlimit(Resource::Core, no_core).map_err(|error| error.to_string());
    // With a limit, locking all that is allocated later would make allocations fail instead.
    let locked = match getrlimit(Resource::Memlock).current {
        None => rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
            .map_err(|error| error.to_string()),
        Some(_) => Err("locked memory is limited: set LimitMEMLOCK=infinity, or encrypt the swap".to_owned()),
    };
    let layer = |name: &str, result: Result<(), String>| Layer {
        name: name.into(),
        enforced: result.is_ok(),
        detail: result.err().unwrap_or_default(),
    };
    vec![
        layer("not dumpable (PR_SET_DUMPABLE)", dumpable),
        layer("no core dumps (RLIMIT_CORE)", core),
        layer("memory locked (mlockall)", locked),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nextest runs each test in a process of its own, so this one's limits end with it.
    #[test]
    fn the_process_cannot_be_dumped() {
        let layers = harden();
        assert!(layers[0].enforced && layers[1].enforced);
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
