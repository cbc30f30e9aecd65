//! What the sweeper has to know of Services: which count open flows, and how long clients stay with
//! their endpoint.
//!
//! Read from the maps, so that it is what the datapath goes by. Called by [`crate::flows::sweeper`].

use std::collections::{HashMap, HashSet};

use proxy_common::{Algorithm, Frontend, Seconds, Service, ServiceFlags, ServiceId};

use crate::datapath::{
    map::{Map, MapError},
    tables::Family,
};

/// What is known of Services of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Services that pick by least connections.
    pub least_connections: HashSet<ServiceId>,
    /// How long a client stays with its endpoint, of Services with session affinity.
    pub affinity: HashMap<ServiceId, Seconds>,
}

impl Known {
    /// Takes in the frontends of a family.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn read<A: Family>(
        &mut self,
        frontends: &Map<Frontend<A>, Service>,
    ) -> Result<(), MapError> {
        frontends.for_each(|_, service| self.learn(&service))
    }

    fn learn(&mut self, service: &Service) {
        if service.frontend_kind().is_none() {
            return;
        }
        if Algorithm::from_number(service.algorithm) == Some(Algorithm::LeastConnections) {
            self.least_connections.insert(service.id);
        }
        if service.flags.contains(ServiceFlags::AFFINITY) {
            self.affinity.insert(service.id, service.affinity);
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::{Algorithm, FrontendKind, Seconds, Service, ServiceFlags, ServiceId};

    use super::Known;

    #[test]
    fn markers_say_nothing_of_a_service() {
        let mut known = Known::default();
        let web = Service {
            id: ServiceId::new(7),
            algorithm: Algorithm::LeastConnections as u8,
            flags: ServiceFlags::AFFINITY,
            affinity: Seconds::new(60),
            ..Service::default()
        };
        known.learn(&web);
        assert_eq!(known, Known::default());
        known.learn(&Service { kind: FrontendKind::NodePort as u8, ..web });
        assert!(known.least_connections.contains(&web.id));
        assert_eq!(known.affinity.get(&web.id), Some(&Seconds::new(60)));
    }
}
