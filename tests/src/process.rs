//! Processes inside the lab: entered into a namespace and a cgroup, and gone with the harness.
//!
//! `ip netns exec` is not used: it remounts `/sys`, which hides the cgroup hierarchy and bpffs from
//! an agent. Here only the network namespace changes. Called by [`crate::host`].

use std::{
    fmt,
    io::Read as _,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, ChildStdout, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process, set_parent_process_death_signal},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{Cgroup, NetNs};

/// Makes `command` start in `namespace`.
pub(crate) fn enter_namespace(command: &mut Command, namespace: &NetNs) -> Result<()> {
    let namespace = namespace.descriptor()?;
    // SAFETY: between fork and exec the closure makes system calls only, on a descriptor it owns;
    // it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        });
    }
    Ok(())
}

/// Makes `command` start in `cgroup`.
pub(crate) fn enter_cgroup(command: &mut Command, cgroup: &Cgroup) -> Result<()> {
    let door = cgroup.door()?;
    // SAFETY: as above.
    unsafe {
        command.pre_exec(move || {
            rustix::io::write(&door, b"0")?;
            Ok(())
        });
    }
    Ok(())
}

/// A running process; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`, in a process group of its own so that Ctrl-C reaches the harness alone.
    ///
    /// Concurrency: the kernel kills the process when the *thread* that started it ends, which is
    /// what a test that panics wants. So who keeps a process keeps the thread.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program(command)))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input, once.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("stdin was piped and not yet taken")
    }

    /// The lines of its standard output, once.
    pub fn lines(&mut self) -> Lines {
        let stdout = self.child.stdout.take().expect("stdout was piped and not yet taken");
        Lines { name: self.name.clone(), stdout, buffer: Vec::new() }
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits until it ends.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                bail!("{} still runs after {patience:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid())
    }
}

/// The lines a process prints, each waited for with a limit.
#[derive(Debug)]
pub struct Lines {
    name: String,
    stdout: ChildStdout,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line, without its end.
    pub fn next(&mut self, patience: Duration) -> Result<String> {
        let start = Instant::now();
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.truncate(end);
                return String::from_utf8(line).context("a line is not UTF-8");
            }
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                bail!("{} printed no line within {patience:?}", self.name);
            };
            let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
            poll(&mut ready, Some(&Timespec::try_from(left)?))?;
            if ready[0].revents().is_empty() {
                continue;
            }
            let mut chunk = [0; 4096];
            let length = self.stdout.read(&mut chunk)?;
            if length == 0 {
                bail!("{} ended without the line that was waited for", self.name);
            }
            self.buffer.extend_from_slice(&chunk[..length]);
        }
    }
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
