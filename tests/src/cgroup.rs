//! The lab's cgroups: one for the lab, one for each node, one for each pod and for the node's own
//! processes.
//!
//! No controller is enabled: they exist for the programs at the cgroup hooks, and so that all
//! processes of a lab can be killed at once. Called by [`crate::lab`], [`crate::host`] and
//! [`crate::leftovers`].

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A cgroup of the unified hierarchy.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The root of the unified hierarchy, wherever it is mounted.
    pub fn root() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount_point = mounts.lines().find_map(|line| {
            let (before, behind) = line.split_once(" - ")?;
            let is_cgroup2 = behind.split(' ').next()? == "cgroup2";
            is_cgroup2.then(|| before.split(' ').nth(4))?
        });
        match mount_point {
            Some(path) => Ok(Self { path: path.into() }),
            None => bail!(
                "no cgroup v2 hierarchy is mounted; try: mount -t cgroup2 none /sys/fs/cgroup"
            ),
        }
    }

    /// The cgroup `name` below this one, whether or not it exists.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self { path: self.path.join(name) }
    }

    /// Makes the cgroup `name` below this one.
    pub fn create(&self, name: &str) -> Result<Self> {
        let child = self.below(name);
        fs::create_dir(&child.path)
            .with_context(|| format!("cannot make the cgroup {}", child.path.display()))?;
        Ok(child)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a process writes `0` to move in.
    pub(crate) fn door(&self) -> Result<File> {
        let path = self.path.join("cgroup.procs");
        OpenOptions::new()
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))
    }

    /// CPU time that everything in it and below has taken, also what has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let path = self.path.join("cpu.stat");
        let stat = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let usage = usage.with_context(|| format!("{} has no usage_usec", path.display()))?;
        Ok(Duration::from_micros(usage.parse()?))
    }

    /// Pids of the processes in this cgroup and all below.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let listed = match fs::read_to_string(self.path.join("cgroup.procs")) {
            Ok(listed) => listed,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut pids = listed.lines().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        for child in self.children()? {
            pids.extend(child.processes()?);
        }
        Ok(pids)
    }

    /// Kills every process in this cgroup and below, and waits until they are gone.
    pub(crate) fn kill(&self) -> Result<()> {
        // kernel ≥ 5.14; before that each process is killed, and what it forks meanwhile in the next
        // round.
        let kill = self.path.join("cgroup.kill");
        let at_once = kill.exists();
        if at_once {
            match fs::write(&kill, "1") {
                Err(error) if is_gone(&error) => return Ok(()),
                other => other.with_context(|| format!("cannot kill {}", self.path.display()))?,
            }
        }
        let start = Instant::now();
        while !self.processes()?.is_empty() {
            if !at_once {
                self.kill_each()?;
            }
            if start.elapsed() > KILL_PATIENCE {
                bail!("processes {:?} in {} do not die", self.processes()?, self.path.display());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn kill_each(&self) -> Result<()> {
        for pid in self.processes()? {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(())
    }

    /// Removes the cgroup and all below it; nothing to do when it is gone already.
    pub(crate) fn remove(&self) -> Result<()> {
        for child in self.children()? {
            child.remove()?;
        }
        let start = Instant::now();
        loop {
            match fs::remove_dir(&self.path) {
                Ok(()) => return Ok(()),
                Err(error) if is_gone(&error) => return Ok(()),
                // The last process has left `cgroup.procs` and is not all gone yet.
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy
                        && start.elapsed() < KILL_PATIENCE =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => {
                    return Err(error).context(format!("cannot remove {}", self.path.display()));
                }
            }
        }
    }

    /// The cgroups directly below.
    pub(crate) fn children(&self) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut children = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                children.push(Self { path: entry.path() });
            }
        }
        Ok(children)
    }
}

/// Whether the cgroup isn't there: never was, or was removed while it was being read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
