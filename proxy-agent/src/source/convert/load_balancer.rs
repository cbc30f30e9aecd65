//! What a Service says about its load balancer: addresses, and who may use them.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, ServiceSpec};

use crate::model::{Family, IpMode, LoadBalancerAddress, Service, SourceRanges, Trouble};

use super::fields::Fields;

/// The entries of `status.loadBalancer.ingress` that have an address.
pub(super) fn addresses(
    ingress: &[LoadBalancerIngress],
    fields: &mut Fields,
) -> Vec<LoadBalancerAddress> {
    let mut addresses: Vec<LoadBalancerAddress> = Vec::new();
    for (i, ingress) in ingress.iter().enumerate() {
        let at = format!("status.loadBalancer.ingress[{i}]");
        let Some(text) = ingress.ip.as_deref().filter(|text| !text.is_empty()) else { continue };
        let Some(address) = fields.frontend_address(&format!("{at}.ip"), text) else { continue };
        let mode = fields.word(
            &format!("{at}.ipMode"),
            ingress.ip_mode.as_deref(),
            &[("VIP", IpMode::Vip), ("Proxy", IpMode::Proxy)],
            IpMode::Vip,
            Trouble::UnknownValue { allowed: "VIP, Proxy", done: "VIP is assumed" },
        );
        addresses.push(LoadBalancerAddress { address, mode });
    }
    addresses
}

/// `spec.loadBalancerSourceRanges`, when it is set. Whatever the type says: where there are
/// addresses of a load balancer, the ranges hold.
pub(super) fn source_ranges(
    spec: &ServiceSpec,
    service: &Service,
    fields: &mut Fields,
) -> Option<SourceRanges> {
    let texts = spec.load_balancer_source_ranges.as_deref().filter(|texts| !texts.is_empty())?;
    let field = "spec.loadBalancerSourceRanges";
    let mut ranges: Vec<_> = texts
        .iter()
        .enumerate()
        .filter_map(|(i, text)| fields.cidr(&format!("{field}[{i}]"), text))
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    if ranges.is_empty() {
        fields.problem(field, texts.join(","), Trouble::NoSourceRange);
    }
    // Of a family that the load balancer turned out not to have, nobody needs to hear.
    let concerns = |family| {
        let mut addresses = service.load_balancer.iter();
        let of_family = addresses.any(|ingress| Family::of(ingress.address) == family);
        of_family || service.load_balancer.is_empty()
    };
    for family in service.families.iter().copied().filter(|family| concerns(*family)) {
        if !ranges.is_empty() && ranges.iter().all(|range| range.family() != family) {
            fields.problem(field, texts.join(","), Trouble::SourceRangesOfOtherFamily { family });
        }
    }
    Some(SourceRanges { ranges })
}
