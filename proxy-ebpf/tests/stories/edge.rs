//! The node's edge, for stories about clients outside: a node with a NodePort, an endpoint on it and
//! one on another node, and the ways that packets take between them.

use proxy_common::{
    Backend, BackendFlags, Be16, Counter, DeviceRole, Frontend, FrontendKind, Protocol, Service,
    ServiceFlags, ServiceId,
};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::build::{Build, End, tcp, tcp_syn},
};

use crate::stage::{Cast, Stage, node, pod, ports};

/// A client outside, and a port of it.
pub(crate) fn outside<A: Cast>() -> End<A> {
    (A::address(7, 1), 50_000)
}

/// An endpoint on this node.
pub(crate) fn here<A: Cast>() -> End<A> {
    (pod(9), 8080)
}

/// An endpoint on another node.
pub(crate) fn away<A: Cast>() -> End<A> {
    (A::address(245, 9), 8080)
}

/// The node's address, at a NodePort.
pub(crate) fn node_port<A: Cast>() -> End<A> {
    (node(), 30_080)
}

/// A load balancer's address.
pub(crate) fn load_balancer<A: Cast>() -> End<A> {
    (A::address(200, 1), 80)
}

/// A Service's external IP.
pub(crate) fn external_ip<A: Cast>() -> End<A> {
    (A::address(201, 1), 80)
}

/// Its ClusterIP.
pub(crate) fn cluster_ip<A: Cast>() -> End<A> {
    (A::address(96, 1), 80)
}

/// Its frontends of every kind.
pub(crate) fn frontends<A: Cast>() -> [(End<A>, FrontendKind); 4] {
    [
        (cluster_ip(), FrontendKind::ClusterIp),
        (external_ip(), FrontendKind::ExternalIp),
        (load_balancer(), FrontendKind::LoadBalancer),
        (node_port(), FrontendKind::NodePort),
    ]
}

/// The transports of a Service port.
pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// What a frontend of that kind leads to, apart from its endpoints.
pub(crate) fn service(kind: FrontendKind, flags: ServiceFlags) -> Service {
    Service { id: ServiceId::new(7), kind: kind as u8, flags, ..Service::default() }
}

impl Stage {
    /// A node with an address and no Service.
    pub(crate) fn edge<A: Cast>() -> Self {
        Self::empty().with_node_address::<A>()
    }

    /// A node at whose frontends of every kind the same Service is, with these endpoints.
    pub(crate) fn edge_with<A: Cast>(flags: ServiceFlags, endpoints: &[End<A>]) -> Self {
        let mut stage = Self::edge::<A>();
        for (at, kind) in frontends() {
            stage.offer(at, service(kind, flags), endpoints);
        }
        stage
    }

    /// The frontend `at` leads to `endpoints`, of which [`here`]'s address alone is on this node.
    pub(crate) fn offer<A: Cast>(
        &mut self,
        (address, port): End<A>,
        service: Service,
        endpoints: &[End<A>],
    ) {
        let backend = |(address, port): &End<A>| {
            let is_here = *address == here::<A>().0;
            let flags = if is_here { BackendFlags::LOCAL } else { BackendFlags::empty() };
            Backend::new(*address, Be16::new(*port), flags)
        };
        let backends: Vec<_> = endpoints.iter().map(backend).collect();
        for protocol in PROTOCOLS {
            let frontend = Frontend::new(address, Be16::new(port), protocol);
            self.machine.serve_backends(frontend, service, &backends);
        }
    }

    /// The next packets come from outside, or leave for there.
    pub(crate) fn at_uplink(&self) -> &Self {
        self.machine.role.set(DeviceRole::Uplink);
        self
    }

    /// The next packets come from a pod.
    pub(crate) fn at_workload(&self) -> &Self {
        self.machine.role.set(DeviceRole::Workload);
        self
    }

    /// Sends a packet on to the endpoint by the device towards it; the address and port that the
    /// endpoint sees.
    #[track_caller]
    pub(crate) fn masquerades<A: Cast>(&self, packet: &Build<A>) -> End<A> {
        let out = self.translated::<A>(Egress, &packet.packet());
        (node(), ports::<A>(&out).0)
    }

    /// Connects `client` to `frontend`, which leads to `endpoint` on another node: both ends have
    /// agreed, all halves are settled. The address and port that the endpoint sees.
    #[track_caller]
    pub(crate) fn connected<A: Cast>(
        &mut self,
        client: End<A>,
        frontend: End<A>,
        endpoint: End<A>,
    ) -> End<A> {
        self.at_uplink();
        let syn = |from, to| tcp_syn::<A>(from, to);
        self.translates(Ingress, &syn(client, frontend), &syn(client, endpoint));
        let seen = self.masquerades(&syn(client, endpoint));
        let agreed = |from, to| tcp_syn::<A>(from, to).ack();
        self.translates(Ingress, &agreed(endpoint, seen), &agreed(endpoint, client));
        self.translates(Egress, &agreed(endpoint, client), &agreed(frontend, client));
        let ack = |from, to| tcp::<A>(from, to).ack();
        self.translates(Ingress, &ack(client, frontend), &ack(client, endpoint));
        self.translates(Egress, &ack(client, endpoint), &ack(seen, endpoint));
        self.counted(&[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
        seen
    }

    /// Masqueraded packets take these ports, `count` from 12000 on.
    pub(crate) fn with_masquerade_ports(mut self, count: u16) -> Self {
        self.machine.config.masquerade_port_base = 12_000;
        self.machine.config.masquerade_port_count = count;
        self
    }

    /// Lets the filter say nothing: every address may be anything.
    pub(crate) fn with_blind_filter<A: Cast>(mut self) -> Self {
        self.machine.filter.fill(u64::MAX);
        self.machine.mark_node(node::<A>());
        self
    }
}
