//! A real control plane in the lab: etcd, kube-apiserver and, if a story wants them, the controllers
//! that make EndpointSlices, as a host on the fabric that every node reaches.
//!
//! There is no kubelet: Nodes and Pods are objects whose status the story sets, and namespaces stand
//! for them. Every part can be killed, stopped and started again. Called by the tests in
//! `tests/api_server`.

mod access;
mod api;
mod audit;
mod certificates;
mod etcd;
mod kube_proxy;
mod objects;
mod programs;
mod relay;
mod server;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{Family, Host, Lab, Process};
use access::Access;
use certificates::{AUTHORITY, Certificates};

pub use access::{AGENT, AGENT_NAMESPACE, agent_role};
pub use api::Api;
pub use audit::Asked;
pub use kube_proxy::KubeProxy;
pub use programs::Etcd;
pub use relay::Relay;

/// Starting takes seconds of CPU time, which others may want too.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Where the API server listens, on every address of its host.
const PORT: u16 = 6443;

/// What a story may want otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose etcd.
    pub etcd: Etcd,
    /// More flags of kube-apiserver.
    pub flags: Vec<String>,
    /// Whether nodes reach kube-apiserver through a [`Relay`] only.
    pub relayed: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { etcd: Etcd::Current, flags: Vec::new(), relayed: false }
    }
}

/// The control plane. Its parts die with it.
pub struct ControlPlane {
    api: Api,
    /// etcd understands JSON too.
    etcd_client: Api,
    access: Access,
    relay: Option<Relay>,
    controllers: Option<Process>,
    server: Option<Process>,
    etcd: Option<Process>,
    certificates: Certificates,
    settings: Settings,
    host: Host,
    directory: PathBuf,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver on a host of their own, and waits until they serve.
    pub fn start(lab: &Lab, settings: Settings) -> Result<Self> {
        let host = lab.outside("control-plane")?;
        let directory = lab.directory().join("control-plane");
        std::fs::create_dir(&directory)?;
        let mut addresses = host.addresses().both().to_vec();
        addresses.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), Self::link_address().parse()?]);
        let certificates = Certificates::make(directory.join("certificates"), &addresses)?;
        audit::write_policy(&directory.join("audit.policy"))?;
        let access = Access::make(&directory, certificates.path(AUTHORITY))?;
        let local = format!("https://127.0.0.1:{PORT}");
        let api = Api::new(&host.namespace_handle(), &access.administrator(&local))?;
        let etcd_client =
            Api::new(&host.namespace_handle(), &access.kubeconfig_of(&etcd::url(), &json!({})))?;
        let relay = if settings.relayed { Some(Relay::start(&host)?) } else { None };
        let mut made = Self {
            api,
            etcd_client,
            access,
            relay,
            controllers: None,
            server: None,
            etcd: None,
            certificates,
            settings,
            host,
            directory,
        };
        made.start_etcd()?;
        made.start_api_server()?;
        made.api.create(&access::agent_account())?;
        Ok(made)
    }

    /// The API server, as its administrator.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The relay.
    ///
    /// # Panics
    /// Where [`Settings::relayed`] isn't set.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("the story asked for a relay")
    }

    /// The host that it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What nodes call the API server.
    #[must_use]
    pub fn url(&self, family: Family) -> String {
        match self.host.address(family) {
            IpAddr::V4(address) => format!("https://{address}:{PORT}"),
            IpAddr::V6(address) => format!("https://[{address}]:{PORT}"),
        }
    }

    /// A kubeconfig file of the administrator, for nodes.
    pub fn administrator(&self) -> Result<PathBuf> {
        let kubeconfig = self.access.administrator(&self.url(Family::V4));
        self.write_kubeconfig("administrator", &kubeconfig)
    }

    /// A kubeconfig file of the agent's service account, for nodes, with a token that is good for
    /// an hour. The account may do what [`agent_role`] says and nothing else.
    pub fn agent(&self) -> Result<PathBuf> {
        let token = access::agent_token(&self.api)?;
        self.write_kubeconfig("agent", &self.access.kubeconfig(&self.url(Family::V4), &token))
    }

    /// A kubeconfig file of the agent's, for nodes, with these credentials (`user` of a kubeconfig).
    pub fn agent_with(&self, user: &Value) -> Result<PathBuf> {
        let url = self.url(Family::V4);
        self.write_kubeconfig("agent-with", &self.access.kubeconfig_of(&url, user))
    }

    /// Files with the agent's certificate and its key.
    #[must_use]
    pub fn agent_certificate(&self) -> [PathBuf; 2] {
        ["agent.crt", "agent.key"].map(|name| self.certificates.path(name))
    }

    /// From the next start of the API server on, these and no others are the agent's tokens, beside
    /// those that the API server hands out.
    pub fn accept_agent_tokens(&self, tokens: &[&str]) -> Result<()> {
        self.access.accept(tokens)
    }

    fn write_kubeconfig(&self, name: &str, kubeconfig: &Value) -> Result<PathBuf> {
        // JSON is YAML.
        let path = self.directory.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, serde_json::to_vec_pretty(kubeconfig)?)?;
        Ok(path)
    }

    /// `kill -9` of kube-apiserver.
    pub fn kill_api_server(&mut self) -> Result<()> {
        kill(&mut self.server)
    }

    /// kube-apiserver stops in the middle of what it does: connections stay and say nothing.
    pub fn freeze_api_server(&self) -> Result<()> {
        self.server.as_ref().context("kube-apiserver isn't running")?.signal(Signal::STOP)
    }

    /// It goes on.
    pub fn thaw_api_server(&self) -> Result<()> {
        self.server.as_ref().context("kube-apiserver isn't running")?.signal(Signal::CONT)
    }

    /// `kill -9` of etcd.
    pub fn kill_etcd(&mut self) -> Result<()> {
        kill(&mut self.etcd)
    }

    /// Where the log of `program` is.
    fn log(&self, program: &str) -> PathBuf {
        self.directory.join(format!("{program}.log"))
    }

    /// Starts a part of it, whose log goes on where it was.
    fn launch(&self, name: &str, mut command: Command) -> Result<Process> {
        let log = std::fs::File::options().create(true).append(true).open(self.log(name))?;
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Process::start(name, &mut command)
    }

    /// Waits until `is_ready` of the part `name`, which was just started.
    fn wait_until(
        &self,
        name: &str,
        process: &mut Process,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        while !is_ready() {
            let ended = process.status()?;
            if ended.is_some() || start.elapsed() > START_PATIENCE {
                let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(30)..].join("\n");
                match ended {
                    Some(status) => bail!("{name} ended with {status}; its log ends with:\n{tail}"),
                    None => bail!("{name} doesn't get ready; its log ends with:\n{tail}"),
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn kill(process: &mut Option<Process>) -> Result<()> {
    let mut process = process.take().context("it isn't running")?;
    process.signal(Signal::KILL)?;
    process.wait(Duration::from_secs(10))?;
    Ok(())
}
