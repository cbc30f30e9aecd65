//! Which endpoints serve a UDP Service port: flows to others are removed at once.
//!
//! A datagram has no handshake that could fail: a flow to an endpoint that is gone would swallow a
//! client's traffic until it expires (SEMANTICS §7). Endpoints that are terminating and still
//! serve keep their flows; where nobody serves, flows stay. Pure. Called by
//! [`crate::flows::sweep`].

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use proxy_common::{Address, Be16, Protocol, ServiceId};

/// The serving endpoints of UDP Service ports.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    endpoints: HashMap<ServiceId, HashSet<SocketAddr>>,
}

impl Serving {
    /// Learns which endpoints serve `service` now.
    pub fn set(&mut self, service: ServiceId, endpoints: impl IntoIterator<Item = SocketAddr>) {
        let endpoints: HashSet<SocketAddr> = endpoints.into_iter().collect();
        if endpoints.is_empty() {
            self.endpoints.remove(&service);
        } else {
            self.endpoints.insert(service, endpoints);
        }
    }

    /// Whether a flow of `service` to this endpoint has lost it.
    #[must_use]
    pub fn is_stale<A: Address>(
        &self,
        protocol: Protocol,
        service: ServiceId,
        (address, port): (A, Be16),
    ) -> bool {
        protocol == Protocol::UDP
            && self.endpoints.get(&service).is_some_and(|serving| {
                !serving.contains(&SocketAddr::new(address.to_ip(), port.get()))
            })
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::{Be16, Protocol, ServiceId, V4};

    use super::Serving;

    const DNS: ServiceId = ServiceId::new(7);

    fn endpoint(host: u8, port: u16) -> (V4, Be16) {
        (V4::new([10, 1, 0, host]), Be16::new(port))
    }

    fn serving(endpoints: &[&str]) -> Serving {
        let mut serving = Serving::default();
        serving.set(DNS, endpoints.iter().map(|text| text.parse().unwrap()));
        serving
    }

    #[test]
    fn a_flow_to_an_endpoint_that_stopped_serving_is_stale() {
        let serving = serving(&["10.1.0.2:53"]);
        assert!(serving.is_stale(Protocol::UDP, DNS, endpoint(1, 53)));
        assert!(!serving.is_stale(Protocol::UDP, DNS, endpoint(2, 53)));
    }

    #[test]
    fn another_target_port_is_another_endpoint() {
        assert!(serving(&["10.1.0.2:5353"]).is_stale(Protocol::UDP, DNS, endpoint(2, 53)));
    }

    #[test]
    fn flows_stay_where_nobody_serves_and_where_nothing_is_known() {
        assert!(!serving(&[]).is_stale(Protocol::UDP, DNS, endpoint(1, 53)));
        assert!(!Serving::default().is_stale(Protocol::UDP, DNS, endpoint(1, 53)));
    }

    #[test]
    fn tcp_is_left_to_its_ends() {
        assert!(!serving(&["10.1.0.2:53"]).is_stale(Protocol::TCP, DNS, endpoint(1, 53)));
    }
}
