//! Dirty Services, planned: what each should look like, who has which frontend, and the places for
//! it. Nothing is written here.
//!
//! Called by [`Reconciler::reconcile`].

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::{Nanoseconds, Protocol};

use crate::{
    desired::{DesiredPort, DesiredService, FrontendKey, Vantage, desired},
    model::{NamespacedName, ObjectKind, ObjectRef, Problem, Trouble},
};

use super::{
    Reconciler,
    belongings::Wanted,
    claims::{Changed, Claim},
    cluster::Known,
    error::{Failure, ReconcileError, Report, UdpServing},
    ids::PortKey,
    plan::{self, Plan},
};

impl Reconciler {
    /// Plans every dirty Service, and those that get or lose a frontend by it.
    pub(super) fn plan(&mut self, now: Nanoseconds, report: &mut Report) -> Vec<Plan> {
        let mut plans: BTreeMap<NamespacedName, Vec<Plan>> = BTreeMap::new();
        while let Some(service) = self.dirty.pop_first() {
            self.failed.remove(&service);
            let planned = self.plan_service(&service, now, report);
            plans.insert(service, planned);
        }
        report.services = plans.len();
        plans.into_values().flatten().collect()
    }

    fn plan_service(
        &mut self,
        name: &NamespacedName,
        now: Nanoseconds,
        report: &mut Report,
    ) -> Vec<Plan> {
        let (wanted, created) = match self.cluster.get(name) {
            Some(Known { service: Some(service), slices }) => {
                let vantage = Vantage {
                    node: &self.settings.node_name,
                    zone: self.cluster.node().and_then(|node| node.zone.as_deref()),
                    internal_ips: self.cluster.node().map_or(&[], |node| &node.internal_ips),
                    node_addresses: &self.node_addresses,
                    node_port_addresses: &self.node_port_addresses,
                    kinds: self.settings.frontend_kinds,
                    algorithm: self.settings.algorithm,
                    maglev_table_size: self.settings.maglev_table_size,
                };
                (desired(service, slices, &vantage), service.created)
            }
            _ => (DesiredService::default(), None),
        };
        self.tell(name, &wanted.problems);
        let changed = self.claims.replace(name, claims_of(name, created, &wanted));
        self.note(changed);

        let mut plans = Vec::with_capacity(wanted.ports.len() + 1);
        let mut ports = BTreeSet::new();
        for port in &wanted.ports {
            let owns = |port: &DesiredPort| {
                port.frontends.iter().any(|frontend| self.claims.is_owner(&frontend.key, name))
            };
            if !owns(port) {
                continue;
            }
            let key = PortKey { name: port.name.clone(), family: port.family };
            match plan::port(&mut self.tables, &key, port, now) {
                Ok(plan) => plans.extend(plan),
                Err(error) => {
                    self.failed.insert(name.clone());
                    note_failure(report, name, error);
                }
            }
            self.report_serving(&key, port, report);
            ports.insert(key);
        }
        plans.push(plan::markers(name, &wanted.markers));
        self.keep_ports(name, ports, now, report);
        plans
    }

    /// `name` has these ports now: what others had is let go.
    fn keep_ports(
        &mut self,
        name: &NamespacedName,
        ports: BTreeSet<PortKey>,
        now: Nanoseconds,
        report: &mut Report,
    ) {
        let before = if ports.is_empty() {
            self.ports.remove(name)
        } else {
            self.ports.insert(name.clone(), ports.iter().cloned().collect())
        };
        for port in before.iter().flatten().filter(|port| !ports.contains(*port)) {
            self.tables.forget_placement(port, now);
            if let Some(id) = self.tables.ids.known(port) {
                self.tables.belongings.want(id, Wanted::default());
            }
            if self.udp_serving.remove(port).is_some()
                && let Some(service) = self.tables.ids.known(port)
            {
                report.udp_serving.push(UdpServing { service, endpoints: Vec::new() });
            }
        }
    }

    /// Reports the serving endpoints of a UDP port if they changed.
    fn report_serving(&mut self, key: &PortKey, port: &DesiredPort, report: &mut Report) {
        if key.name.protocol != Protocol::UDP || self.udp_serving.get(key) == Some(&port.serving) {
            return;
        }
        if let Some(service) = self.tables.ids.of(key) {
            self.udp_serving.insert(key.clone(), port.serving.clone());
            report.udp_serving.push(UdpServing { service, endpoints: port.serving.clone() });
        }
    }

    /// Tells what is wrong with a Service, once for as long as it lasts.
    fn tell(&mut self, service: &NamespacedName, problems: &[Problem]) {
        let mut distinct: Vec<Problem> = Vec::new();
        for problem in problems {
            if !distinct.contains(problem) {
                distinct.push(problem.clone());
            }
        }
        let told = if distinct.is_empty() {
            self.told.remove(service)
        } else {
            self.told.insert(service.clone(), distinct.clone())
        };
        let told = told.unwrap_or_default();
        self.problems.extend(distinct.into_iter().filter(|problem| !told.contains(problem)));
    }

    fn note(&mut self, changed: Changed) {
        self.dirty.extend(changed.others);
        self.unowned.extend(changed.unowned);
        for (frontend, loser, owner) in changed.lost {
            // Two Services with one ClusterIP share its marker: their ports tell whether they collide.
            // Two with one NodePort collide at every address of the node: the marker tells it once.
            let node_ports = loser.is_of_node_port() && owner.is_of_node_port();
            let (field, value) = if frontend.is_node_port_marker() {
                ("nodePort", format!("{}/{}", frontend.port, frontend.protocol))
            } else if frontend.is_marker() || node_ports {
                continue;
            } else {
                ("frontend", frontend.to_string())
            };
            let problem = Problem {
                location: None,
                object: Some(reference(&loser.service)),
                field: field.to_owned(),
                value,
                trouble: Trouble::FrontendTaken {
                    owner: reference(&owner.service),
                    why: owner.wins_because(&loser),
                },
            };
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }
}

fn claims_of(
    name: &NamespacedName,
    created: Option<i64>,
    wanted: &DesiredService,
) -> BTreeMap<FrontendKey, Claim> {
    let frontends = wanted
        .ports
        .iter()
        .flat_map(|port| port.frontends.iter().map(|frontend| (frontend.key, frontend.kind)));
    frontends
        .chain(wanted.markers.iter().copied())
        .map(|(key, kind)| (key, Claim::new(kind, created, name.clone())))
        .collect()
}

fn note_failure(report: &mut Report, service: &NamespacedName, error: ReconcileError) {
    let known = report
        .failures
        .iter_mut()
        .find(|known| known.error.map() == error.map() && !known.error.is_from_the_store());
    match known {
        Some(known) => known.services.push(service.clone()),
        None => report.failures.push(Failure { services: vec![service.clone()], error }),
    }
}

fn reference(service: &NamespacedName) -> ObjectRef {
    ObjectRef { kind: ObjectKind::Service, name: service.to_string().into() }
}
