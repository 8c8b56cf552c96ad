//! Cgroups of sandboxes: limits of memory, processes and CPU, where this process may make them.
//!
//! A cgroup is a set of counters and holds nothing of a step, so an empty one serves the next sandbox: making, removing
//! and entering one take the kernel milliseconds now and then. Their names carry the owner's process id and start time,
//! so that what a killed worker left behind is recognised and removed by the next.

mod find;
mod limits;
mod names;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use protocol::frame::LayerReport;
use rustix::fs::{AtFlags, Mode, OFlags};

use self::limits::{Hierarchy, settings};
use self::names::{Owner, sweep};
use crate::wire::Limits;

/// Empty cgroups that are kept for the next sandboxes.
const MAX_SPARE: usize = 8;

/// All that is needed to make cgroups; of no effect where that is not possible.
pub(crate) struct Cgroups {
    /// Empty where cgroups cannot be made.
    hierarchies: Vec<(Hierarchy, OwnedFd)>,
    owner: Owner,
    made: u64,
    spare: Vec<Cgroup>,
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
        (Self { hierarchies, owner, made: 0, spare: Vec::new() }, report)
    }

    /// An empty cgroup without limits yet; `None` where there are no cgroups.
    pub(crate) fn take(&mut self) -> io::Result<Option<Cgroup>> {
        if self.hierarchies.is_empty() {
            return Ok(None);
        }
        match self.spare.pop() {
            Some(cgroup) => Ok(Some(cgroup)),
            None => self.make().map(Some),
        }
    }

    /// Files to which a process writes `0` to enter. It may be one that could not open them itself.
    pub(crate) fn entrances(&self, cgroup: &Cgroup) -> io::Result<Vec<OwnedFd>> {
        self.hierarchies.iter().map(|(_, folder)| open(folder, &cgroup.name, "cgroup.procs")).collect()
    }

    /// Sets the limits of a cgroup.
    pub(crate) fn limit(&self, cgroup: &Cgroup, limits: &Limits) -> io::Result<()> {
        for (hierarchy, folder) in &self.hierarchies {
            for setting in settings(*hierarchy, limits) {
                let written = write(folder, &cgroup.name, setting.file, &setting.value);
                if setting.required {
                    written?;
                }
            }
        }
        Ok(())
    }

    /// Takes a cgroup back whose processes are gone; gives it back where the kernel still holds some, so try again.
    pub(crate) fn release(&mut self, cgroup: Cgroup) -> Result<(), Cgroup> {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(cgroup);
            return Ok(());
        }
        if self.remove(&cgroup) { Ok(()) } else { Err(cgroup) }
    }

    /// Removes a cgroup; `false` where the kernel still holds processes in it.
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

    /// Removes those that are kept.
    pub(crate) fn clear(&mut self) {
        for cgroup in std::mem::take(&mut self.spare) {
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

fn open(folder: &OwnedFd, cgroup: &str, file: &str) -> io::Result<OwnedFd> {
    let path = format!("{cgroup}/{file}");
    Ok(rustix::fs::openat(folder, path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn write(folder: &OwnedFd, cgroup: &str, file: &str, text: &str) -> io::Result<()> {
    rustix::io::write(&open(folder, cgroup, file)?, text.as_bytes()).map_err(|error| {
        io::Error::new(
            io::Error::from(error).kind(),
            format!("failed to write {text} to {cgroup}/{file}: {error}"),
        )
    })?;
    Ok(())
}
