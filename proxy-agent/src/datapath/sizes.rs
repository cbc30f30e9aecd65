//! How many elements the maps have room for: the layout's word, and the operator's on flow tables and
//! on the maps of Services, which grow.
//!
//! Pure. Called by [`crate::datapath`], [`crate::agent`] and [`crate::options`].

use std::ops::RangeInclusive;

use proxy_common::layout::{FLOWS_MAX, MapSpec, NEW_FLOWS_MAX};

/// Sizes that the operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Halves in each of the main flow tables.
    pub flows: u32,
    /// Halves in each of the tables of new flows.
    pub new_flows: u32,
    /// What the maps of Services have room for at first; `None` for what the layout says.
    pub services: Option<u32>,
    /// What none of them grows beyond.
    pub limit: u32,
}

/// How the room of a pinned map may differ from what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It may be larger: it has grown.
    AtLeast,
    /// It is what the operator or the layout says.
    Exactly,
}

impl Sizes {
    /// The sizes that make sense: a table that evicts needs some elements for each CPU.
    pub const RANGE: RangeInclusive<u32> = 256..=1 << 24;

    /// The sizes of maps of Services that make sense.
    pub const SERVICES_RANGE: RangeInclusive<u32> = 16..=1 << 26;

    /// How many elements a map is to have room for.
    #[must_use]
    pub fn of(self, spec: &MapSpec) -> u32 {
        if grows(spec.name) {
            self.services.unwrap_or(spec.max_entries).min(self.limit)
        } else if !is_flow_table(spec) {
            spec.max_entries
        } else if spec.name.starts_with(NEW) {
            self.new_flows
        } else {
            self.flows
        }
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self { flows: FLOWS_MAX, new_flows: NEW_FLOWS_MAX, services: None, limit: 1 << 24 }
    }
}

const NEW: &str = "NEW_";

/// Whether a map is a flow table.
pub(super) fn is_flow_table(spec: &MapSpec) -> bool {
    is_new_flow_table(spec) || is_main_flow_table(spec.name)
}

/// Whether a map is a table of new flows.
pub(super) fn is_new_flow_table(spec: &MapSpec) -> bool {
    spec.name.strip_prefix(NEW).is_some_and(is_main_flow_table)
}

fn is_main_flow_table(name: &str) -> bool {
    name.starts_with("DST_FLOWS_") || name.starts_with("SRC_FLOWS_")
}

/// Whether a map is one that the agent fills with Services and endpoints, and that grows with them.
#[must_use]
pub fn grows(map: &str) -> bool {
    let of_family = |name: &str| {
        let families = ["V4", "V6"];
        map.strip_prefix(name).is_some_and(|family| families.contains(&family))
    };
    matches!(map, "SERVICE_NAMES" | "SLOTS" | "TURNS" | "AFFINITY_MEMBERS")
        || ["SERVICES_", "BACKENDS_", "OPEN_FLOWS_", "SOURCE_RANGES_"].into_iter().any(of_family)
}

pub(super) fn rule(map: &str) -> Rule {
    if grows(map) { Rule::AtLeast } else { Rule::Exactly }
}

#[cfg(test)]
mod tests {
    use proxy_common::layout::MAPS;

    use super::{Sizes, grows, is_flow_table};

    #[test]
    fn only_flow_tables_have_the_sizes_of_flow_tables() {
        let sizes = Sizes { flows: 1_000, new_flows: 500, ..Sizes::default() };
        let of = |wanted| MAPS.iter().filter(|spec| sizes.of(spec) == wanted).count();
        assert_eq!((of(1_000), of(500)), (4, 4));
        let others = MAPS.iter().filter(|spec| !is_flow_table(spec));
        assert!(others.into_iter().all(|spec| sizes.of(spec) == spec.max_entries));
    }

    #[test]
    fn maps_of_services_begin_where_the_operator_says_and_stay_within_the_limit() {
        let growing = || MAPS.iter().filter(|spec| grows(spec.name));
        assert_eq!(growing().count(), 12);
        let sizes = Sizes { services: Some(64), ..Sizes::default() };
        assert!(growing().all(|spec| sizes.of(spec) == 64));
        let sizes = Sizes { services: Some(64), limit: 32, ..Sizes::default() };
        assert!(growing().all(|spec| sizes.of(spec) == 32));
    }

    #[test]
    fn by_default_the_layout_says() {
        assert!(MAPS.iter().all(|spec| Sizes::default().of(spec) == spec.max_entries));
    }
}
