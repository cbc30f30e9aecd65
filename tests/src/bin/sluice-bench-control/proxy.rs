//! The proxies: how each is started, what it takes, and how what it leaves is taken away.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use lab::{
    Agent, AgentFlags, Cgroup, Node,
    control_plane::{ControlPlane, KubeProxy},
    page::page,
};
use serde::Serialize;

use crate::world::World;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Sluice
    Sluice,
    /// kube-proxy in nftables mode
    Nftables,
    /// kube-proxy in iptables mode, as the system's iptables are
    Iptables,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sluice => "Sluice",
            Self::Nftables => "kube-proxy nftables",
            Self::Iptables => "kube-proxy iptables",
        })
    }
}

/// A proxy that has taken no more of the CPU than this in a period is idle.
const IDLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(5));
/// A sync of kube-proxy may take minutes.
const PATIENCE: Duration = Duration::from_secs(900);

enum Process {
    Agent(Box<Agent>),
    KubeProxy(KubeProxy),
}

/// A running proxy.
pub(crate) struct Running {
    pub(crate) kind: Kind,
    pub(crate) started: Instant,
    cgroup: Cgroup,
    cpu_before: Duration,
    process: Process,
}

impl Kind {
    /// The name of its node.
    pub(crate) fn node(self) -> &'static str {
        match self {
            Self::Sluice => "sluice",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// Starts it.
    pub(crate) fn start(self, world: &World) -> Result<Running> {
        let node = &world.place(self)?.node;
        let agent = match self {
            Self::Sluice => Some(AgentFlags::new().kubeconfig(world.plane.agent()?)),
            Self::Nftables | Self::Iptables => None,
        };
        let cgroup = node.processes().clone();
        let cpu_before = cgroup.cpu_time()?;
        let started = Instant::now();
        let process = match agent {
            Some(flags) => Process::Agent(Box::new(Agent::launch(&world.sluice, node, &flags)?)),
            None => {
                let path = world.peer_path.as_deref();
                let proxy = world.plane.serve_by_kube_proxy(node, self.node(), path)?;
                Process::KubeProxy(proxy)
            }
        };
        Ok(Running { kind: self, started, cgroup, cpu_before, process })
    }

    /// Takes away what it leaves when it has ended.
    pub(crate) fn clean_up(self, world: &World, node: &Node) -> Result<()> {
        let mut command = match self {
            Self::Sluice => {
                let mut command = node.command(world.sluice.program())?;
                command.arg("cleanup").arg("--pin-path").arg(node.pin_path());
                command
            }
            Self::Nftables | Self::Iptables => {
                let mut command = node.command(ControlPlane::kube_proxy_program()?)?;
                command.arg("--cleanup").env("PATH", searched(world.peer_path.as_deref())?);
                command
            }
        };
        let output = command.output().context("cleaning up")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cleaning up after {self}: {said}");
        Ok(())
    }
}

/// Where programs are looked for.
pub(crate) fn searched(first: Option<&Path>) -> Result<std::ffi::OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let first: Option<PathBuf> = first.map(Path::to_owned);
    Ok(env::join_paths(first.into_iter().chain(env::split_paths(&rest)))?)
}

/// What a program says of its version.
pub(crate) fn version(program: &str, path: Option<&Path>) -> String {
    let output = searched(path).ok().and_then(|path| {
        Command::new("env").env("PATH", path).args([program, "--version"]).output().ok()
    });
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.and_then(|text| Some(text.lines().next()?.trim().to_owned())).unwrap_or_default()
}

impl Running {
    /// CPU time that it and the programs that it ran have taken since it was started.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(self.cgroup.cpu_time()?.saturating_sub(self.cpu_before))
    }

    /// Waits until it has nothing to do.
    pub(crate) fn until_idle(&self) -> Result<()> {
        let mut before = self.cpu()?;
        loop {
            thread::sleep(IDLE.0);
            let now = self.cpu()?;
            if now.saturating_sub(before) <= IDLE.1 {
                return Ok(());
            }
            if self.started.elapsed() > PATIENCE {
                bail!("{} is never idle", self.kind);
            }
            before = now;
        }
    }

    /// Resident memory in MiB: now, and at most so far.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let pid = match &self.process {
            Process::Agent(agent) => agent.pid(),
            Process::KubeProxy(proxy) => proxy.pid(),
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no memory")?;
            Ok(kib.trim().parse::<f64>()? / 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Waits until it says that everything is in place, if it says such things.
    pub(crate) fn until_ready(&mut self) -> Result<Option<Duration>> {
        match &mut self.process {
            Process::Agent(agent) => {
                agent.wait_until_ready()?;
                Ok(Some(self.started.elapsed()))
            }
            Process::KubeProxy(_) => Ok(None),
        }
    }

    /// Series of its metrics by their names; none where it has none of ours.
    pub(crate) fn metrics<const N: usize>(
        &self,
        world: &World,
        series: [&str; N],
    ) -> Result<Option<[f64; N]>> {
        if self.kind != Kind::Sluice {
            return Ok(None);
        }
        let node = &world.place(self.kind)?.node;
        let page = page(node, "127.0.0.1:10249", "/metrics")?;
        let mut values = [0.0; N];
        for (value, series) in values.iter_mut().zip(series) {
            let line =
                page.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            *value = line.with_context(|| format!("no {series}"))?.parse()?;
        }
        Ok(Some(values))
    }

    /// What the agent says on its command line.
    pub(crate) fn services(&self, node: &Node) -> Result<Option<serde_json::Value>> {
        match &self.process {
            Process::Agent(agent) => Ok(Some(agent.json(node, &["services"])?)),
            Process::KubeProxy(_) => Ok(None),
        }
    }

    /// Ends it, by force: what it leaves is taken away by others.
    pub(crate) fn end(self) -> Result<()> {
        match self.process {
            Process::Agent(agent) => agent.kill(),
            Process::KubeProxy(mut proxy) => match proxy.status()? {
                Some(status) => bail!("{} ended with {status}:\n{}", self.kind, proxy.log()?),
                None => Ok(()),
            },
        }
    }
}
