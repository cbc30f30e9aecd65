//! What a Service's owner should know though the Service is served: shares that are not what was
//! asked for, and SCTP ports that can't be translated.

use std::collections::BTreeSet;

use proxy_common::{FrontendKind, Protocol};

use crate::{
    endpoints::Sets,
    model::{ObjectKind, ObjectRef, Problem, Service, ServicePort, Trouble},
};

use super::{frontends::DesiredFrontend, slots::Shortfall};

/// What `shortfall` means for `service`, whose set has so many endpoints and was given so many
/// slots.
pub(super) fn of_slots(
    service: &Service,
    shortfall: Shortfall,
    endpoints: usize,
    given: usize,
) -> Problem {
    match shortfall {
        Shortfall::WeightsScaled { wanted } => problem(
            service,
            String::from("metadata.annotations[sluice.dev/weights]"),
            String::new(),
            Trouble::WeightsScaled { wanted, endpoints, given },
        ),
        Shortfall::TableSmall => problem(
            service,
            match service.algorithm {
                Some(_) => String::from("metadata.annotations[sluice.dev/algorithm]"),
                None => String::new(),
            },
            service.algorithm.map(|algorithm| algorithm.name().to_owned()).unwrap_or_default(),
            Trouble::MaglevTableSmall { slots: given, endpoints },
        ),
    }
}

/// The frontends of an SCTP port that don't have its endpoints' port. Addresses can be translated
/// without touching SCTP's checksum, ports can't.
pub(super) fn of_sctp(
    service: &Service,
    port: &ServicePort,
    frontends: &[DesiredFrontend],
    sets: &Sets,
) -> Vec<Problem> {
    if port.protocol != Protocol::SCTP {
        return Vec::new();
    }
    let targets: BTreeSet<u16> =
        sets.cluster.iter().chain(&sets.local).map(|backend| backend.port).collect();
    let numbers: BTreeSet<(u16, &'static str)> = frontends
        .iter()
        .map(|frontend| match frontend.kind {
            FrontendKind::NodePort => (frontend.key.port, "nodePort"),
            FrontendKind::ClusterIp | FrontendKind::ExternalIp | FrontendKind::LoadBalancer => {
                (frontend.key.port, "port")
            }
        })
        .collect();
    let mut problems = Vec::new();
    for (number, field) in numbers {
        for target in targets.iter().copied().filter(|target| *target != number) {
            problems.push(problem(
                service,
                format!("spec.ports[{}].{field}", name_of(port)),
                number.to_string(),
                Trouble::SctpPort { number, target, field },
            ));
        }
    }
    problems
}

/// The port's name, or its number and protocol.
fn name_of(port: &ServicePort) -> String {
    if port.name.is_empty() {
        format!("{}/{}", port.port, port.protocol)
    } else {
        port.name.to_string()
    }
}

fn problem(service: &Service, field: String, value: String, trouble: Trouble) -> Problem {
    let name = service.name.to_string().into();
    let object = Some(ObjectRef { kind: ObjectKind::Service, name });
    Problem { location: None, object, field, value, trouble }
}
