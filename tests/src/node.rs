//! A node: a host with pods and, if a story wants one, an agent.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::{Context as _, Result};

use crate::{
    Addresses, Agent, AgentFlags, Cgroup, Host, Wiring, addresses::pod_cidrs,
    fabric::silence_duplicate_address_detection, lab::Shared, wiring,
};

/// Host-local IPAM of the plugins starts here too: the gateway has number 1.
const FIRST_POD: u8 = 2;

/// The directory of the layout version that the lab knows, below the pin path.
const LAYOUT: &str = "v1";

/// A node. Its own processes (what runs in its namespace, in the cgroup `host`) are reached through
/// the [`Host`] it dereferences to.
pub struct Node {
    shared: Arc<Shared>,
    number: u8,
    wiring: Wiring,
    cgroup: Cgroup,
    host: Host,
    pods: AtomicU8,
}

impl Node {
    pub(crate) fn create(
        shared: &Arc<Shared>,
        name: &str,
        number: u8,
        addresses: Addresses,
        wiring: Wiring,
    ) -> Result<Self> {
        let cgroup = shared.cgroup().create(name)?;
        let host = Host::create(shared, name, cgroup.create("host")?)?;
        let namespace = host.namespace();
        silence_duplicate_address_detection(namespace)?;
        namespace.set_parameters(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/forwarding", "1"),
            // As distributions ship it; what a sloppy datapath trips over first.
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/default/rp_filter", "1"),
            ("ipv4/conf/all/log_martians", "1"),
            ("ipv4/conf/default/log_martians", "1"),
        ])?;
        shared.fabric.join(&host.namespace_handle(), name, addresses, Some(number))?;
        let host = host.with_addresses(addresses);
        let pods = AtomicU8::new(FIRST_POD);
        Ok(Self { shared: Arc::clone(shared), number, wiring, cgroup, host, pods })
    }

    /// Adds a pod.
    pub fn pod(&self, name: &str) -> Result<Host> {
        let pod = Host::create(&self.shared, name, self.cgroup.create(name)?)?;
        silence_duplicate_address_detection(pod.namespace())?;
        let addresses = wiring::attach(self, &pod)
            .with_context(|| format!("cannot wire the pod {name} by {}", self.wiring))?;
        Ok(pod.with_addresses(addresses))
    }

    /// Starts `sluice agent` on this node and waits until it serves.
    pub fn start_agent(&self, flags: &AgentFlags) -> Result<Agent> {
        Agent::start(self, flags)
    }

    /// The number in its pods' addresses.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// How its pods are wired.
    #[must_use]
    pub fn wiring(&self) -> Wiring {
        self.wiring
    }

    /// The node's cgroup: the agent's cgroup root.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where its agent pins maps, links and programs.
    #[must_use]
    pub fn pin_path(&self) -> PathBuf {
        self.shared.pin_path(self.name())
    }

    /// Where its agent pins the map `name`.
    #[must_use]
    pub fn map_pin(&self, name: &str) -> PathBuf {
        self.pin_path().join(LAYOUT).join(name)
    }

    /// The directory of the manifests that its agent reads.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.shared.manifests()
    }

    /// A path in the lab's directory for a file of this node.
    pub(crate) fn file(&self, suffix: &str) -> PathBuf {
        self.shared.path(&format!("{}{suffix}", self.name()))
    }

    /// A number for the addresses of a pod that is wired by hand.
    pub(crate) fn next_pod(&self) -> u8 {
        self.pods.fetch_add(1, Ordering::Relaxed)
    }

    /// The MTU of its pods' devices.
    pub(crate) fn pod_mtu(&self) -> u16 {
        self.shared.fabric.uplink().pod_mtu()
    }

    /// The ranges its pods' addresses come from.
    pub(crate) fn pod_cidrs(&self) -> [String; 2] {
        pod_cidrs(self.number)
    }
}

impl Deref for Node {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}
