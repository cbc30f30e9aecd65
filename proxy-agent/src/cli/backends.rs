//! `sluice backends`: what receives traffic, and for which Services.
//!
//! JSON: a list of [`Row`].

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    CliError, ReadArgs, installed_maps,
    output::{lines, show, table},
    shown::{Endpoint, Name, Shown},
    view::View,
};

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    /// `address`, `port`, `local`, and `backend`, its index in the map of its family.
    #[serde(flatten)]
    endpoint: Endpoint,
    /// Service ports that have it in a set. Empty for a while after the last one has let it go.
    services: Vec<Name>,
}

pub(super) fn run(args: &ReadArgs) -> Result<(), CliError> {
    let maps = installed_maps(&args.pins.pins()?)?;
    let view = View::open(&maps)?;
    let rows = rows(view.backends()?, &view.frontends()?);
    show(args.output, &rows, |rows| text(rows))
}

fn rows(backends: Vec<Endpoint>, services: &[Shown]) -> Vec<Row> {
    let mut users: BTreeMap<Endpoint, BTreeSet<Name>> = BTreeMap::new();
    for service in services {
        for member in service.endpoints.iter().chain(&service.local_endpoints) {
            users.entry(member.endpoint).or_default().extend(service.service.clone());
        }
    }
    backends
        .into_iter()
        .map(|endpoint| {
            let services = users.remove(&endpoint).into_iter().flatten().collect();
            Row { endpoint, services }
        })
        .collect()
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No backend is installed.".into();
    }
    let mut table = table(["ID", "BACKEND", "LOCAL", "SERVICES"]);
    for row in rows {
        let services: Vec<String> = row.services.iter().map(ToString::to_string).collect();
        table.add_row([
            row.endpoint.backend.to_string(),
            row.endpoint.end.to_string(),
            if row.endpoint.local { "yes" } else { "no" }.to_owned(),
            if services.is_empty() { "none".to_owned() } else { services.join(" ") },
        ]);
    }
    lines(&table)
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Name, Shown, rows};
    use crate::cli::shown::{End, Member};

    #[test]
    fn a_backend_names_every_service_that_uses_it() {
        let end = End { address: [10, 1, 0, 1].into(), port: 80 };
        let endpoint = Endpoint { end, local: true, backend: 3 };
        let name = |text: &str| Name {
            namespace: "default".into(),
            name: text.into(),
            port: String::new(),
        };
        let service = |text: &str| Shown {
            service: Some(name(text)),
            id: 1,
            frontend: End { address: [10, 96, 0, 1].into(), port: 80 },
            protocol: "tcp".into(),
            kind: "cluster-ip",
            local_only: false,
            algorithm: Some("random"),
            affinity_seconds: None,
            source_ranges: None,
            node_admitted: true,
            endpoints: vec![Member { endpoint, slots: 1 }],
            local_endpoints: vec![Member { endpoint, slots: 1 }],
        };
        let idle = Endpoint { backend: 4, ..endpoint };
        let rows = rows(vec![endpoint, idle], &[service("b"), service("a")]);
        assert_eq!(rows[0].services, [name("a"), name("b")]);
        assert!(rows[1].services.is_empty());
    }
}
