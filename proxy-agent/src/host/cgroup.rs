//! The root of the cgroup v2 hierarchy: the socket path is attached there.
//!
//! Called by [`crate::agent`]. Finds, never mounts: where cgroup v2 isn't mounted, an
//! administrator decided so.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{fstat, fstatfs, statfs};

use super::mountinfo::{self, Mount};

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
pub(super) const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Why there is no cgroup to attach to.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// `/proc/self/mountinfo` can't be read.
    #[error("/proc/self/mountinfo: {0}: mount /proc, or give --cgroup-root")]
    Mounts(#[source] io::Error),
    /// No cgroup v2 mount is visible.
    #[error(
        "no cgroup v2 is mounted: mount it (`mount -t cgroup2 none DIRECTORY`) and give \
         --cgroup-root DIRECTORY, or do without the socket path: --socket-lb-tcp off \
         --socket-lb-udp off"
    )]
    NotMounted,
    /// `ip netns exec` hides it.
    #[error(
        "`ip netns exec {netns}` hides the cgroup v2 mount (and bpffs): start the agent by `nsenter \
         --net=/run/netns/{netns}` instead, or give --cgroup-root, or do without the socket path: \
         --socket-lb-tcp off --socket-lb-udp off"
    )]
    Hidden {
        /// The network namespace.
        netns: String,
    },
    /// `--cgroup-root` can't be opened.
    #[error("--cgroup-root {}: {source}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What open(2) said.
        source: io::Error,
    },
    /// `--cgroup-root` is a directory of another file system.
    #[error(
        "--cgroup-root {}: not a cgroup v2 directory: give the root of the hierarchy, or a cgroup \
         whose processes alone are to be served",
        path.display()
    )]
    NotCgroup2 {
        /// The directory.
        path: PathBuf,
    },
}

/// The cgroup v2 mount that `mounts` show: the one of the whole hierarchy if there is one, and of
/// several the one mounted last, which is the one that is seen.
#[must_use]
pub fn choose(mounts: &[Mount]) -> Option<&Path> {
    let cgroup2 = || mounts.iter().rev().filter(|mount| mount.kind == "cgroup2");
    cgroup2()
        .find(|mount| mount.root == Path::new("/"))
        .or_else(|| cgroup2().next())
        .map(|mount| mount.mount_point.as_path())
}

/// Where the cgroup v2 hierarchy is mounted.
///
/// # Errors
/// See [`CgroupError`].
pub fn find() -> Result<PathBuf, CgroupError> {
    let mounts = mountinfo::read().map_err(CgroupError::Mounts)?;
    let mut seen = mounts.clone();
    seen.retain(|mount| {
        statfs(&mount.mount_point)
            .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|t| t == CGROUP2_MAGIC))
    });
    match (choose(&seen), mountinfo::netns_exec(&mounts)) {
        (Some(path), _) => Ok(path.into()),
        (None, Some(netns)) => Err(CgroupError::Hidden { netns: netns.into() }),
        (None, None) => Err(CgroupError::NotMounted),
    }
}

/// Opens `path`, which must be a cgroup v2 directory.
///
/// # Errors
/// See [`CgroupError`].
pub fn open(path: &Path) -> Result<OwnedFd, CgroupError> {
    let directory =
        File::open(path).map_err(|source| CgroupError::Open { path: path.into(), source })?;
    let stat = fstatfs(&directory)
        .map_err(|error| CgroupError::Open { path: path.into(), source: error.into() })?;
    if u64::try_from(stat.f_type).is_ok_and(|kind| kind == CGROUP2_MAGIC) {
        Ok(directory.into())
    } else {
        Err(CgroupError::NotCgroup2 { path: path.into() })
    }
}

/// Whether an open cgroup is the root of the hierarchy, which every process is below.
#[must_use]
pub fn is_root(cgroup: &OwnedFd) -> bool {
    // The root has the inode number 1 (kernfs), wherever it is mounted.
    fstat(cgroup).is_ok_and(|stat| stat.st_ino == 1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{choose, open};
    use crate::host::mountinfo::parse;

    #[test]
    fn the_hierarchy_is_found_on_unified_and_on_hybrid_hosts() {
        let unified = parse(b"31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!(choose(&unified), Some(Path::new("/sys/fs/cgroup")));
        let hybrid = parse(
            b"31 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
              32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
              43 31 0:39 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(choose(&hybrid), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(choose(&parse(b"24 30 0:22 / /sys rw - sysfs sysfs rw\n")), None);
    }

    #[test]
    fn the_whole_hierarchy_is_preferred_to_a_part_of_it() {
        let mounts = parse(
            b"43 31 0:39 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
              44 31 0:39 /kubepods /mnt/part rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(choose(&mounts), Some(Path::new("/sys/fs/cgroup")));
    }

    #[test]
    fn a_directory_that_is_no_cgroup_is_refused_by_name() {
        let error = open(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("--cgroup-root /proc"), "{error}");
    }
}
