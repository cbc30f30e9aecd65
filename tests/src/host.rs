//! A host: a network namespace, a cgroup, and the probe that speaks for the processes in it.
//!
//! Pods and outside hosts are hosts, a node has one. Called by stories.

use std::{
    ffi::OsStr,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    Addresses, Cgroup, Counters, Crowd, Family, Load, NetNs, Server, TcpClient, UdpClient, Wire,
    client::Session,
    ioctl,
    lab::Shared,
    probe::{BindRequest, CrowdAnswer, Failure, PingRequest, Report, Request},
    process::{enter_cgroup, enter_namespace},
};

/// A pod, a node's own processes, or a machine outside the cluster. Clones are the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
    addresses: Option<Addresses>,
}

struct Inner {
    name: String,
    namespace: Arc<NetNs>,
    cgroup: Cgroup,
    shared: Arc<Shared>,
    /// The process that makes one-off requests, started with the first of them.
    session: Mutex<Option<Session>>,
}

impl Host {
    pub(crate) fn create(shared: &Arc<Shared>, name: &str, cgroup: Cgroup) -> Result<Self> {
        let namespace = Arc::new(NetNs::create(shared.namespace_path(name))?);
        let inner = Inner {
            name: name.to_owned(),
            namespace,
            cgroup,
            shared: Arc::clone(shared),
            session: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner), addresses: None })
    }

    pub(crate) fn with_addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = Some(addresses);
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its network namespace.
    #[must_use]
    pub fn namespace(&self) -> &NetNs {
        &self.inner.namespace
    }

    pub(crate) fn namespace_handle(&self) -> Arc<NetNs> {
        Arc::clone(&self.inner.namespace)
    }

    /// The cgroup of its processes.
    #[must_use]
    pub fn processes(&self) -> &Cgroup {
        &self.inner.cgroup
    }

    /// Its addresses.
    ///
    /// # Panics
    /// While it is being wired.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses.expect("a host has addresses once it is wired")
    }

    /// Its address of `family`.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.addresses().of(family)
    }

    /// Every address that its devices have, whoever gave them.
    pub fn device_addresses(&self) -> Result<Vec<IpAddr>> {
        let devices = self.namespace().ip_json(&["address", "show"])?;
        let devices = devices.as_array().context("devices are no list")?;
        let addresses =
            devices.iter().filter_map(|device| device["addr_info"].as_array()).flatten();
        Ok(addresses.filter_map(|address| address["local"].as_str()?.parse().ok()).collect())
    }

    /// A command that runs on this host: in its namespace and its cgroup, and not longer than the
    /// thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        self.enter(&mut command)?;
        Ok(command)
    }

    pub(crate) fn probe(&self) -> Result<Command> {
        let mut command = self.inner.shared.probe.command();
        self.enter(&mut command)?;
        Ok(command)
    }

    fn enter(&self, command: &mut Command) -> Result<()> {
        enter_namespace(command, &self.inner.namespace)?;
        enter_cgroup(command, &self.inner.cgroup)
    }

    /// Starts a server for TCP on the port `tcp` and UDP on the port `udp` of both addresses, that
    /// answers with this host's name.
    pub fn serve(&self, tcp: u16, udp: u16) -> Result<Server> {
        self.serve_as(self.name(), tcp, udp)
    }

    /// Likewise; the server answers with `name`.
    pub fn serve_as(&self, name: &str, tcp: u16, udp: u16) -> Result<Server> {
        Server::start(self, name, self.addresses().both(), (tcp, udp))
    }

    /// Likewise, at whatever address of this host packets come to.
    pub fn serve_anywhere(&self, tcp: u16, udp: u16) -> Result<Server> {
        let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        Server::start(self, self.name(), any, (tcp, udp))
    }

    /// A TCP client of this host.
    pub fn tcp(&self, to: SocketAddr) -> TcpClient<'_> {
        TcpClient::new(self, to)
    }

    /// A UDP client of this host.
    pub fn udp(&self, to: SocketAddr) -> UdpClient<'_> {
        UdpClient::new(self, to)
    }

    /// Opens many TCP connections and keeps them, in one process; each has been asked once.
    pub fn crowd(
        &self,
        to: SocketAddr,
        connections: usize,
        patience_ms: u64,
    ) -> Result<(Crowd, CrowdAnswer)> {
        Crowd::gather(self, to, connections, patience_ms)
    }

    /// Makes TCP connections one after the other for so long, in a process of its own.
    pub fn load(&self, to: SocketAddr, duration: Duration) -> Result<Load> {
        Load::start(self, to, duration)
    }

    /// Whether a process of this host may bind a port, for UDP if `datagrams`, else for TCP.
    pub fn bind(&self, address: SocketAddr, datagrams: bool) -> Result<Result<(), Failure>> {
        match self.request(&Request::Bind(BindRequest { address, datagrams }))? {
            Report::Bound => Ok(Ok(())),
            Report::Failure(failure) => Ok(Err(failure)),
            other => anyhow::bail!("the probe answered a wish for a port with {other:?}"),
        }
    }

    /// Sends an echo request; `None` when no reply came within `patience_ms`.
    pub fn ping(&self, to: IpAddr, patience_ms: u64) -> Result<Option<IpAddr>> {
        match self.request(&Request::Ping(PingRequest { to, timeout_ms: patience_ms }))? {
            Report::Echo { from } => Ok(from),
            other => anyhow::bail!("the probe answered a ping with {other:?}"),
        }
    }

    /// Opens a raw view of a device of this host.
    pub fn wire(&self, device: &str) -> Result<Wire> {
        Wire::open(self.namespace(), device)
    }

    /// Has a device of this host finish checksums in software, before packets leave by it.
    pub fn finish_checksums_on(&self, device: &str) -> Result<()> {
        ioctl::offload_checksums(self.namespace(), device, false)
    }

    /// The other end of the veth `device` of this host, as `node` names it.
    pub fn peer_of(&self, device: &str, node: &Self) -> Result<String> {
        let links = self.namespace().ip_json(&["link", "show", "dev", device])?;
        let index = links[0]["link_index"].as_u64().context("no veth has that name")?;
        let others = node.namespace().ip_json(&["link", "show"])?;
        let other = others.as_array().and_then(|others| {
            others.iter().find(|other| other["ifindex"].as_u64() == Some(index))
        });
        text(other.context("its other end is elsewhere")?, "ifname")
    }

    /// The kernel's network counters of this host.
    pub fn counters(&self) -> Result<Counters> {
        Counters::read(self.namespace())
    }

    /// The next hop to `to` as the host knows it now: device, its hardware address, and that of the
    /// neighbour. Something must have been sent that way before.
    pub fn next_hop(&self, to: IpAddr) -> Result<NextHop> {
        let target = to.to_string();
        let route = self.namespace().ip_json(&["route", "get", &target])?;
        let device = text(&route[0], "dev")?;
        let via = route[0]["gateway"].as_str().unwrap_or(&target).to_owned();
        let neighbours =
            self.namespace().ip_json(&["neigh", "show", "to", &via, "dev", &device])?;
        let links = self.namespace().ip_json(&["link", "show", "dev", &device])?;
        Ok(NextHop {
            source: hardware_address(&text(&links[0], "address")?)?,
            destination: hardware_address(
                &text(&neighbours[0], "lladdr").with_context(|| format!("{via} is unknown"))?,
            )?,
            device,
        })
    }

    /// Has the host's probe do `request`.
    pub(crate) fn request(&self, request: &Request) -> Result<Report> {
        let mut session = self.inner.session.lock().expect("no thread panics inside a request");
        let running = match session.take() {
            Some(running) => running,
            None => Session::start(self)?,
        };
        // After an error the session is out of step; the next request gets a new one.
        session.insert(running).request(request).inspect_err(|_| *session = None)
    }
}

/// Where a frame has to go to be routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The device it leaves by.
    pub device: String,
    /// The hardware address of that device.
    pub source: [u8; 6],
    /// The hardware address of the neighbour.
    pub destination: [u8; 6],
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name()).finish_non_exhaustive()
    }
}

fn text(object: &Value, field: &str) -> Result<String> {
    Ok(object[field].as_str().with_context(|| format!("no `{field}` in {object}"))?.to_owned())
}

fn hardware_address(text: &str) -> Result<[u8; 6]> {
    let bytes = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16))
        .collect::<Result<Vec<u8>, _>>()
        .with_context(|| format!("{text} is no hardware address"))?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{text} is no Ethernet address"))
}
