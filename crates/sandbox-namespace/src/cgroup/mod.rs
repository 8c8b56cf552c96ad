//! Cgroups of sandboxes: limits of memory, processes and CPU, where this process may make them.
//!
//! Making one is slow now and then, so a few are made ahead of need. Their names carry the owner's process id and start
//! time, so that what a killed worker left behind is recognised and removed by the next.

mod find;
mod limits;
mod names;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use protocol::frame::LayerReport;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::Pid;

use self::limits::{Hierarchy, settings};
use self::names::{Owner, sweep};
use crate::wire::Limits;

/// Cgroups that are made ahead.
const AHEAD: usize = 8;

/// All that is needed to make cgroups; of no effect where that is not possible.
pub(crate) struct Cgroups {
    /// Empty where cgroups cannot be made.
    hierarchies: Vec<(Hierarchy, OwnedFd)>,
    owner: Owner,
    made: u64,
    ahead: VecDeque<Cgroup>,
}

/// A cgroup of one sandbox, by its name below the owner's own.
pub(crate) struct Cgroup {
    name: String,
}

impl Cgroups {
    /// Finds out what this process may do, and removes what dead owners left.
    pub(crate) fn find() -> (Self, LayerReport) {
        let owner = Owner::this_process();
        let (hierarchies, report) = find::find(&owner);
        for (_, folder) in &hierarchies {
            sweep(folder.as_fd());
        }
        (Self { hierarchies, owner, made: 0, ahead: VecDeque::new() }, report)
    }

    /// Whether one more should be made while there is time.
    pub(crate) fn wants_more(&self) -> bool {
        !self.hierarchies.is_empty() && self.ahead.len() < AHEAD
    }

    /// Makes one ahead.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        let cgroup = self.make()?;
        self.ahead.push_back(cgroup);
        Ok(())
    }

    /// A cgroup with these limits; `None` where there are no cgroups.
    pub(crate) fn take(&mut self, limits: &Limits) -> io::Result<Option<Cgroup>> {
        if self.hierarchies.is_empty() {
            return Ok(None);
        }
        let cgroup = match self.ahead.pop_front() {
            Some(cgroup) => cgroup,
            None => self.make()?,
        };
        for (hierarchy, folder) in &self.hierarchies {
            for setting in settings(*hierarchy, limits) {
                let written = write(folder, &cgroup.name, setting.file, &setting.value);
                if setting.required {
                    written?;
                }
            }
        }
        Ok(Some(cgroup))
    }

    /// Moves a process into a cgroup.
    pub(crate) fn place(&self, cgroup: &Cgroup, pid: Pid) -> io::Result<()> {
        for (_, folder) in &self.hierarchies {
            write(folder, &cgroup.name, "cgroup.procs", &pid.as_raw_nonzero().to_string())?;
        }
        Ok(())
    }

    /// Removes a cgroup whose processes are gone; `false` where the kernel still holds some, so try again.
    pub(crate) fn remove(&self, cgroup: &Cgroup) -> bool {
        let mut gone = true;
        for (_, folder) in &self.hierarchies {
            match rustix::fs::unlinkat(folder, cgroup.name.as_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(_) => gone = false,
            }
        }
        gone
    }

    /// Removes those that were made ahead.
    pub(crate) fn clear(&mut self) {
        for cgroup in std::mem::take(&mut self.ahead) {
            self.remove(&cgroup);
        }
    }

    fn make(&mut self) -> io::Result<Cgroup> {
        self.made += 1;
        let cgroup = Cgroup { name: self.owner.name(self.made) };
        for (_, folder) in &self.hierarchies {
            if let Err(error) = rustix::fs::mkdirat(folder, cgroup.name.as_str(), Mode::from_raw_mode(0o755))
            {
                self.remove(&cgroup);
                return Err(error.into());
            }
        }
        Ok(cgroup)
    }
}

fn write(folder: &OwnedFd, cgroup: &str, file: &str, text: &str) -> io::Result<()> {
    let path = format!("{cgroup}/{file}");
    let file = rustix::fs::openat(folder, path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("failed to write {text} to {path}: {error}"))
    })?;
    Ok(())
}
