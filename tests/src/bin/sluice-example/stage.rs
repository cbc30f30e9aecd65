//! The stage: hosts, servers and manifests.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use lab::{
    Addresses, Agent, AgentFlags, Bpftool, Family, Host, Lab, Node, SERVICE_PREFIXES, Server,
    Sluice, Wiring, manifest, probe::ProbeProgram,
};

use crate::{checks::Protocol, signals::End};

/// Ports of the servers, as the manifests have them.
const TCP: u16 = 8080;
const UDP: u16 = 5353;

const MANIFESTS: [(&str, &str); 4] = [
    ("node.yaml", include_str!("../../../examples/node.yaml")),
    ("greeter.yaml", include_str!("../../../examples/greeter.yaml")),
    ("legacy.yaml", include_str!("../../../examples/legacy.yaml")),
    ("nobody.yaml", include_str!("../../../examples/nobody.yaml")),
];

/// NodePorts of the Service `greeter`.
const NODE_PORTS: (u16, u16) = (30_080, 30_053);

/// The Services of the manifests, by the last part of their addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Greeter,
    Legacy,
    Nobody,
}

impl Service {
    fn address(self, family: Family) -> IpAddr {
        let (v4, v6) = match self {
            Self::Greeter => (10, 0x10),
            Self::Legacy => (20, 0x20),
            Self::Nobody => (30, 0x30),
        };
        match family {
            Family::V4 => IpAddr::V4(Addresses::cluster_ips(v4).v4),
            Family::V6 => IpAddr::V6(Addresses::cluster_ips(v6).v6),
        }
    }

    pub(crate) fn http(self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), 80)
    }

    pub(crate) fn dns(self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), 53)
    }
}

/// How the outside host reaches the Service `greeter`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entrance {
    NodePort,
    LoadBalancer,
}

/// Everything that was set up. Fields are dropped in order: servers first, the lab last.
pub(crate) struct Stage {
    pub(crate) blue: Server,
    pub(crate) green: Server,
    pub(crate) legacy: Server,
    pub(crate) client: Host,
    pub(crate) node: Node,
    pub(crate) lab: Lab,
    pub(crate) end: End,
}

impl Stage {
    /// Makes the hosts, starts the servers, writes the manifests.
    pub(crate) fn set(end: End) -> Result<Self> {
        let lab = Lab::with_probe(ProbeProgram::in_this_program("probe")?)?;
        let node = lab.node("example", Wiring::Ptp)?;
        let client = node.pod("client")?;
        let blue = node.pod("blue")?.serve(TCP, UDP)?;
        let green = node.pod("green")?.serve(TCP, UDP)?;
        let legacy = lab.outside("legacy")?.serve(TCP, UDP)?;
        lab.route(&SERVICE_PREFIXES, &node)?;
        for (name, text) in MANIFESTS {
            manifest::write_text(&lab.manifests(), name, text)?;
        }
        for server in [&blue, &green, &legacy] {
            for address in server.host().addresses().both() {
                ensure!(
                    MANIFESTS.iter().any(|(_, text)| text.contains(&address.to_string())),
                    "{} got the address {address}, and no manifest names it",
                    server.name()
                );
            }
        }
        Ok(Self { blue, green, legacy, client, node, lab, end })
    }

    /// Where `greeter` is reached from outside.
    pub(crate) fn entrance(
        &self,
        entrance: Entrance,
        protocol: Protocol,
        family: Family,
    ) -> SocketAddr {
        match (entrance, protocol) {
            (Entrance::NodePort, Protocol::Tcp) => (self.node.address(family), NODE_PORTS.0).into(),
            (Entrance::NodePort, Protocol::Udp) => (self.node.address(family), NODE_PORTS.1).into(),
            (Entrance::LoadBalancer, protocol) => {
                let port = if protocol == Protocol::Tcp { 80 } else { 53 };
                let address = match family {
                    Family::V4 => IpAddr::V4(Addresses::load_balancer_ips(10).v4),
                    Family::V6 => IpAddr::V6(Addresses::load_balancer_ips(0x10).v6),
                };
                (address, port).into()
            }
        }
    }

    pub(crate) fn start_agent(&self, sluice: &Sluice, flags: &AgentFlags) -> Result<Agent> {
        Agent::start_by(sluice, &self.node, flags)
    }

    /// What `sluice services` prints.
    pub(crate) fn services(&self, sluice: &Sluice) -> Result<String> {
        sluice.text(&self.node, &["services"])
    }

    /// The pin of the map that [`Self::dump`] shows.
    pub(crate) fn dumped_pin(&self) -> PathBuf {
        self.node.map_pin("SERVICES_V4")
    }

    /// What `bpftool -j map dump` prints of the IPv4 frontends, a line for each.
    pub(crate) fn dump(&self) -> Result<String> {
        let elements = Bpftool::dump(&self.dumped_pin())?;
        let lines: BTreeSet<String> =
            elements.iter().map(|element| format!("{}\n", element["formatted"])).collect();
        Ok(lines.into_iter().collect())
    }
}
