//! From what one Service should look like to places in the maps: ids, slots, values. Nothing is
//! written here.

use std::collections::BTreeSet;

use proxy_common::{Algorithm, FrontendKind, Nanoseconds, Service, ServiceId};

use crate::{
    desired::{DesiredPort, FrontendKey},
    model::NamespacedName,
};

use super::{
    belongings::Wanted,
    error::ReconcileError,
    ids::PortKey,
    sets::Placement,
    tables::{Mirrored, Tables},
};

/// Frontends of a Service that lead to the same sets.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) service: NamespacedName,
    /// The Service port; `None` for markers.
    pub(super) id: Option<ServiceId>,
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
    let placement = tables.place(key, &port.sets, &port.slots, now)?;
    let wanted = Wanted {
        ranges: port
            .admitted
            .as_ref()
            .map(|admitted| admitted.ranges.iter().map(|range| (*range, ())).collect()),
        members: port.affinity.map(|_| tables.members(&placement)),
        turn: port.algorithm == Algorithm::RoundRobin,
    };
    tables.belongings.want(id, wanted);
    let frontends = port
        .frontends
        .iter()
        .map(|frontend| {
            let service = Service {
                id,
                flags: frontend.flags(port.affinity),
                kind: frontend.kind as u8,
                algorithm: port.algorithm as u8,
                cluster: placement.cluster,
                local: placement.local,
                affinity: port.affinity.unwrap_or_default(),
            };
            (frontend.key, Mirrored { service, placement })
        })
        .collect();
    Ok(Some(Plan { service: key.name.service.clone(), id: Some(id), frontends }))
}

/// The markers of a Service's ClusterIPs and NodePorts.
pub(super) fn markers(
    service: &NamespacedName,
    markers: &BTreeSet<(FrontendKey, FrontendKind)>,
) -> Plan {
    let marker = Mirrored { service: Service::default(), placement: Placement::default() };
    Plan {
        service: service.clone(),
        id: None,
        frontends: markers.iter().map(|(key, _)| (*key, marker)).collect(),
    }
}
