//! How many elements the maps have room for: the layout's word, and the operator's on flow tables.
//!
//! Pure. Called by [`crate::datapath::object`] and [`crate::options`].

use std::ops::RangeInclusive;

use proxy_common::layout::{FLOWS_MAX, MapSpec, NEW_FLOWS_MAX};

/// Sizes that the operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Halves in each of the main flow tables.
    pub flows: u32,
    /// Halves in each of the tables of new flows.
    pub new_flows: u32,
}

impl Sizes {
    /// The sizes that make sense: a table that evicts needs some elements for each CPU.
    pub const RANGE: RangeInclusive<u32> = 256..=1 << 24;

    /// How many elements a map is to have room for.
    #[must_use]
    pub fn of(self, spec: &MapSpec) -> u32 {
        if !is_flow_table(spec) {
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
        Self { flows: FLOWS_MAX, new_flows: NEW_FLOWS_MAX }
    }
}

const NEW: &str = "NEW_";

/// Whether a map is a flow table.
pub(super) fn is_flow_table(spec: &MapSpec) -> bool {
    let name = spec.name.strip_prefix(NEW).unwrap_or(spec.name);
    name.starts_with("DST_FLOWS_") || name.starts_with("SRC_FLOWS_")
}

#[cfg(test)]
mod tests {
    use proxy_common::layout::MAPS;

    use super::{Sizes, is_flow_table};

    #[test]
    fn only_flow_tables_have_the_sizes_of_flow_tables() {
        let sizes = Sizes { flows: 1_000, new_flows: 500 };
        let of = |wanted| MAPS.iter().filter(|spec| sizes.of(spec) == wanted).count();
        assert_eq!((of(1_000), of(500)), (4, 4));
        let others = MAPS.iter().filter(|spec| !is_flow_table(spec));
        assert!(others.into_iter().all(|spec| sizes.of(spec) == spec.max_entries));
    }

    #[test]
    fn by_default_the_layout_says() {
        assert!(MAPS.iter().all(|spec| Sizes::default().of(spec) == spec.max_entries));
    }
}
