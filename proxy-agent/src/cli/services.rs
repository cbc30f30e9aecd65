//! `sluice services`: frontends, and the endpoints behind them.
//!
//! JSON: a list of [`Shown`].

use super::{
    CliError, ReadArgs, installed_maps,
    output::{lines, show, table},
    view::{Endpoint, Shown, View, name_or_id},
};

/// Endpoints that a line of the table names; the rest is a number.
const NAMED: usize = 4;

pub(super) fn run(args: &ReadArgs) -> Result<(), CliError> {
    let maps = installed_maps(&args.pins.pins()?)?;
    let services = View::open(&maps)?.frontends()?;
    show(args.output, &services, |services| text(services))
}

fn text(services: &[Shown]) -> String {
    if services.is_empty() {
        return "No Service is installed.".into();
    }
    let mut table = table(["SERVICE", "FRONTEND", "PROTOCOL", "KIND", "POLICY", "ENDPOINTS"]);
    for service in services {
        let endpoints =
            if service.local_only { &service.local_endpoints } else { &service.endpoints };
        table.add_row([
            name_or_id(service.service.as_ref(), service.id),
            service.frontend.to_string(),
            service.protocol.clone(),
            service.kind.to_owned(),
            policy(service),
            summary(endpoints),
        ]);
    }
    format!("{}\nAn endpoint with * is on this node.\n", lines(&table))
}

fn policy(service: &Shown) -> String {
    let mut policy = if service.local_only { "local" } else { "cluster" }.to_owned();
    if let Some(seconds) = service.affinity_seconds {
        policy.push_str(&format!(", affinity {seconds}s"));
    }
    policy
}

fn summary(endpoints: &[Endpoint]) -> String {
    if endpoints.is_empty() {
        return "none".into();
    }
    let named = endpoints.iter().take(NAMED).map(|endpoint| {
        let mark = if endpoint.local { "*" } else { "" };
        format!("{}{mark}", endpoint.end)
    });
    let mut text = named.collect::<Vec<_>>().join(" ");
    if endpoints.len() > NAMED {
        text.push_str(&format!(" and {} more", endpoints.len() - NAMED));
    }
    text
}
