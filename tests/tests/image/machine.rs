//! A machine for containers: a node of the lab with mounts of its own, on which neither bpffs nor
//! cgroup v2 is where the agent looks for them.
//!
//! A process stands for the host's process 1: containers are started in its mount and cgroup
//! namespaces, and the chart's init container enters them from inside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{Lab, Node, Process};

/// A fresh `/sys`, as in a container or after boot; cgroup v2 where container runtimes look for it.
const BOOT: &str = "echo 0 > \"$1/cgroup.procs\" && exec unshare --mount --cgroup --propagation private sh -c '\
    mount -t sysfs sysfs /sys && mount -t cgroup2 cgroup2 /sys/fs/cgroup && echo up && exec sleep infinity'";

pub(crate) struct Machine<'a> {
    pub(crate) node: &'a Node,
    init: Process,
    directory: PathBuf,
}

impl<'a> Machine<'a> {
    pub(crate) fn boot(lab: &Lab, node: &'a Node) -> Result<Self> {
        let directory = lab.directory().join("machine");
        fs::create_dir_all(&directory)?;
        let mut command = node.command("sh")?;
        command.args(["-c", BOOT, "boot"]).arg(node.cgroup().path());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut init = Process::start("process 1", &mut command)?;
        let said = init.lines().next(Duration::from_secs(10))?;
        ensure!(said.trim() == "up", "{said}");
        Ok(Self { node, init, directory })
    }

    /// A directory for what belongs to the machine.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The namespaces of process 1.
    pub(crate) fn namespaces(&self) -> PathBuf {
        format!("/proc/{}/ns", self.init.pid()).into()
    }

    /// A program on the machine, outside of containers.
    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        let mut command = self.node.command("nsenter")?;
        command.args([&format!("--target={}", self.init.pid()), "--mount", "--cgroup", "--"]);
        command.arg(program);
        Ok(command)
    }

    /// runc, with its state on this machine.
    pub(crate) fn runc(&self) -> Result<Command> {
        let mut command = self.command("runc")?;
        command.arg("--root").arg(self.directory.join("runc"));
        Ok(command)
    }

    /// What `program` prints.
    pub(crate) fn text(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program)?.args(arguments).output().context(program.to_owned())?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}
