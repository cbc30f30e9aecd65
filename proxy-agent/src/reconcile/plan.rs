//! From what one Service should look like to places in the maps: ids, slots, values. Nothing is
//! written here.

use proxy_common::{Algorithm, Nanoseconds, Service};

use crate::{
    desired::{DesiredPort, FrontendKey},
    model::NamespacedName,
};

use super::{
    error::ReconcileError,
    ids::PortKey,
    sets::Placement,
    tables::{Mirrored, Tables},
};

/// Frontends of a Service that lead to the same sets.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) service: NamespacedName,
    pub(super) frontends: Vec<(FrontendKey, Mirrored)>,
}

/// What `port` should look like in the maps. `None` when it can have no id: its name is longer
/// than Kubernetes allows, which its source has told.
pub(super) fn port(
    tables: &mut Tables,
    key: &PortKey,
    port: &DesiredPort,
    now: Nanoseconds,
) -> Result<Option<Plan>, ReconcileError> {
    let Some(id) = tables.ids.of(key) else { return Ok(None) };
    let placement = tables.place(key, &port.sets, now)?;
    let frontends = port
        .frontends
        .iter()
        .map(|frontend| {
            let service = Service {
                id,
                flags: frontend.flags(port.affinity),
                kind: frontend.kind as u8,
                algorithm: Algorithm::Random as u8,
                cluster: placement.cluster,
                local: placement.local,
                affinity: port.affinity.unwrap_or_default(),
            };
            (frontend.key, Mirrored { service, placement })
        })
        .collect();
    Ok(Some(Plan { service: key.name.service.clone(), frontends }))
}

/// The markers of a Service's ClusterIPs.
pub(super) fn markers(service: &NamespacedName, cluster_ips: &[std::net::IpAddr]) -> Plan {
    let marker = Mirrored { service: Service::default(), placement: Placement::default() };
    Plan {
        service: service.clone(),
        frontends: cluster_ips
            .iter()
            .map(|address| (FrontendKey::marker(*address), marker))
            .collect(),
    }
}
