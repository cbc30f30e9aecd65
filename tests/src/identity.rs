//! The name of a lab, by which its traces can be found and told to be a dead lab's.
//!
//! Called by [`crate::lab`] and [`crate::leftovers`].

use std::{
    fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

const PREFIX: &str = "sluice-lab";

/// Names one lab among all that run on this machine, and the process it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pid: u32,
    /// When the process started, in clock ticks since boot: pids are reused, pairs are not.
    started: u64,
    number: u32,
}

impl Identity {
    /// A new lab of this process.
    pub(crate) fn next() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let pid = process::id();
        let started = start_time(pid).context("/proc/self/stat tells no start time")?;
        Ok(Self { pid, started, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    /// From the name of a directory or cgroup; `None` when that is no lab's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split('-');
        let identity = Self {
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(identity)
    }

    /// The name of the lab's directory and of its cgroup.
    pub(crate) fn name(&self) -> String {
        format!("{PREFIX}-{}-{}-{}", self.pid, self.started, self.number)
    }

    /// Whether the process that made the lab still runs.
    pub(crate) fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Where every lab's directory is.
    pub(crate) fn parent_directory() -> PathBuf {
        std::env::temp_dir()
    }

    /// The lab's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        Self::parent_directory().join(self.name())
    }
}

/// Field 22 of `/proc/<pid>/stat`, counted behind the command's name, which may hold anything.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn a_name_leads_back_to_its_identity() {
        let identity = Identity::next().unwrap();
        assert_eq!(Identity::parse(&identity.name()), Some(identity));
    }

    #[test]
    fn other_names_are_no_labs() {
        for name in ["sluice-lab", "sluice-lab-1-2", "sluice-lab-1-2-3-4", "sluice-lab-a-2-3", "x"]
        {
            assert_eq!(Identity::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_pid_that_was_reused_is_not_the_process_it_was() {
        let identity = Identity::next().unwrap();
        assert!(identity.is_alive());
        assert!(!Identity { started: identity.started + 1, ..identity }.is_alive());
    }
}
