//! The real kube-proxy for a node of the lab, in nftables mode unless told otherwise. As an oracle it is in
//! a network namespace of its own that has the node's addresses and no traffic, and what it decided is
//! read from its rules. As a peer of benches it serves a node.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    iter,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{ControlPlane, PORT, programs::program};
use crate::{Family, NetNs, Node, Process, process::enter_namespace};

/// The link between the control plane and kube-proxy: no address of the lab.
const LINK: (&str, &str) = ("192.0.2.1", "192.0.2.2");

/// A running kube-proxy.
pub struct KubeProxy {
    process: Process,
    namespace: Arc<NetNs>,
    log: PathBuf,
}

impl ControlPlane {
    /// The address of the API server on the link to kube-proxy.
    pub(super) fn link_address() -> &'static str {
        LINK.0
    }

    /// The program.
    pub fn kube_proxy_program() -> Result<PathBuf> {
        program("kube-proxy")
    }

    /// Starts kube-proxy on `node` itself, where it serves traffic, in `mode`, and doesn't wait. Programs that
    /// it runs are looked for in `path` first.
    pub fn serve_by_kube_proxy(
        &self,
        node: &Node,
        mode: &str,
        path: Option<&Path>,
    ) -> Result<KubeProxy> {
        let kubeconfig = self.administrator()?.display().to_string();
        let name = format!("kube-proxy-{}", node.name());
        let file = self.directory.join(format!("{name}.yaml"));
        let settings = json!({
            "mode": mode,
            "nodePortAddresses": [],
            "iptables": { "minSyncPeriod": "10ms", "syncPeriod": "30s" },
        });
        fs::write(&file, configuration(node, &kubeconfig, &settings))?;
        let log = self.log(&name);
        let output = File::create(&log)?;
        let mut command = node.command(program("kube-proxy")?)?;
        command
            .arg(format!("--config={}", file.display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        if let Some(first) = path {
            let rest = env::var_os("PATH").unwrap_or_default();
            let all = iter::once(first.to_owned()).chain(env::split_paths(&rest));
            command.env("PATH", env::join_paths(all)?);
        }
        let process = Process::start(&name, &mut command)?;
        Ok(KubeProxy { process, namespace: node.namespace_handle(), log })
    }

    /// Starts kube-proxy for `node`, and doesn't wait. `settings` are fields of its configuration.
    pub fn start_kube_proxy(&self, node: &Node, settings: &Value) -> Result<KubeProxy> {
        self.start_kube_proxy_with(node, settings, None)
    }

    /// The same, with the tools of a directory before those of the machine.
    pub fn start_kube_proxy_with(
        &self,
        node: &Node,
        settings: &Value,
        tools: Option<&Path>,
    ) -> Result<KubeProxy> {
        let namespace = Arc::new(NetNs::create(self.directory.join("kube-proxy.netns"))?);
        let path = namespace.path().display();
        self.host.namespace().ip(&format!(
            "link add name kube-proxy type veth peer name control netns {path}
             address add {}/30 dev kube-proxy
             link set kube-proxy up",
            LINK.0
        ))?;
        let mut lines = format!(
            "address add {}/30 dev control
             link set control up\n",
            LINK.1
        );
        for family in Family::BOTH {
            lines += &format!("address add {} dev lo\n", node.address(family));
        }
        namespace.ip(&lines)?;

        let url = format!("https://{}:{PORT}", LINK.0);
        let kubeconfig = self.write_kubeconfig("kube-proxy", &self.access.administrator(&url))?;
        let file = self.directory.join("kube-proxy.yaml");
        fs::write(&file, configuration(node, &kubeconfig.display().to_string(), settings))?;
        let log = self.log("kube-proxy");
        let output = File::create(&log)?;
        let mut command = Command::new(program("kube-proxy")?);
        command
            .arg(format!("--config={}", file.display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        if let Some(tools) = tools {
            let path = env::var("PATH")?;
            command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", tools.display()));
        }
        enter_namespace(&mut command, &namespace)?;
        let process = Process::start("kube-proxy", &mut command)?;
        Ok(KubeProxy { process, namespace, log })
    }
}

/// A KubeProxyConfiguration for `node`. JSON is YAML.
fn configuration(node: &Node, kubeconfig: &str, settings: &Value) -> String {
    let mut configuration = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node.name(),
        "clientConnection": { "kubeconfig": kubeconfig, "qps": 100, "burst": 200 },
        // The pods of this node are those that count as local.
        "detectLocalMode": "ClusterCIDR",
        "clusterCIDR": node.pod_cidrs().join(","),
        "nodePortAddresses": ["0.0.0.0/0", "::/0"],
        "nftables": { "minSyncPeriod": "10ms", "syncPeriod": "30s" },
        // The kernel's limits are not a namespace's to change.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
        },
    });
    for (field, value) in settings.as_object().into_iter().flatten() {
        configuration[field] = value.clone();
    }
    configuration.to_string()
}

impl KubeProxy {
    /// The rules of `family`, as `nft -j list table` has them.
    pub fn rules(&self, family: Family) -> Result<Value> {
        let family = if family == Family::V4 { "ip" } else { "ip6" };
        let mut command = Command::new("nft");
        command.args(["-j", "list", "table", family, "kube-proxy"]);
        enter_namespace(&mut command, &self.namespace)?;
        let output = command.output().context("cannot run nft: install nftables")?;
        if !output.status.success() {
            bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.process.status()
    }

    /// A command in its namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        enter_namespace(&mut command, &self.namespace)?;
        Ok(command)
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// Ends it; its rules stay. Done when it has ended.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(patience).map(drop)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }
}
