//! Everything worth asking about a state: every frontend of every Service, and what is beside it,
//! from every kind of client.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Result;
use lab::{Addresses, Family};
use serde_json::Value;

use crate::{
    cluster::{HEADLESS, is_local},
    verdict::{Place, Question, Transport},
};

/// What kind of address it is that someone asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ClusterIp,
    /// External and load balancer IPs.
    External,
    /// An address of the node.
    NodePort,
    /// The node's loopback.
    Loopback,
}

/// What a question is about.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) kind: Kind,
    /// The Service, if it is one's.
    pub(crate) service: Option<String>,
    /// Whether the Service has the label of what no proxy serves.
    pub(crate) labelled_headless: bool,
}

/// Questions, each once.
pub(crate) type Questions = BTreeMap<Question, About>;

/// Clients that are nowhere near: in the first range that load balancers admit, in the second, in
/// none; and one beside the node.
const OUTSIDE: [&str; 8] = [
    "192.0.2.7",
    "192.0.2.200",
    "192.0.2.201",
    "172.18.0.50",
    "2001:db8:2::7",
    "2001:db8:2::c8",
    "2001:db8:3::1",
    "fd00:172:18::50",
];
/// Pods of the node: one that is no endpoint, and one that may be.
const PODS: [&str; 4] = ["10.244.1.200", "10.244.1.10", "fd00:10:244:1::c8", "fd00:10:244:1::a"];
/// ClusterIPs that no Service has.
const FREE: [&str; 2] = ["10.96.250.250", "fd00:10:96::fafa"];
/// A port that is no Service's NodePort.
const FREE_NODE_PORT: u16 = 19_999;

/// The questions about `services`, as the API server has them. Of the node's loopback addresses those
/// of `loopback` are asked for: where no address of the node serves NodePorts, kube-proxy has nothing
/// to compare with.
pub(crate) fn about(services: &[Value], node: Addresses, loopback: &[Family]) -> Result<Questions> {
    let mut asked = Asker { node, loopback, labelled_headless: false, questions: Questions::new() };
    for address in FREE {
        asked.ask(address.parse()?, 80, Transport::Tcp, Kind::ClusterIp, None);
    }
    for family in Family::BOTH {
        for transport in [Transport::Tcp, Transport::Udp] {
            asked.ask(node.of(family), FREE_NODE_PORT, transport, Kind::NodePort, None);
        }
    }
    for service in services {
        asked.service(service)?;
    }
    Ok(asked.questions)
}

struct Asker<'a> {
    node: Addresses,
    loopback: &'a [Family],
    labelled_headless: bool,
    questions: Questions,
}

impl Asker<'_> {
    fn service(&mut self, service: &Value) -> Result<()> {
        let spec = &service["spec"];
        let name = service["metadata"]["name"].as_str();
        self.labelled_headless = !service["metadata"]["labels"][HEADLESS].is_null();
        let of = |value: &Value| -> Result<Vec<IpAddr>> {
            let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.filter(|text| *text != "None").map(|text| Ok(text.parse()?)).collect()
        };
        let mut addresses: Vec<(IpAddr, Kind)> = Vec::new();
        addresses.extend(of(&spec["clusterIPs"])?.into_iter().map(|it| (it, Kind::ClusterIp)));
        addresses.extend(of(&spec["externalIPs"])?.into_iter().map(|it| (it, Kind::External)));
        for ingress in service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten()
        {
            if let Some(address) = ingress["ip"].as_str() {
                addresses.push((address.parse()?, Kind::External));
            }
        }
        for port in spec["ports"].as_array().into_iter().flatten() {
            let number = |field: &str| port[field].as_u64().and_then(|it| u16::try_from(it).ok());
            let transport = Transport::ALL
                .into_iter()
                .find(|it| port["protocol"] == it.upper())
                .unwrap_or(Transport::Tcp);
            let Some(own) = number("port") else { continue };
            for (address, kind) in &addresses {
                self.ask(*address, own, transport, *kind, name);
                // A port that it doesn't define, and maybe a protocol.
                self.ask(*address, own + 5, transport, *kind, name);
                self.ask(*address, own, Transport::Tcp, *kind, name);
            }
            let Some(node_port) = number("nodePort") else { continue };
            for family in Family::BOTH {
                self.ask(self.node.of(family), node_port, transport, Kind::NodePort, name);
                if !self.loopback.contains(&family) {
                    continue;
                }
                let loopback: IpAddr = match family {
                    Family::V4 => Ipv4Addr::LOCALHOST.into(),
                    Family::V6 => Ipv6Addr::LOCALHOST.into(),
                };
                let question = Question {
                    place: Place::Node,
                    source: loopback,
                    to: SocketAddr::new(loopback, node_port),
                    transport,
                };
                self.add(question, Kind::Loopback, name);
            }
        }
        Ok(())
    }

    /// From every kind of client of the address's family.
    fn ask(
        &mut self,
        address: IpAddr,
        port: u16,
        transport: Transport,
        kind: Kind,
        service: Option<&str>,
    ) {
        let to = SocketAddr::new(address, port);
        let mut clients: Vec<(Place, IpAddr)> = Vec::new();
        let parsed = |text: &&str| text.parse::<IpAddr>().expect("clients have addresses");
        clients.extend(OUTSIDE.iter().map(parsed).map(|source| (Place::Outside, source)));
        clients.extend(PODS.iter().map(parsed).map(|source| (Place::Pod, source)));
        clients.extend(self.node.both().map(|source| (Place::Node, source)));
        if kind == Kind::External {
            // As it comes back from a load balancer that has the address itself.
            clients.push((Place::Outside, address));
        }
        for (place, source) in clients {
            if source.is_ipv4() == address.is_ipv4() {
                self.add(Question { place, source, to, transport }, kind, service);
            }
        }
    }

    fn add(&mut self, question: Question, kind: Kind, service: Option<&str>) {
        let about = || About {
            kind,
            service: service.map(ToOwned::to_owned),
            labelled_headless: self.labelled_headless,
        };
        let known = self.questions.entry(question).or_insert_with(about);
        // Services that share an address ask about each other's ports, too.
        if known.service.is_none() {
            known.service = service.map(ToOwned::to_owned);
        }
    }
}

/// Whether `address` belongs to the node or to one of its pods.
pub(crate) fn is_here(address: IpAddr) -> bool {
    is_local(&address.to_string())
}
