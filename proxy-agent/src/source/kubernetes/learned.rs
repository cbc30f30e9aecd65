//! The API servers themselves, as the cluster knows them: the endpoints of `default/kubernetes`.
//!
//! Pure. Called by [`super::servers`] with all that is told of EndpointSlices.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use proxy_common::Protocol;

use crate::{
    model::EndpointSlice,
    source::{Change, Event},
};

const NAMESPACE: &str = "default";
const SERVICE: &str = "kubernetes";
const PORT: &str = "https";

/// What is known of the API servers.
#[derive(Debug, Default)]
pub(super) struct Learned {
    slices: BTreeMap<Arc<str>, Vec<SocketAddr>>,
    servers: Vec<SocketAddr>,
}

impl Learned {
    /// Takes in `event`. The servers, if they are others than before. That there is none is not
    /// believed: who said so?
    pub(super) fn see(&mut self, event: &Event) -> Option<Vec<SocketAddr>> {
        match event {
            Event::EndpointSlice(Change::Applied(slice)) if is_ours(slice) => {
                self.slices.insert(slice.name.name.clone(), addresses(slice));
            }
            Event::EndpointSlice(Change::Applied(slice)) => {
                self.forget(&slice.name.namespace, &slice.name.name)?;
            }
            Event::EndpointSlice(Change::Deleted(name)) => {
                self.forget(&name.namespace, &name.name)?;
            }
            _ => return None,
        }
        let servers: BTreeSet<SocketAddr> = self.slices.values().flatten().copied().collect();
        let servers = Vec::from_iter(servers);
        let news = !servers.is_empty() && servers != self.servers;
        news.then(|| {
            self.servers.clone_from(&servers);
            servers
        })
    }

    fn forget(&mut self, namespace: &str, name: &str) -> Option<Vec<SocketAddr>> {
        if namespace == NAMESPACE { self.slices.remove(name) } else { None }
    }
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice
        .service
        .as_ref()
        .is_some_and(|service| *service.namespace == *NAMESPACE && *service.name == *SERVICE)
}

fn addresses(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let tcp = slice.ports.iter().filter(|port| port.protocol == Protocol::TCP);
    let Some(port) = tcp.clone().find(|port| *port.name == *PORT).or_else(|| tcp.clone().next())
    else {
        return Vec::new();
    };
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready);
    ready.map(|endpoint| SocketAddr::new(endpoint.address, port.port)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Learned;
    use crate::{
        model::NamespacedName,
        source::{Change, Event, convert::Converter},
    };

    fn slice(name: &str, service: &str, addresses: &[(&str, bool)]) -> Event {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|(address, ready)| json!({"addresses": [address], "conditions": {"ready": ready}}))
            .collect();
        let object = json!({
            "metadata": {
                "name": name, "namespace": "default",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        });
        let object = serde_json::from_value(object).unwrap();
        let (slice, _) = Converter::default().endpoint_slice(&object);
        Event::EndpointSlice(Change::Applied(slice.unwrap()))
    }

    fn texts(servers: Option<Vec<std::net::SocketAddr>>) -> Vec<String> {
        servers.into_iter().flatten().map(|server| server.to_string()).collect()
    }

    #[test]
    fn ready_endpoints_of_the_service_are_servers() {
        let mut learned = Learned::default();
        let ready = [("192.0.2.2", true), ("192.0.2.1", true), ("192.0.2.3", false)];
        let first = slice("kubernetes", "kubernetes", &ready);
        assert_eq!(texts(learned.see(&first)), ["192.0.2.1:6443", "192.0.2.2:6443"]);
        assert_eq!(learned.see(&first), None, "nothing new");
        assert_eq!(learned.see(&slice("web-x", "web", &[("10.0.0.1", true)])), None);
    }

    #[test]
    fn that_there_is_no_server_is_not_believed() {
        let mut learned = Learned::default();
        learned.see(&slice("kubernetes", "kubernetes", &[("192.0.2.1", true)]));
        let gone = NamespacedName::new("default", "kubernetes");
        assert_eq!(learned.see(&Event::EndpointSlice(Change::Deleted(gone))), None);
        assert_eq!(learned.see(&slice("kubernetes", "kubernetes", &[])), None);
        let other = slice("kubernetes", "kubernetes", &[("192.0.2.9", true)]);
        assert_eq!(texts(learned.see(&other)), ["192.0.2.9:6443"]);
    }
}
