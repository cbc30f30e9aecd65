//! How one knows that both proxies have seen a state: a Service that is changed last, whose
//! endpoints name the state and whose hints tell the node's zone.
//!
//! Watches keep the order of changes within a kind: who shows the Service, the EndpointSlices and
//! the zone of this state has seen all that was changed before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use lab::{Family, control_plane::Api};
use serde_json::{Value, json};

use crate::{
    cluster::ZONES,
    verdict::{Outcome, Outcomes, Place, Question, Transport},
};

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 96, 200, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xc801)),
];
const CLIENTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 244, 1, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 200)),
];
const NAME: &str = "sentinel";

/// Names a state.
#[derive(Clone, Copy)]
pub(crate) struct Sentinel {
    state: u16,
    zone: Option<&'static str>,
    masqueraded: bool,
}

impl Sentinel {
    /// For the state `number`, in which the node is in `zone`.
    pub(crate) fn new(number: usize, zone: Option<&'static str>, masquerade_all: bool) -> Self {
        let state = u16::try_from(number % 40_000).unwrap_or(0);
        Self { state, zone, masqueraded: masquerade_all }
    }

    /// Tells the API server, which knows nothing of it yet if this is the `first` time.
    pub(crate) fn tell(self, api: &Api, first: bool) -> Result<()> {
        let objects = [self.service(), self.slice(Family::V4), self.slice(Family::V6)];
        if first { api.create(&objects) } else { api.replace(&objects) }
    }

    /// Questions to which a proxy that has seen the state has exactly these answers.
    pub(crate) fn questions(self) -> [(Question, Outcomes); 2] {
        Family::BOTH.map(|family| {
            let index = usize::from(family == Family::V6);
            let question = Question {
                place: Place::Pod,
                source: CLIENTS[index],
                to: SocketAddr::new(ADDRESSES[index], self.port()),
                transport: Transport::Tcp,
            };
            let chosen = (0..ZONES.len())
                .filter(|index| self.zone.is_none_or(|zone| ZONES[*index] == zone))
                .map(|index| Outcome::Endpoint {
                    address: SocketAddr::new(self.endpoint(family, index), 80),
                    masqueraded: self.masqueraded,
                });
            (question, chosen.collect())
        })
    }

    fn port(self) -> u16 {
        10_000 + self.state
    }

    fn endpoint(self, family: Family, index: usize) -> IpAddr {
        let index = u8::try_from(index).unwrap_or(0);
        let [high, low] = self.state.to_be_bytes();
        match family {
            Family::V4 => Ipv4Addr::new(10, 200 + index, high, low).into(),
            Family::V6 => {
                Ipv6Addr::new(0xfd00, 0x200, index.into(), 0, 0, 0, 0, self.state + 1).into()
            }
        }
    }

    fn service(self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": NAME, "namespace": "default" },
            "spec": {
                "clusterIP": ADDRESSES[0],
                "clusterIPs": ADDRESSES,
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "RequireDualStack",
                "ports": [{ "port": self.port(), "protocol": "TCP" }],
            },
        })
    }

    fn slice(self, family: Family) -> Value {
        let endpoint = |index: usize| {
            json!({
                "addresses": [self.endpoint(family, index)],
                "hints": { "forZones": [{ "name": ZONES[index] }] },
            })
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{NAME}-{}", family.to_string().to_lowercase()),
                "namespace": "default",
                "labels": { "kubernetes.io/service-name": NAME },
            },
            "addressType": family.to_string(),
            "ports": [{ "name": "", "port": 80, "protocol": "TCP" }],
            "endpoints": (0..ZONES.len()).map(endpoint).collect::<Vec<_>>(),
        })
    }
}
