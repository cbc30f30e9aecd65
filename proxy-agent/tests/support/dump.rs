//! The maps as text that reads like what was asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::IpAddr,
};

use proxy_agent::{
    model::Family,
    store::{
        Installed,
        view::{Place, Seen, SeenBackend, view},
    },
};
use proxy_common::{
    Address, Algorithm, FrontendKind, MemberSets, Prefix, Protocol, Service, ServiceFlags,
    ServiceId,
};

/// What `installed` means, a frontend a paragraph, in order.
///
/// # Panics
/// When something is installed that must never be.
pub(crate) fn dump(installed: &Installed) -> String {
    let seen = view(installed).unwrap_or_else(|violations| panic!("{violations:#?}"));
    nothing_is_left_over(installed);
    let mut text = String::new();
    for (place, seen) in &seen {
        frontend(&mut text, place, seen);
    }
    if let Some(config) = &installed.config {
        cidrs(&mut text, &config.service_cidrs_v4, config.service_cidr_count_v4);
        cidrs(&mut text, &config.service_cidrs_v6, config.service_cidr_count_v6);
    }
    text
}

/// Elements that are looked up by service id are there for a frontend that needs them.
fn nothing_is_left_over(installed: &Installed) {
    let v4 = installed.v4.frontends.values();
    let services: Vec<&Service> = v4.chain(installed.v6.frontends.values()).collect();
    let ids = |needed: &dyn Fn(&Service) -> bool| -> BTreeSet<ServiceId> {
        services.iter().filter(|service| needed(service)).map(|service| service.id).collect()
    };
    let filtered = ids(&|service| service.flags.contains(ServiceFlags::SOURCE_RANGES));
    let affine = ids(&|service| service.flags.contains(ServiceFlags::AFFINITY));
    let in_turn = ids(&|service| service.algorithm == Algorithm::RoundRobin as u8);
    let ranges = installed.v4.ranges.iter().map(|range| range.data.service);
    let mut ranges = ranges.chain(installed.v6.ranges.iter().map(|range| range.data.service));
    assert!(ranges.all(|id| filtered.contains(&id)), "source ranges are left over");
    let mut members = installed.members.keys().map(|member| member.service);
    assert!(members.all(|id| affine.contains(&id)), "members are left over");
    assert!(installed.turns.is_subset(&in_turn), "turns are left over");
}

fn frontend(text: &mut String, place: &Place, seen: &Seen) {
    let (address, port, protocol) = place;
    let Some(kind) = seen.kind else {
        if address.is_unspecified() {
            let family = Family::of(*address);
            writeln!(text, "{port}/{protocol} is an {family} NodePort").unwrap();
        } else {
            assert_eq!((*port, *protocol), (0, Protocol::ANY), "only markers are without a kind");
            writeln!(text, "{address} is a ClusterIP").unwrap();
        }
        return;
    };
    let kind = match kind {
        FrontendKind::ClusterIp => "ClusterIP",
        FrontendKind::ExternalIp => "external IP",
        FrontendKind::LoadBalancer => "load balancer",
        FrontendKind::NodePort => "NodePort",
    };
    let (namespace, name, port_name) = seen.name.as_ref().unwrap();
    write!(text, "{}/{protocol} {kind} of {namespace}/{name}", with_port(*address, *port)).unwrap();
    if !port_name.is_empty() {
        write!(text, ":{port_name}").unwrap();
    }
    for (flag, word) in [
        (ServiceFlags::LOCAL_ONLY, ", local only"),
        (ServiceFlags::SOURCE_RANGES, ", sources checked"),
        (ServiceFlags::NODE_ADMITTED, ", the node admitted"),
    ] {
        if seen.flags.contains(flag) {
            text.push_str(word);
        }
    }
    if seen.flags.contains(ServiceFlags::AFFINITY) {
        write!(text, ", clients stay {} s", seen.affinity.get()).unwrap();
    }
    let algorithm = Algorithm::from_number(seen.algorithm).unwrap();
    if algorithm != Algorithm::Random {
        write!(text, ", {}", algorithm.name()).unwrap();
    }
    text.push('\n');
    for (name, slots) in [("cluster", &seen.cluster), ("local", &seen.local)] {
        match algorithm {
            Algorithm::Maglev | Algorithm::RoundRobin => in_order(text, name, slots),
            Algorithm::Random | Algorithm::LeastConnections => counted(text, name, slots),
        }
    }
    if seen.flags.contains(ServiceFlags::SOURCE_RANGES) {
        let ranges: Vec<String> =
            seen.ranges.iter().map(|(network, bits)| format!("{network}/{bits}")).collect();
        list(text, "admitted", &ranges);
    }
    if seen.flags.contains(ServiceFlags::AFFINITY) {
        let members: Vec<String> = seen.members.iter().map(member).collect();
        list(text, "members", &members);
    }
}

fn member((member, sets): (&SeenBackend, &MemberSets)) -> String {
    let sets: Vec<&str> = [(MemberSets::CLUSTER, "cluster"), (MemberSets::LOCAL, "local")]
        .into_iter()
        .filter_map(|(set, name)| sets.contains(set).then_some(name))
        .collect();
    format!("{} {}", backend(member), sets.join("+"))
}

/// Slots of which only the number counts.
fn counted(text: &mut String, name: &str, slots: &[SeenBackend]) {
    let mut counts: BTreeMap<&SeenBackend, u32> = BTreeMap::new();
    for slot in slots {
        *counts.entry(slot).or_default() += 1;
    }
    let backends: Vec<String> = counts
        .into_iter()
        .map(|(seen, count)| match count {
            1 => backend(seen),
            _ => format!("{} x{count}", backend(seen)),
        })
        .collect();
    list(text, name, &backends);
}

fn in_order(text: &mut String, name: &str, slots: &[SeenBackend]) {
    list(text, name, &slots.iter().map(backend).collect::<Vec<_>>());
}

fn list(text: &mut String, name: &str, items: &[String]) {
    let items = if items.is_empty() { "nothing".to_owned() } else { items.join(", ") };
    writeln!(text, "  {name}: {items}").unwrap();
}

fn backend((address, port, local): &SeenBackend) -> String {
    let here = if *local { " (here)" } else { "" };
    format!("{}{here}", with_port(*address, *port))
}

fn with_port(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

fn cidrs<A: Address>(text: &mut String, prefixes: &[Prefix<A>], count: u8) {
    for prefix in &prefixes[..usize::from(count)] {
        let ones: u32 = prefix.mask.words().iter().map(|word| word.count_ones()).sum();
        writeln!(text, "{}/{ones} is a ServiceCIDR", prefix.network).unwrap();
    }
}
