//! cgroup v2, mounted where a container can find it whatever the host looks like: unified, hybrid,
//! or with cgroup v1 alone.
//!
//! There is one hierarchy, however often it is mounted: programs that are attached to its root by
//! one path are attached to it by all. Called by [`crate::cli::mount`]; the agent mounts no cgroup
//! (see [`crate::host::cgroup`]).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::statfs,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{
    bpffs::SOURCE,
    cgroup::CGROUP2_MAGIC,
    mountinfo::{self, Mount},
};

/// A mount that could not be made or taken away.
#[derive(Debug, thiserror::Error)]
#[error("--cgroup-root {}: {call}: {source}", path.display())]
pub struct CgroupMountError {
    path: PathBuf,
    call: &'static str,
    source: io::Error,
}

/// Mounts cgroup v2 at `at`, unless it is there. Whether it had to.
///
/// # Errors
/// See [`CgroupMountError`].
pub fn ensure(at: &Path) -> Result<bool, CgroupMountError> {
    if is_cgroup2(at) {
        return Ok(false);
    }
    let failed = |call| move |source| CgroupMountError { path: at.into(), call, source };
    fs::create_dir_all(at).map_err(failed("mkdir"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(SOURCE, at, "cgroup2", flags, None).map_err(|error| failed("mount")(error.into()))?;
    Ok(true)
}

/// Takes away what [`ensure`] has mounted at `at`, and the directory. Whether it was there: a mount
/// that somebody else made stays.
///
/// # Errors
/// See [`CgroupMountError`].
pub fn undo(at: &Path) -> Result<bool, CgroupMountError> {
    let failed = |call| move |source| CgroupMountError { path: at.into(), call, source };
    let ours = |mount: &Mount| {
        mount.kind == "cgroup2" && mount.source == SOURCE && mount.mount_point == at
    };
    if !mountinfo::read().map_err(failed("looking for the mount"))?.iter().any(ours) {
        return Ok(false);
    }
    unmount(at, UnmountFlags::NOFOLLOW).map_err(|error| failed("umount")(error.into()))?;
    fs::remove_dir(at).map_err(failed("rmdir"))?;
    Ok(true)
}

fn is_cgroup2(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|t| t == CGROUP2_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::{ensure, undo};

    #[test]
    fn what_somebody_else_mounted_stays() {
        assert!(!undo("/proc".as_ref()).unwrap());
        let directory = tempfile::tempdir().unwrap();
        assert!(!undo(directory.path()).unwrap());
        assert!(directory.path().exists());
    }

    #[test]
    fn a_place_that_can_not_be_is_named() {
        let error = ensure("/proc/nothing/cgroup".as_ref()).unwrap_err().to_string();
        assert!(error.starts_with("--cgroup-root /proc/nothing/cgroup: mkdir:"), "{error}");
    }
}
