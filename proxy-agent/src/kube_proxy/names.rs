//! Which tables, chains and sets are kube-proxy's, by name.
//!
//! A list, and not `KUBE-*`: the kubelet has chains of its own (`KUBE-FIREWALL`,
//! `KUBE-KUBELET-CANARY`, `KUBE-IPTABLES-HINT`, `KUBE-MARK-DROP`). Pure. Called by the rest of
//! [`crate::kube_proxy`].

use crate::host::nftables::{Family, Table};

/// The table of the nftables mode, in both families.
pub const TABLE: &str = "kube-proxy";
/// The device of the IPVS mode.
pub const IPVS_DEVICE: &str = "kube-ipvs0";

/// Chains of the iptables and IPVS modes.
const CHAINS: &[&str] = &[
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-LOAD-BALANCER",
    "KUBE-MARK-MASQ",
    "KUBE-NODE-PORT",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
    "KUBE-SOURCE-RANGES-FIREWALL",
];

/// What the names of chains of a Service begin with.
const PREFIXES: &[&str] =
    &["KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-"];

/// Sets of the IPVS mode begin with this.
const SETS: &str = "KUBE-";

/// Whether a table of nftables is kube-proxy's, with all that is in it.
#[must_use]
pub fn is_table(table: &Table) -> bool {
    table.name == TABLE && matches!(table.family, Family::Ip | Family::Ip6)
}

/// Whether a chain of iptables is kube-proxy's. The caller sees to it that its table is one of
/// iptables.
#[must_use]
pub fn is_chain(name: &str) -> bool {
    CHAINS.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a table of nftables is one that iptables-nft keeps.
#[must_use]
pub fn is_of_iptables(table: &Table) -> bool {
    matches!(table.family, Family::Ip | Family::Ip6)
        && matches!(table.name.as_str(), "nat" | "filter" | "mangle" | "raw")
}

/// Whether an ipset is kube-proxy's. IPv6 sets have a prefix.
#[must_use]
pub fn is_set(name: &str) -> bool {
    name.starts_with(SETS) || name.strip_prefix("6-").is_some_and(|name| name.starts_with(SETS))
}

#[cfg(test)]
mod tests {
    use super::{is_chain, is_set, is_table};
    use crate::host::nftables::{Family, Table};

    #[test]
    fn chains_of_kube_proxy_are_known_and_those_of_the_kubelet_are_left() {
        for name in ["KUBE-SERVICES", "KUBE-SVC-NPX46M4PTMTKRN6Y", "KUBE-SEP-1", "KUBE-MARK-MASQ"] {
            assert!(is_chain(name), "{name}");
        }
        for name in [
            "KUBE-KUBELET-CANARY",
            "KUBE-FIREWALL",
            "KUBE-IPTABLES-HINT",
            "KUBE-MARK-DROP",
            "KUBE-ROUTER-INPUT",
            "KUBE-NWPLCY-DEFAULT",
            "PREROUTING",
        ] {
            assert!(!is_chain(name), "{name}");
        }
    }

    #[test]
    fn the_tables_of_the_nftables_mode_are_known_by_family_and_name() {
        let table = |family, name: &str| Table { family, name: name.into() };
        assert!(is_table(&table(Family::Ip, "kube-proxy")));
        assert!(is_table(&table(Family::Ip6, "kube-proxy")));
        assert!(!is_table(&table(Family::Inet, "kube-proxy")));
        assert!(!is_table(&table(Family::Ip, "kube-proxy2")));
    }

    #[test]
    fn sets_of_both_families_are_known() {
        assert!(is_set("KUBE-CLUSTER-IP") && is_set("6-KUBE-CLUSTER-IP") && !is_set("cali40all"));
    }
}
