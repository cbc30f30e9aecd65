//! The maps as text that reads like what was asked for.

use std::{fmt::Write, net::IpAddr};

use proxy_agent::store::{
    Installed,
    view::{Place, Seen, SeenBackend, view},
};
use proxy_common::{Address, FrontendKind, Prefix, Protocol, ServiceFlags};

/// What `installed` means, a frontend a paragraph, in order.
///
/// # Panics
/// When something is installed that must never be.
pub(crate) fn dump(installed: &Installed) -> String {
    let seen = view(installed).unwrap_or_else(|violations| panic!("{violations:#?}"));
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

fn frontend(text: &mut String, place: &Place, seen: &Seen) {
    let (address, port, protocol) = place;
    let Some(kind) = seen.kind else {
        assert_eq!((*port, *protocol), (0, Protocol::ANY), "only markers are without a kind");
        writeln!(text, "{address} is a ClusterIP").unwrap();
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
    ] {
        if seen.flags.contains(flag) {
            text.push_str(word);
        }
    }
    if seen.flags.contains(ServiceFlags::AFFINITY) {
        write!(text, ", clients stay {} s", seen.affinity.get()).unwrap();
    }
    text.push('\n');
    set(text, "cluster", &seen.cluster);
    set(text, "local", &seen.local);
}

fn set(text: &mut String, name: &str, set: &[SeenBackend]) {
    let backends: Vec<String> = set
        .iter()
        .map(|(address, port, local)| {
            let here = if *local { " (here)" } else { "" };
            format!("{}{here}", with_port(*address, *port))
        })
        .collect();
    let backends = if backends.is_empty() { "nothing".to_owned() } else { backends.join(", ") };
    writeln!(text, "  {name}: {backends}").unwrap();
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
