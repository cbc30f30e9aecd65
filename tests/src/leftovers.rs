//! What a lab leaves behind when its process is killed: a directory, a bpffs mount with pins, and
//! cgroups. Removes it, for one lab or for every lab whose process is dead.
//!
//! Namespaces and processes need no such help: they end with the process that made them. Called by
//! [`crate::lab`] at both ends of a lab's life, and by its janitor.

use std::{fs, io};

use anyhow::{Context as _, Result};
use rustix::mount::{UnmountFlags, unmount};

use crate::{Cgroup, identity::Identity};

/// Where a lab mounts bpffs, below its directory.
pub(crate) const BPFFS: &str = "bpf";

/// Removes what dead labs left on this machine.
pub fn remove_leftovers() -> Result<()> {
    let mut names = Vec::new();
    for directory in fs::read_dir(Identity::parent_directory())? {
        names.push(directory?.file_name());
    }
    for cgroup in Cgroup::root()?.children()? {
        names.extend(cgroup.path().file_name().map(ToOwned::to_owned));
    }
    for name in names {
        let Some(identity) = name.to_str().and_then(Identity::parse) else { continue };
        if !identity.is_alive() {
            remove(&identity)?;
        }
    }
    Ok(())
}

/// Removes all traces of the lab: processes, cgroups, the bpffs mount, the directory. Every step is
/// tried; the first error is returned.
pub(crate) fn remove(identity: &Identity) -> Result<()> {
    let cgroup = Cgroup::root()?.below(&identity.name());
    let killed = cgroup.kill();
    let directory = identity.directory();
    let bpffs = directory.join(BPFFS);
    let unmounted = match unmount(&bpffs, UnmountFlags::DETACH) {
        // Not there, or not a mount point.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => Err(error).context(format!("cannot unmount {}", bpffs.display())),
    };
    let removed = match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    };
    killed.and(cgroup.remove()).and(unmounted).and(removed)
}
