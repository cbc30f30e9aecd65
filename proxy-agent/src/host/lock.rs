//! One agent a pin path: a lock on the directory that the pins are in, and who holds it.
//!
//! A bpffs holds no ordinary files, so the directory itself is locked (flock(2)); the kernel
//! releases it when the agent ends, however it ends. `/proc/locks` knows who has it.
//! Called by [`crate::agent`] and [`crate::cli`].

use std::{
    fmt, fs,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock, major, minor},
    io::Errno,
};

/// How often, and how long apart, the lock is tried: `sluice status` takes it for a moment to see
/// whether it is free, and must not keep an agent from starting.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The right to write under a pin path. Given up on drop.
#[derive(Debug)]
pub struct Lock {
    _directory: File,
}

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Holder {
    /// Its id; `None` when it is of another PID namespace.
    pub pid: Option<u32>,
    /// Its command line, as far as it can be read.
    pub command: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} (`{command}`)"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("a process of another PID namespace"),
        }
    }
}

/// Why the lock can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "--pin-path {}: in use by {holder}: end it first, or give another --pin-path", path.display()
    )]
    Held {
        /// The pin path.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The directory can't be opened or locked.
    #[error("--pin-path {}: {source}", path.display())]
    Io {
        /// The pin path.
        path: PathBuf,
        /// What open(2) or flock(2) said.
        source: io::Error,
    },
}

/// Takes the lock on `path`, a directory.
///
/// # Errors
/// See [`LockError`].
pub fn take(path: &Path) -> Result<Lock, LockError> {
    let failed = |source| LockError::Io { path: path.into(), source };
    let directory = File::open(path).map_err(failed)?;
    for attempt in 1.. {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if attempt < ATTEMPTS => thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held { path: path.into(), holder: find_holder(path) });
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    // `cleanup` may have taken the directory away while we waited for it.
    let (locked, there) =
        (directory.metadata().map_err(failed)?, fs::metadata(path).map_err(failed)?);
    if (locked.dev(), locked.ino()) != (there.dev(), there.ino()) {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(Lock { _directory: directory })
}

/// Who holds the lock on `path`, if anyone does.
///
/// # Errors
/// When `path` can't be opened or tried.
pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let directory = File::open(path)?;
    match flock(&directory, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(find_holder(path))),
        Err(error) => Err(error.into()),
    }
}

fn find_holder(path: &Path) -> Holder {
    let pid = fs::metadata(path).ok().zip(fs::read_to_string("/proc/locks").ok()).and_then(
        |(metadata, locks)| {
            let device = (major(metadata.dev()), minor(metadata.dev()));
            pid_in(&locks, device, metadata.ino())
        },
    );
    let command = pid
        .and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " "));
    Holder { pid, command }
}

/// The process that `/proc/locks` names for an exclusive flock on an inode.
fn pid_in(locks: &str, (major, minor): (u32, u32), inode: u64) -> Option<u32> {
    // 1: FLOCK  ADVISORY  WRITE 4711 00:1b:42 0 EOF
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "FLOCK", _, "WRITE", pid, at, ..] if *at == file => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{LockError, holder, pid_in, take};

    #[test]
    fn a_second_agent_is_told_who_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(holder(directory.path()).unwrap(), None);
        let lock = take(directory.path()).unwrap();
        let LockError::Held { holder: found, .. } = take(directory.path()).unwrap_err() else {
            panic!("held")
        };
        assert_eq!(found.pid, Some(std::process::id()));
        assert!(found.command.is_some());
        drop(lock);
        assert!(take(directory.path()).is_ok());
    }

    #[test]
    fn only_an_exclusive_flock_on_the_very_inode_counts() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 10 00:1b:42 0 EOF
2: FLOCK  ADVISORY  READ  11 00:1b:42 0 EOF
2: -> FLOCK  ADVISORY  WRITE 12 00:1b:42 0 EOF
3: FLOCK  ADVISORY  WRITE 13 00:1b:43 0 EOF
4: FLOCK  ADVISORY  WRITE 14 00:1b:42 0 EOF
";
        assert_eq!(pid_in(locks, (0, 0x1b), 42), Some(14));
        assert_eq!(pid_in(locks, (0, 0x1c), 42), None);
    }
}
