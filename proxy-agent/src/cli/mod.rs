//! The command line: `sluice agent`, and the commands that show and remove what it has installed.
//!
//! `services`, `backends`, `flows`, `affinity`, `devices` and `status` read the pinned maps and work
//! with or without a running agent. They print a table for people, or with `-o json` or `-o yaml` a
//! document whose shape is that of the `Serialize` types in the command's file: fields are added,
//! never renamed or removed.
//!
//! # Exit status
//! | status | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed |
//! | 2 | a flag, a field of `--config` or a value is wrong; nothing was touched |
//! | 3 | nothing is installed at the pin path |
//! | 4 | an agent runs on the pin path, or kube-proxy runs, and is in the way |
//!
//! `preflight` has a meaning of its own for 1 and 2, see there.

mod affinity;
mod agent;
mod backends;
mod cleanup;
mod devices;
mod explain;
mod flows;
mod idle;
mod monitor;
mod mount;
mod output;
mod preflight;
mod services;
mod shown;
mod status;
mod view;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    agent::AgentError,
    datapath::{cleanup::CleanupError, map::MapError, pins::Pins},
    explain::{QuestionError, manifests::ReadError},
    host::{
        bpffs::BpffsError,
        cgroup_mount::CgroupMountError,
        lock::{Holder, LockError},
        namespaces::NamespaceError,
    },
    kube_proxy,
    options::{self, DEFAULT_PIN_PATH, OptionsError},
};

/// Kubernetes Services in eBPF: the agent, and what shows and removes its work.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the datapath and keep it in step with a cluster or a directory of manifests
    Agent(Box<agent::AgentArgs>),
    /// Show frontends and the endpoints behind them
    Services(ReadArgs),
    /// Show backends and the Services that use them
    Backends(ReadArgs),
    /// Show flows of the packet path
    Flows(ReadArgs),
    /// Show clients that stay with their endpoint
    Affinity(ReadArgs),
    /// Show devices, their roles and their programs
    Devices(ReadArgs),
    /// Show whether an agent runs, what is attached, how full the maps are, and what was counted
    Status(ReadArgs),
    /// Tell what happens as it happens: flows that open, change and end, and every verdict
    Monitor(monitor::MonitorArgs),
    /// Say what this kernel and node offer, what is in the way of an agent, and what to do
    ///
    /// Changes nothing. Exit status 0: an agent with these flags can do its work; 2: it can't; with
    /// --strict 1: it works with restrictions.
    Preflight(Box<preflight::PreflightArgs>),
    /// Say what would happen to a packet, and why
    ///
    /// The code of the datapath answers, over the maps of this node or over those that --manifests
    /// would lead to. Nothing is sent and nothing is written.
    Explain(Box<explain::ExplainArgs>),
    /// Remove every program, link, filter, map and pin; or, with --kube-proxy, what kube-proxy left
    Cleanup(cleanup::CleanupArgs),
    /// Mount the BPF file system and cgroup v2 where they are missing, from inside a container too
    Mount(mount::MountArgs),
    /// Do nothing until a signal comes: for a container that must not end
    Idle,
}

/// Where to look, and how to show it.
#[derive(Debug, Args)]
struct ReadArgs {
    #[command(flatten)]
    pins: PinArgs,
    /// How to show it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: output::Format,
}

#[derive(Debug, Args)]
struct PinArgs {
    /// Where links and maps are pinned
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
}

impl PinArgs {
    fn pins(&self) -> Result<Pins, CliError> {
        Ok(Pins::new(&options::pin_path(Some(self.pin_path.clone()))?))
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("--log-level {level:?}: {source}: give a level, or directives like info,kube=warn")]
    LogLevel { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("starting the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("--pin-path {}: nothing is installed here", .0.display())]
    Nothing(PathBuf),
    #[error(
        "--pin-path {}: an agent is running, {holder}: end it first, or give --force to remove the \
         datapath under it",
        path.display()
    )]
    AgentRuns { path: PathBuf, holder: Holder },
    #[error(
        "--kube-proxy: it is running, process {} (`{}`), and would put back what is removed: end it \
         first (docs/migration.md), or give --force",
        .0.pid, .0.command
    )]
    KubeProxyRuns(kube_proxy::Process),
    #[error("looking for kube-proxy in /proc: {0}: mount /proc")]
    Processes(#[source] io::Error),
    #[error("--kube-proxy: {0}")]
    KubeProxy(#[from] kube_proxy::RemoveError),
    #[error(transparent)]
    Question(#[from] QuestionError),
    #[error(transparent)]
    Manifests(#[from] ReadError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Cleanup(#[from] CleanupError),
    #[error(transparent)]
    Namespaces(#[from] NamespaceError),
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    #[error(transparent)]
    CgroupMount(#[from] CgroupMountError),
    #[error("--pin-path {}: {source}", path.display())]
    Pins { path: PathBuf, source: io::Error },
    #[error("writing the output: {0}")]
    Output(#[source] io::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Options(_) | Self::LogLevel { .. } => 2,
            Self::Question(_) | Self::Manifests(_) => 2,
            Self::Agent(AgentError::Cgroup(_) | AgentError::Bpffs(_)) => 2,
            Self::Nothing(_) => 3,
            Self::AgentRuns { .. } | Self::KubeProxyRuns(_) => 4,
            Self::Lock(LockError::Held { .. }) => 4,
            Self::Agent(AgentError::Lock(LockError::Held { .. })) => 4,
            _ => 1,
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Preflight(args) => match preflight::run(*args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::Agent(args) => agent::run(*args),
        Command::Services(args) => services::run(&args),
        Command::Backends(args) => backends::run(&args),
        Command::Flows(args) => flows::run(&args),
        Command::Affinity(args) => affinity::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Monitor(args) => monitor::run(&args),
        Command::Explain(args) => explain::run(*args),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::Mount(args) => mount::run(&args),
        Command::Idle => idle::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `sluice flows | head` is no failure.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The directory of maps, if something is installed there.
fn installed_maps(pins: &Pins) -> Result<PathBuf, CliError> {
    let maps = pins.maps();
    match maps.join("CONFIG").try_exists() {
        Ok(true) => Ok(maps),
        Ok(false) => Err(CliError::Nothing(pins.root().into())),
        Err(source) => Err(CliError::Pins { path: pins.root().into(), source }),
    }
}

fn at_pins(path: &Path) -> impl Fn(io::Error) -> CliError {
    move |source| CliError::Pins { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
