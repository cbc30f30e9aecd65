//! What several commands read from the maps: names, frontends, endpoints, as they are shown.
//!
//! Called by the commands beside it.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use proxy_common::{
    Address, Backend, BackendFlags, BackendId, Be16, Frontend, FrontendKind, Protocol, Service,
    ServiceFlags, ServiceId, SlotRange, V4, V6,
};
use serde::Serialize;

use super::CliError;
use crate::datapath::tables::{Family, Services, Shared};

/// A Service port as Kubernetes calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Name {
    /// The Service's namespace.
    pub(super) namespace: String,
    /// The Service's name.
    pub(super) name: String,
    /// The port's name; empty when it has none.
    pub(super) port: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct End {
    /// The address.
    pub(super) address: IpAddr,
    /// The port.
    pub(super) port: u16,
}

impl End {
    pub(super) fn new<A: Address>(address: A, port: Be16) -> Self {
        Self { address: address.to_ip(), port: port.get() }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// A backend in an endpoint set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Endpoint {
    /// Where it is.
    #[serde(flatten)]
    pub(super) end: End,
    /// Whether it is on this node.
    pub(super) local: bool,
    /// Its index in `BACKENDS_*`.
    pub(super) backend: u32,
}

/// A frontend and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    /// The Service port; null when its name is not in the maps.
    pub(super) service: Option<Name>,
    /// Its number, the same for all frontends of the Service port in a family.
    pub(super) id: u32,
    /// Where traffic arrives.
    pub(super) frontend: End,
    /// `tcp`, `udp`, `sctp`.
    pub(super) protocol: String,
    /// `cluster-ip`, `external-ip`, `load-balancer`, `node-port`.
    pub(super) kind: &'static str,
    /// New flows use endpoints of this node only.
    pub(super) local_only: bool,
    /// How long a client stays with its endpoint; null without session affinity.
    pub(super) affinity_seconds: Option<u32>,
    /// The cluster set.
    pub(super) endpoints: Vec<Endpoint>,
    /// The local set.
    pub(super) local_endpoints: Vec<Endpoint>,
}

/// The maps of Services, opened.
pub(super) struct View {
    shared: Shared,
    v4: Services<V4>,
    v6: Services<V6>,
}

impl View {
    pub(super) fn open(maps: &Path) -> Result<Self, CliError> {
        Ok(Self {
            shared: Shared::open(maps)?,
            v4: Services::open(maps)?,
            v6: Services::open(maps)?,
        })
    }

    /// Names of Service ports by id.
    pub(super) fn names(&self) -> Result<BTreeMap<ServiceId, Name>, CliError> {
        let entries = self.shared.names.entries()?;
        Ok(entries
            .iter()
            .filter_map(|(id, name)| {
                let (namespace, name, port) = name.parts()?;
                let name = Name {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    port: port.to_owned(),
                };
                Some((ServiceId::new(*id), name))
            })
            .collect())
    }

    /// Every frontend, by name, kind and address.
    pub(super) fn frontends(&self) -> Result<Vec<Shown>, CliError> {
        let names = self.names()?;
        let mut shown = Vec::new();
        self.of_family(&self.v4, &names, &mut shown)?;
        self.of_family(&self.v6, &names, &mut shown)?;
        shown.sort_by(|a, b| {
            let key = |s: &Shown| (s.service.clone(), s.id, s.kind, s.frontend);
            key(a).cmp(&key(b))
        });
        Ok(shown)
    }

    /// Every backend by family and id.
    pub(super) fn backends(&self) -> Result<Vec<Endpoint>, CliError> {
        let mut shown = Vec::new();
        backends_of(&self.v4, &mut shown)?;
        backends_of(&self.v6, &mut shown)?;
        Ok(shown)
    }

    fn of_family<A: Family>(
        &self,
        maps: &Services<A>,
        names: &BTreeMap<ServiceId, Name>,
        shown: &mut Vec<Shown>,
    ) -> Result<(), CliError> {
        for (frontend, service) in maps.frontends.entries()? {
            if let Some(kind) = service.frontend_kind() {
                shown.push(self.shown(maps, names, frontend, &service, kind)?);
            }
        }
        Ok(())
    }

    fn shown<A: Family>(
        &self,
        maps: &Services<A>,
        names: &BTreeMap<ServiceId, Name>,
        frontend: Frontend<A>,
        service: &Service,
        kind: FrontendKind,
    ) -> Result<Shown, CliError> {
        let affinity = service.flags.contains(ServiceFlags::AFFINITY);
        Ok(Shown {
            service: names.get(&service.id).cloned(),
            id: service.id.get(),
            frontend: End::new(frontend.address, frontend.port),
            protocol: protocol(frontend.protocol),
            kind: kind_name(kind),
            local_only: service.flags.contains(ServiceFlags::LOCAL_ONLY),
            affinity_seconds: affinity.then(|| service.affinity.get()),
            endpoints: self.endpoints(maps, service.cluster)?,
            local_endpoints: self.endpoints(maps, service.local)?,
        })
    }

    fn endpoints<A: Family>(
        &self,
        maps: &Services<A>,
        slots: SlotRange,
    ) -> Result<Vec<Endpoint>, CliError> {
        let mut endpoints = Vec::new();
        for slot in slots.base..slots.base.saturating_add(slots.count) {
            let Some(id) = self.shared.slots.get(&slot)? else { continue };
            if let Some(backend) = maps.backends.get(&id.get())? {
                endpoints.push(endpoint(id, &backend));
            }
        }
        endpoints.sort();
        Ok(endpoints)
    }
}

fn backends_of<A: Family>(maps: &Services<A>, shown: &mut Vec<Endpoint>) -> Result<(), CliError> {
    maps.backends.for_each(|id, backend| {
        if backend.port != Be16::ZERO {
            shown.push(endpoint(BackendId::new(id), &backend));
        }
    })?;
    Ok(())
}

fn endpoint<A: Address>(id: BackendId, backend: &Backend<A>) -> Endpoint {
    Endpoint {
        end: End::new(backend.address, backend.port),
        local: backend.flags.contains(BackendFlags::LOCAL),
        backend: id.get(),
    }
}

/// The name of a protocol in tables and JSON.
pub(super) fn protocol(protocol: Protocol) -> String {
    protocol.to_string()
}

fn kind_name(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "cluster-ip",
        FrontendKind::ExternalIp => "external-ip",
        FrontendKind::LoadBalancer => "load-balancer",
        FrontendKind::NodePort => "node-port",
    }
}

/// A Service port's name, or its number where the maps have no name.
pub(super) fn name_or_id(name: Option<&Name>, id: u32) -> String {
    name.map_or_else(|| format!("#{id}"), ToString::to_string)
}
