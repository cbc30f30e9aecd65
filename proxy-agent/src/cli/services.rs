//! `sluice services`: frontends, and the endpoints behind them.
//!
//! JSON: a list of [`Shown`].

use super::{
    CliError, ReadArgs, installed_maps,
    output::{duration, lines, show, table},
    shown::{Member, Shown, name_or_id},
    view::View,
};

/// Endpoints and source ranges that a line of the table names; the rest is a number.
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
    let mut table = table([
        "SERVICE",
        "FRONTEND",
        "PROTOCOL",
        "KIND",
        "POLICY",
        "ALGORITHM",
        "AFFINITY",
        "SOURCES",
        "ENDPOINTS",
    ]);
    for service in services {
        let endpoints =
            if service.local_only { &service.local_endpoints } else { &service.endpoints };
        table.add_row([
            name_or_id(service.service.as_ref(), service.id),
            service.frontend.to_string(),
            service.protocol.clone(),
            service.kind.to_owned(),
            if service.local_only { "local" } else { "cluster" }.to_owned(),
            service.algorithm.unwrap_or("-").to_owned(),
            service
                .affinity_seconds
                .map_or_else(|| "-".to_owned(), |seconds| duration(seconds.into())),
            sources(service),
            summary(
                &endpoints.iter().map(|member| member_text(member, endpoints)).collect::<Vec<_>>(),
            ),
        ]);
    }
    format!(
        "{}\nAn endpoint with * is on this node; a number behind it is its slots, where they differ.\n",
        lines(&table)
    )
}

/// Who may come.
fn sources(service: &Shown) -> String {
    service.source_ranges.as_ref().map_or_else(|| "any".to_owned(), |ranges| summary(ranges))
}

fn member_text(member: &Member, all: &[Member]) -> String {
    let mark = if member.endpoint.local { "*" } else { "" };
    let text = format!("{}{mark}", member.endpoint.end);
    let even = all.iter().all(|other| other.slots == member.slots);
    if even { text } else { format!("{text}({})", member.slots) }
}

fn summary(texts: &[String]) -> String {
    if texts.is_empty() {
        return "none".into();
    }
    let mut text = texts.iter().take(NAMED).cloned().collect::<Vec<_>>().join(" ");
    if texts.len() > NAMED {
        text.push_str(&format!(" and {} more", texts.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Member, Shown, text};
    use crate::cli::shown::{End, Endpoint};

    fn member(host: u8, slots: u32) -> Member {
        let end = End { address: [10, 1, 0, host].into(), port: 80 };
        Member { endpoint: Endpoint { end, local: host == 1, backend: host.into() }, slots }
    }

    fn service(endpoints: Vec<Member>) -> Shown {
        Shown {
            service: None,
            id: 3,
            frontend: End { address: [192, 0, 2, 1].into(), port: 80 },
            protocol: "tcp".into(),
            kind: "load-balancer",
            local_only: false,
            algorithm: Some("maglev"),
            affinity_seconds: Some(10_800),
            source_ranges: Some(vec!["198.51.100.0/24".into()]),
            node_admitted: false,
            endpoints,
            local_endpoints: Vec::new(),
        }
    }

    #[test]
    fn a_line_tells_who_may_come_and_who_picks() {
        let text = text(&[service(vec![member(1, 2), member(2, 2)])]);
        let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            line,
            [
                "#3",
                "192.0.2.1:80",
                "tcp",
                "load-balancer",
                "cluster",
                "maglev",
                "3h0m",
                "198.51.100.0/24",
                "10.1.0.1:80*",
                "10.1.0.2:80"
            ]
        );
    }

    #[test]
    fn uneven_shares_are_shown_and_no_range_admits_nobody() {
        let service =
            Shown { source_ranges: Some(Vec::new()), ..service(vec![member(1, 3), member(2, 1)]) };
        let text = text(&[service]);
        assert!(text.contains("10.1.0.1:80*(3) 10.1.0.2:80(1)"), "{text}");
        assert!(text.contains("none"), "{text}");
    }
}
