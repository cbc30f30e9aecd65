//! An agent on a node: `sluice agent` as an operator starts it, in the node's namespace and cgroup.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::{Node, Process, Sluice, WallClock};

/// Loading and verifying all programs takes part of a second; two CPUs may be busy with other labs.
const START_PATIENCE: Duration = Duration::from_secs(90);
/// How many times as long it may take on this machine: an emulated one, say.
const SLOWNESS: &str = "SLUICE_PATIENCE";
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How many lines of the log a failure shows.
const LOG_TAIL: usize = 40;

/// Flags of `sluice agent` that stories vary.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AgentFlags {
    arguments: Vec<String>,
    kubeconfig: Option<PathBuf>,
    environment: Vec<(String, PathBuf)>,
}

impl AgentFlags {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// `--socket-lb-tcp`: `off`, `host` or `all`.
    pub fn socket_lb_tcp(self, scope: &str) -> Self {
        self.with("--socket-lb-tcp", scope)
    }

    /// `--socket-lb-udp`: `off`, `host` or `all`.
    pub fn socket_lb_udp(self, scope: &str) -> Self {
        self.with("--socket-lb-udp", scope)
    }

    /// `--kubeconfig`, in place of the lab's manifests.
    pub fn kubeconfig(mut self, file: PathBuf) -> Self {
        self.kubeconfig = Some(file);
        self
    }

    /// It goes by this wall clock.
    pub fn wall_clock(mut self, clock: &WallClock) -> Self {
        self.environment.extend(clock.environment());
        self
    }

    /// `--checkpoint`, where objects come from an API server and the story says nothing else: nodes
    /// of one machine would share the default.
    fn checkpoint(&self, node: &Node) -> Vec<String> {
        let given = self.arguments.iter().any(|argument| argument == "--checkpoint");
        if given || self.kubeconfig.is_none() {
            return Vec::new();
        }
        let file = node.file("-api-servers.json").display().to_string();
        vec!["--checkpoint".to_owned(), file]
    }

    /// Another flag.
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }
}

/// A running agent. Dropping it kills it, which leaves the datapath at work.
pub struct Agent {
    sluice: Sluice,
    process: Process,
    log: PathBuf,
}

impl Agent {
    pub(crate) fn start(node: &Node, flags: &AgentFlags) -> Result<Self> {
        Self::start_by(&Sluice::of_workspace()?, node, flags)
    }

    /// Starts the agent of a given binary and waits until it serves.
    pub fn start_by(sluice: &Sluice, node: &Node, flags: &AgentFlags) -> Result<Self> {
        let mut agent = Self::launch(sluice, node, flags)?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Starts the agent of a given binary, and doesn't wait.
    pub fn launch(sluice: &Sluice, node: &Node, flags: &AgentFlags) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = node.file(&format!("-agent-{number}.log"));
        let output = File::create(&log)?;
        let mut command = node.command(sluice.program())?;
        let (source, place) = match &flags.kubeconfig {
            Some(kubeconfig) => ("--kubeconfig", kubeconfig.clone()),
            None => ("--manifests", node.manifests()),
        };
        command
            .args(["agent", "--node-name", node.name(), source])
            .arg(place)
            .arg("--pin-path")
            .arg(node.pin_path())
            .arg("--cgroup-root")
            .arg(node.cgroup().path())
            // Of each node its own. A flag that is given again would be refused.
            .args(flags.checkpoint(node))
            .args(&flags.arguments)
            .envs(flags.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let process = Process::start(&format!("agent of {}", node.name()), &mut command)?;
        Ok(Self { sluice: sluice.clone(), process, log })
    }

    /// Waits until the maps are in step with the manifests and programs are attached.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let times = std::env::var(SLOWNESS).ok().and_then(|times| times.parse().ok()).unwrap_or(1);
        self.wait_for_log(START_PATIENCE * times, |line| {
            line.split(|character: char| !character.is_alphanumeric()).any(|word| word == "ready")
        })?;
        Ok(())
    }

    /// The first line of the log that `wanted` picks, when it comes.
    pub fn wait_for_log(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let start = Instant::now();
        loop {
            let ended = self.process.status()?;
            if let Some(line) = self.log()?.lines().find(|line| wanted(line)) {
                return Ok(line.to_owned());
            }
            if let Some(status) = ended {
                bail!("the agent ended with {status}; {}", self.log_tail());
            }
            if start.elapsed() > patience {
                bail!("nothing of the kind within {patience:?}; {}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
        format!("the agent's log ends with:\n{}", tail.join("\n"))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `kill -9`: the agent gets no chance to tidy up.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(STOP_PATIENCE)?;
        Ok(())
    }

    /// Asks it to end, as a service manager does, and waits.
    pub fn stop(mut self) -> Result<std::process::ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(STOP_PATIENCE)
    }

    /// What `sluice <arguments> -o json` prints on its node.
    pub fn json(&self, node: &Node, arguments: &[&str]) -> Result<Value> {
        self.sluice.json(node, arguments)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}
