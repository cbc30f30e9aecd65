//! Settings of the network stack, and rules of netfilter that drop what it can't follow.

use std::io;

use super::{super::facts::Stack, devices::Found};
use crate::{
    host::{nftables::NfTables, sysctl},
    preflight::judge::{FORWARD_V4, FORWARD_V6},
};

pub(super) fn look(devices: &Found) -> Stack {
    let on = |name: &str| sysctl::read(name).map(|value| value != "0");
    let mut stack = Stack {
        forward_v4: on(FORWARD_V4),
        forward_v6: on(FORWARD_V6),
        send_redirects: on("net.ipv4.conf.all.send_redirects"),
        rp_filter: sysctl::read("net.ipv4.conf.all.rp_filter"),
        bridges: devices.bridges.clone(),
        bridge_nf_v4: on("net.bridge.bridge-nf-call-iptables"),
        bridge_nf_v6: on("net.bridge.bridge-nf-call-ip6tables"),
        ..Stack::default()
    };
    let switched = stack.bridge_nf_v4 != Some(true) || stack.bridge_nf_v6 != Some(true);
    // A ruleset may have a hundred thousand rules: they are read where it matters.
    if !stack.bridges.is_empty() && switched {
        match drops_invalid() {
            Ok(chains) => stack.drops_invalid = chains,
            Err(error) => stack.unknown = Some(error.to_string()),
        }
    }
    stack
}

fn drops_invalid() -> io::Result<Vec<String>> {
    let nftables = NfTables::open()?;
    let mut chains = Vec::new();
    for table in nftables.tables()? {
        let rules = nftables.rules(&table)?;
        let found = rules.iter().filter(|rule| rule.drops_invalid);
        chains.extend(found.map(|rule| format!("{} {}", rule.table, rule.chain)));
    }
    chains.dedup();
    Ok(chains)
}
