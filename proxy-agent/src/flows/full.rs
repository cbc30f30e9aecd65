//! Full flow tables: told once, and for as long as they are.
//!
//! Where a main table is full, new connections stay among those that are evicted, and the datapath
//! drops what would settle them (`flow-table-full`). Pure. Called by [`crate::flows::sweeper`].

use std::collections::BTreeSet;

/// How full a table was during a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFill {
    /// The map's name.
    pub table: &'static str,
    /// Halves that were met.
    pub used: usize,
    /// How many it has room for.
    pub room: u32,
}

/// What was told already.
#[derive(Debug, Default)]
pub struct FullTables {
    told: BTreeSet<&'static str>,
    /// The counter of dropped packets, as last seen.
    dropped: Option<u64>,
}

impl FullTables {
    /// What an operator should know of tables with these fills. `dropped` is the counter of packets
    /// that found no room. Those to be told now come first, with `true`.
    pub fn look(&mut self, fills: &[TableFill], dropped: u64) -> Vec<(bool, String)> {
        let lost = dropped.saturating_sub(self.dropped.replace(dropped).unwrap_or(dropped));
        let mut full = Vec::new();
        for TableFill { table, used, room } in fills {
            let room = *room as usize;
            // A table is emptied by a tenth before it is told anew.
            let tenths = if self.told.contains(table) { 9 } else { 10 };
            if used * 10 < room * tenths && !(lost > 0 && used * 10 >= room * 9) {
                self.told.remove(table);
                continue;
            }
            let new = self.told.insert(table);
            full.push((
                new,
                format!(
                    "map {table} is full ({used} of {room}): new connections are kept out of it, \
                     and {lost} of their packets were dropped since the last look; raise \
                     --flow-table-size"
                ),
            ));
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use super::{FullTables, TableFill};

    fn fill(used: usize) -> [TableFill; 1] {
        [TableFill { table: "DST_FLOWS_V4", used, room: 100 }]
    }

    #[test]
    fn a_full_table_is_told_once_and_shown_as_long_as_it_lasts() {
        let mut full = FullTables::default();
        assert!(full.look(&fill(99), 5).is_empty(), "drops of earlier days");
        let told = full.look(&fill(100), 12);
        assert!(told[0].0 && told[0].1.contains("DST_FLOWS_V4 is full (100 of 100)"), "{told:?}");
        assert!(told[0].1.contains("7 of their packets"), "{told:?}");
        assert!(!full.look(&fill(95), 12)[0].0);
        assert!(full.look(&fill(89), 12).is_empty());
        assert!(full.look(&fill(100), 12)[0].0);
    }

    #[test]
    fn packets_that_found_no_room_tell_of_a_table_that_was_full_between_two_looks() {
        let mut full = FullTables::default();
        assert!(full.look(&fill(95), 0).is_empty());
        assert!(full.look(&fill(95), 1)[0].0);
    }
}
