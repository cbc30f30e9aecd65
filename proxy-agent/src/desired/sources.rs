//! Who may use a load balancer's frontend: `spec.loadBalancerSourceRanges` for one family.

use std::net::IpAddr;

use crate::model::{Cidr, Family, Service};

use super::Vantage;

/// The sources that a Service port's load balancer frontends of one family admit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Admitted {
    /// These; nobody when there is none.
    pub ranges: Vec<Cidr>,
    /// Whether the node is among them: its processes may come, and packets whose source is the
    /// frontend's own address (from a node that has it, they loop back).
    pub node: bool,
}

/// Who may use the load balancers of `service` in `family`; `None` when anyone may: no ranges are
/// set, or all of them are of the other family. Without a valid range nobody may.
pub(super) fn admitted(
    service: &Service,
    family: Family,
    vantage: &Vantage<'_>,
) -> Option<Admitted> {
    let given = &service.source_ranges.as_ref()?.ranges;
    let ranges: Vec<Cidr> =
        given.iter().copied().filter(|range| range.family() == family).collect();
    if ranges.is_empty() && !given.is_empty() {
        return None;
    }
    let admits = |address: &IpAddr| ranges.iter().any(|range| range.contains(*address));
    let node = own_addresses(family, vantage).any(admits);
    Some(Admitted { ranges, node })
}

/// The addresses that the node goes by: what its object says, or else all that serve NodePorts.
fn own_addresses<'a>(
    family: Family,
    vantage: &Vantage<'a>,
) -> impl Iterator<Item = &'a IpAddr> + use<'a> {
    let of_family = move |address: &&IpAddr| Family::of(**address) == family;
    let said = vantage.internal_ips.iter().filter(of_family);
    let known = said.clone().next().is_some();
    said.chain(vantage.node_addresses.iter().filter(move |address| !known && of_family(address)))
}
