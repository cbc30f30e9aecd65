//! What the operator should know before traffic is lost to it: settings of the kernel that are in
//! the way, and processes that nobody serves.
//!
//! Only says so; nothing is changed. [`look`] reads, [`warnings`] judges, and is pure. Called by
//! [`crate::agent`] at start.

use std::ops::RangeInclusive;

use proxy_common::Scope;

use crate::{host::sysctl, options::ServiceOptions};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// `net.ipv4.ip_forward`; `None` where there is no such setting.
    forward_v4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`, likewise (a kernel without IPv6).
    forward_v6: Option<bool>,
    /// `net.ipv4.ip_local_port_range`, without ports that are reserved.
    local_ports: Option<RangeInclusive<u16>>,
}

/// Reads the settings of this network namespace. `masquerade` are the ports that masqueraded flows
/// will use.
pub(super) fn look(masquerade: &RangeInclusive<u16>) -> Found {
    let on = |name: &str| sysctl::read(name).map(|value| value != "0");
    let local_ports = sysctl::local_ports().filter(|local| {
        overlap(local, masquerade).is_some_and(|both| !sysctl::are_reserved(&both))
    });
    Found { forward_v4: on(FORWARD_V4), forward_v6: on(FORWARD_V6), local_ports }
}

const FORWARD_V4: &str = "net.ipv4.ip_forward";
const FORWARD_V6: &str = "net.ipv6.conf.all.forwarding";

/// What to tell the operator.
pub(super) fn warnings(found: &Found, options: &ServiceOptions) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, family, forwards) in
        [(FORWARD_V4, "IPv4", found.forward_v4), (FORWARD_V6, "IPv6", found.forward_v6)]
    {
        if forwards == Some(false) {
            warnings.push(format!(
                "{name} is 0: this node forwards no {family} packets, so pods and machines outside \
                 reach no endpoint on another device over {family}; set it to 1"
            ));
        }
    }
    if let Some(local) = &found.local_ports
        && let Some(both) = overlap(local, &options.masquerade_ports)
    {
        warnings.push(format!(
            "--masquerade-ports {}-{} and {} {}-{} have ports {}-{} in common: a connection of the \
             node's own may be given one that a masqueraded flow uses; keep them apart, or list \
             the ports in {}",
            options.masquerade_ports.start(),
            options.masquerade_ports.end(),
            sysctl::LOCAL_PORTS,
            local.start(),
            local.end(),
            both.start(),
            both.end(),
            sysctl::RESERVED_PORTS,
        ));
    }
    for (protocol, flag, scope) in [
        ("TCP", "--socket-lb-tcp", options.socket_lb_tcp),
        ("UDP", "--socket-lb-udp", options.socket_lb_udp),
    ] {
        if scope == Scope::Off {
            warnings.push(format!(
                "{flag} off: processes of the node itself (kubelet, pods with hostNetwork) reach no \
                 Service over {protocol}: what they send crosses no device of a pod; give {flag} \
                 host"
            ));
        }
    }
    warnings
}

fn overlap(one: &RangeInclusive<u16>, other: &RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
    let (first, last) = (*one.start().max(other.start()), *one.end().min(other.end()));
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::{Found, ServiceOptions, warnings};
    use crate::options::{Flags, SocketScope};

    fn options(flags: &Flags) -> ServiceOptions {
        ServiceOptions::resolve(flags).unwrap()
    }

    fn forwarding() -> Found {
        Found { forward_v4: Some(true), forward_v6: Some(true), local_ports: None }
    }

    #[test]
    fn a_node_that_is_set_up_well_is_told_nothing() {
        assert_eq!(warnings(&forwarding(), &options(&Flags::default())), Vec::<String>::new());
        let no_ipv6 = Found { forward_v6: None, ..forwarding() };
        assert_eq!(warnings(&no_ipv6, &options(&Flags::default())), Vec::<String>::new());
    }

    #[test]
    fn forwarding_that_is_off_is_named_by_its_setting() {
        let found = Found { forward_v6: Some(false), ..forwarding() };
        let warnings = warnings(&found, &options(&Flags::default()));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("net.ipv6.conf.all.forwarding is 0"), "{warnings:?}");
    }

    #[test]
    fn ports_that_the_kernel_hands_out_are_named_with_both_ranges() {
        let found = Found { local_ports: Some(32_768..=61_999), ..forwarding() };
        let warnings = warnings(&found, &options(&Flags::default()));
        assert!(warnings[0].contains("--masquerade-ports 61000-65535"), "{warnings:?}");
        assert!(warnings[0].contains("net.ipv4.ip_local_port_range 32768-61999"), "{warnings:?}");
        assert!(warnings[0].contains("61000-61999 in common"), "{warnings:?}");
    }

    #[test]
    fn processes_of_the_node_that_nobody_serves_are_named() {
        let flags = Flags { socket_lb_udp: Some(SocketScope::Off), ..Flags::default() };
        let warnings = warnings(&forwarding(), &options(&flags));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("--socket-lb-udp off:"), "{warnings:?}");
    }
}
