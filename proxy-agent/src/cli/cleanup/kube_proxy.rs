//! `sluice cleanup --kube-proxy`: takes away what kube-proxy has left on this node, and says what
//! that was. Nothing of Sluice is touched.
//!
//! JSON: [`Removed`].

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::super::{
    CliError,
    output::{Format, show},
};
use crate::{
    host::namespaces,
    kube_proxy::{self, Process, Removed},
};

/// How often a running kube-proxy is looked for while it is waited for.
const PAUSE: Duration = Duration::from_millis(200);
/// So many chains are named one by one.
const CHAINS: usize = 20;

#[derive(Debug, Args)]
pub(super) struct KubeProxyArgs {
    /// Remove what kube-proxy has left, and nothing of Sluice: nftables tables, iptables chains, the
    /// device of its IPVS mode. Refused while it runs
    #[arg(long)]
    kube_proxy: bool,
    /// If kube-proxy runs, say so, remove nothing and succeed
    #[arg(long, requires = "kube_proxy", conflicts_with = "force")]
    unless_running: bool,
    /// Directory with the namespaces of the host's process 1 (/proc/1/ns): use the host's tools and
    /// see its processes, from inside a container
    #[arg(long, value_name = "DIR", requires = "kube_proxy")]
    namespaces: Option<PathBuf>,
}

impl KubeProxyArgs {
    pub(super) fn is_asked_for(&self) -> bool {
        self.kube_proxy
    }
}

pub(super) fn run(
    args: &KubeProxyArgs,
    force: bool,
    patience: Duration,
    output: Format,
) -> Result<(), CliError> {
    if let Some(directory) = &args.namespaces {
        namespaces::enter(directory)?;
    }
    if !force && let Some(process) = wait(patience)? {
        if !args.unless_running {
            return Err(CliError::KubeProxyRuns(process));
        }
        let Process { pid, command } = process;
        eprintln!("kube-proxy runs, process {pid} (`{command}`): nothing is removed");
        return show(output, &Removed::default(), text);
    }
    if !force && !kube_proxy::process::sees_all() {
        eprintln!(
            "whether kube-proxy runs can't be told from here: only processes of this container are \
             seen"
        );
    }
    let removed = kube_proxy::remove(&kube_proxy::find())?;
    show(output, &removed, text)
}

/// A kube-proxy that hasn't ended when `patience` has.
fn wait(patience: Duration) -> Result<Option<Process>, CliError> {
    let start = Instant::now();
    loop {
        let running = kube_proxy::running().map_err(CliError::Processes)?;
        match running.into_iter().next() {
            Some(_) if start.elapsed() < patience => thread::sleep(PAUSE),
            running => return Ok(running),
        }
    }
}

fn text(removed: &Removed) -> String {
    if removed.is_empty() {
        return "Nothing of kube-proxy was there.".into();
    }
    let mut text = String::new();
    let mut list = |what: &str, names: &[String]| {
        for name in names {
            text.push_str(&format!("{what} {name}\n"));
        }
    };
    list("removed table", &removed.tables);
    // A cluster with many Services leaves tens of thousands.
    if removed.chains.len() <= CHAINS {
        list("removed chain", &removed.chains);
    } else {
        list("removed", &[format!("{} chains (-o json names them)", removed.chains.len())]);
    }
    if removed.rules > 0 {
        list("removed", &[format!("{} rules that led to them", removed.rules)]);
    }
    list("removed device", &removed.devices);
    list("removed virtual server", &removed.servers);
    list("removed ipset", &removed.sets);
    list("left:", &removed.left);
    text
}
