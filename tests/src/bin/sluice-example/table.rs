//! Tables for people.

use std::fmt::{Display, Write as _};

use comfy_table::{Cell, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    checks::{Check, Protocol},
    stage::Stage,
};

/// Who is on stage.
pub(crate) fn of_hosts(stage: &Stage) -> Table {
    let mut table = table(&["host", "what", "IPv4", "IPv6"]);
    let hosts = [
        (&*stage.node, "the node"),
        (&stage.client, "pod, asks"),
        (stage.blue.host(), "pod, answers for greeter"),
        (stage.green.host(), "pod, answers for greeter"),
        (stage.legacy.host(), "outside the cluster, asks and answers for legacy"),
    ];
    for (host, what) in hosts {
        let addresses = host.addresses();
        table.add_row([
            Cell::new(host.name()),
            Cell::new(what),
            Cell::new(addresses.v4),
            Cell::new(addresses.v6),
        ]);
    }
    table
}

/// What came of the traffic.
pub(crate) fn of_checks(checks: &[Check]) -> Table {
    let mut table = table(&[
        "from",
        "by",
        "over",
        "asked",
        "who answered",
        "client saw",
        "on the wire",
        "server saw",
        "result",
    ]);
    for check in checks {
        let mut answered =
            joined(check.answers.iter().map(|(name, count)| format!("{name} {count}")));
        if check.refusals > 0 {
            let _ = write!(answered, "refused {}", check.refusals);
        }
        let verdict = match check.faults.split_first() {
            None => "ok".to_owned(),
            Some((first, [])) => format!("FAILED: {first}"),
            Some((first, others)) => format!("FAILED: {first} (and {} more)", others.len()),
        };
        let protocol = match check.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        table.add_row([
            Cell::new(&check.from),
            Cell::new(check.what),
            Cell::new(protocol),
            Cell::new(check.to),
            Cell::new(answered),
            Cell::new(joined(&check.client_saw)),
            Cell::new(joined(check.on_the_wire)),
            Cell::new(joined(&check.servers_saw)),
            Cell::new(verdict),
        ]);
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    table
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
