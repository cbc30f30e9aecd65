//! Entering the host's namespaces from inside a container, for `sluice mount`.
//!
//! A mount that is made in a container's mount namespace stays there, unless the container is
//! privileged. So it is made in the namespace of the host's process 1. Called by
//! [`crate::cli::mount`]; the agent itself never changes its namespaces.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Why the host's namespaces can't be entered.
#[derive(Debug, thiserror::Error)]
#[error(
    "--namespaces: {}: {call}: {source}: give the directory /proc/1/ns of the host, and the \
     capabilities SYS_ADMIN, SYS_CHROOT and SYS_PTRACE",
    path.display()
)]
pub struct NamespaceError {
    /// The link of the namespace.
    path: PathBuf,
    /// What was tried.
    call: &'static str,
    /// What the kernel said.
    source: io::Error,
}

/// Moves this process into the cgroup and the mount namespace that `directory` (`/proc/PID/ns`) has
/// links to: paths are the host's from then on, and so is the root of a cgroup v2 that is mounted.
/// Only for a process with a single thread.
///
/// # Errors
/// See [`NamespaceError`].
pub fn enter(directory: &Path) -> Result<(), NamespaceError> {
    // The links have to be opened first: `directory` is not there any more in the other namespace.
    let cgroup = Link::open(directory.join("cgroup"), LinkNameSpaceType::ControlGroup)?;
    let mount = Link::open(directory.join("mnt"), LinkNameSpaceType::Mount)?;
    cgroup.enter()?;
    mount.enter()
}

struct Link {
    path: PathBuf,
    kind: LinkNameSpaceType,
    file: File,
}

impl Link {
    fn open(path: PathBuf, kind: LinkNameSpaceType) -> Result<Self, NamespaceError> {
        match File::open(&path) {
            Ok(file) => Ok(Self { path, kind, file }),
            Err(source) => Err(NamespaceError { path, call: "open", source }),
        }
    }

    fn enter(self) -> Result<(), NamespaceError> {
        move_into_link_name_space(self.file.as_fd(), Some(self.kind)).map_err(|error| {
            NamespaceError { path: self.path, call: "setns", source: error.into() }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::enter;

    #[test]
    fn a_directory_without_namespaces_is_refused_by_its_link() {
        let error = enter(Path::new("/proc/nothing")).unwrap_err().to_string();
        assert!(error.starts_with("--namespaces: /proc/nothing/cgroup: open:"), "{error}");
    }
}
