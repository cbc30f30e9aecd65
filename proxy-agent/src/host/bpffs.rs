//! The BPF file system that pins live on: mounted where it is missing.
//!
//! # Where
//! - The pin path, or the nearest directory above it that exists, is on a bpffs: nothing to do.
//! - The pin path is under `/sys/fs/bpf`: bpffs is mounted at `/sys/fs/bpf`, as systemd would have
//!   done. It stays when Sluice goes, others may use it.
//! - The pin path is elsewhere: it is made as a directory, and bpffs is mounted *on it*, not on its
//!   parent, so that nothing that is there gets hidden. `sluice cleanup` takes this one away; it
//!   knows it by its source, [`SOURCE`].
//!
//! Called by [`crate::agent`] and [`crate::datapath::cleanup`].

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock, statfs},
    mount::{MountFlags, UnmountFlags, mount},
};

use super::mountinfo::{self, Mount};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Where the machine's own bpffs is.
const SYSTEM: &str = "/sys/fs/bpf";
/// The mount source that marks a bpffs as ours.
pub const SOURCE: &str = "sluice";

/// Why there is nowhere to pin.
#[derive(Debug, thiserror::Error)]
pub enum BpffsError {
    /// A directory could not be made.
    #[error("--pin-path {}: making {}: {source}", pin_path.display(), directory.display())]
    Directory {
        /// The pin path.
        pin_path: PathBuf,
        /// What could not be made.
        directory: PathBuf,
        /// What mkdir(2) said.
        source: io::Error,
    },
    /// bpffs could not be mounted.
    #[error(
        "--pin-path {}: mounting bpffs at {}: {source}: run as root with CAP_SYS_ADMIN, or mount \
         it beforehand (`mount -t bpf bpf {}`)",
        pin_path.display(), at.display(), at.display()
    )]
    Mount {
        /// The pin path.
        pin_path: PathBuf,
        /// Where bpffs belongs.
        at: PathBuf,
        /// What mount(2) said.
        source: io::Error,
    },
    /// bpffs reserves dots for itself.
    #[error(
        "--pin-path {}: the BPF file system allows no dot in a name: choose a path without one",
        .0.display()
    )]
    Dot(PathBuf),
    /// The path doesn't start at the root.
    #[error("--pin-path {}: not an absolute path: give one that starts with /", .0.display())]
    Relative(PathBuf),
}

/// What [`ensure`] had to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A bpffs was there.
    Present,
    /// A bpffs was mounted here.
    Mounted {
        /// The mount point.
        at: PathBuf,
        /// This process has a mount namespace of its own: the mount, and every pin on it, goes
        /// when the last process of the namespace ends.
        private: bool,
    },
}

/// Where [`ensure`] would have to mount a bpffs; `None` if there is one.
#[must_use]
pub fn place(pin_path: &Path) -> Option<PathBuf> {
    (!is_bpffs(existing_ancestor(pin_path))).then(|| at(pin_path).to_owned())
}

/// Where a bpffs for `pin_path` belongs.
fn at(pin_path: &Path) -> &Path {
    if pin_path.starts_with(SYSTEM) { Path::new(SYSTEM) } else { pin_path }
}

/// Makes sure that `pin_path` can be made on a bpffs, mounting one if there is none.
///
/// # Errors
/// See [`BpffsError`].
pub fn ensure(pin_path: &Path) -> Result<Outcome, BpffsError> {
    if !pin_path.is_absolute() {
        return Err(BpffsError::Relative(pin_path.into()));
    }
    if is_bpffs(existing_ancestor(pin_path)) {
        return Ok(Outcome::Present);
    }
    let at = at(pin_path);
    fs::create_dir_all(at).map_err(|source| BpffsError::Directory {
        pin_path: pin_path.into(),
        directory: at.into(),
        source,
    })?;
    let failed =
        |source: io::Error| BpffsError::Mount { pin_path: pin_path.into(), at: at.into(), source };
    // Two agents that start at once must not mount on top of each other: the one that comes second
    // waits here, and finds the bpffs when it looks again.
    let directory = File::open(at).map_err(failed)?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    if is_bpffs(at) {
        return Ok(Outcome::Present);
    }
    mount(SOURCE, at, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .map_err(|error| failed(error.into()))?;
    Ok(Outcome::Mounted { at: at.into(), private: has_own_mount_namespace() })
}

/// Makes `pin_path` and the directories above it, on the bpffs that [`ensure`] left.
///
/// # Errors
/// See [`BpffsError`].
pub fn make_directory(pin_path: &Path) -> Result<(), BpffsError> {
    fs::create_dir_all(pin_path).map_err(|source| {
        let on_bpffs = is_bpffs(existing_ancestor(pin_path));
        // kernel: bpf_lookup() refuses to create names with a dot.
        if on_bpffs && pin_path.to_string_lossy().contains('.') {
            BpffsError::Dot(pin_path.into())
        } else {
            let directory = pin_path.into();
            BpffsError::Directory { pin_path: pin_path.into(), directory, source }
        }
    })
}

/// Whether `path` exists and lies on a bpffs.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|t| t == BPF_FS_MAGIC))
}

/// Whether [`ensure`] mounted the bpffs on `pin_path`.
///
/// # Errors
/// When mountinfo can't be read.
pub fn is_own(pin_path: &Path) -> io::Result<bool> {
    let ours = |mount: &Mount| {
        mount.kind == "bpf" && mount.source == SOURCE && mount.mount_point == pin_path
    };
    Ok(pin_path != Path::new(SYSTEM) && mountinfo::read()?.iter().any(ours))
}

/// Unmounts what is mounted on `pin_path`.
///
/// # Errors
/// What umount(2) said.
pub fn unmount(pin_path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(pin_path, UnmountFlags::empty())?)
}

/// `path`, or the nearest directory above it that exists.
fn existing_ancestor(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

fn has_own_mount_namespace() -> bool {
    let own = fs::read_link("/proc/self/ns/mnt");
    // Not everybody may look at process 1.
    let init = fs::read_link("/proc/1/ns/mnt");
    matches!((own, init), (Ok(own), Ok(init)) if own != init)
        || mountinfo::read().is_ok_and(|mounts| mountinfo::netns_exec(&mounts).is_some())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{BpffsError, ensure, existing_ancestor};

    #[test]
    fn the_nearest_directory_that_exists_is_asked() {
        assert_eq!(
            existing_ancestor(Path::new("/proc/self/nothing/here")),
            Path::new("/proc/self")
        );
    }

    #[test]
    fn a_relative_pin_path_is_refused_before_anything_is_made() {
        let error = ensure(Path::new("pins")).unwrap_err();
        assert!(matches!(error, BpffsError::Relative(_)));
        assert!(error.to_string().contains("--pin-path pins"));
    }
}
