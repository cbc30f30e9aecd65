//! What an operator should look at, in words: everything that is not served, and why. Pure.

use proxy_common::layout::{MAPS, MapKind};

use super::{Map, Status};
use crate::datapath::sizes::grows;

/// What an operator should look at.
pub(super) fn problems(status: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    if status.agent.is_none() {
        problems.push(
            "no agent runs: the datapath serves what was last installed, changes don't reach it"
                .into(),
        );
    }
    if status.programs.is_empty() {
        problems.push("no program is attached".into());
    }
    let full = status.agent.as_ref().and_then(|agent| agent.says.as_ref()).map(|says| &says.full);
    for map in status.maps.iter().filter(|map| is_nearly_full(map)) {
        let text = format!("map {} is ", map.name);
        // The agent knows more of it.
        if !full.is_some_and(|full| full.iter().any(|told| told.starts_with(&text))) {
            problems.push(format!("{text}nearly full"));
        }
    }
    let Some(says) = status.agent.as_ref().and_then(|agent| agent.says.as_ref()) else {
        return problems;
    };
    if !says.synced {
        problems.push("the first lists of the source are not complete yet".into());
    }
    for rejected in &says.rejected {
        let reason = rejected.reason.lines().next().unwrap_or_default();
        problems.push(format!("program {} was refused by the kernel: {reason}", rejected.program));
    }
    if !says.unserved.is_empty() {
        problems.push(format!("not in step: Services {}", says.unserved.join(", ")));
    }
    for texts in [&says.unattached, &says.full, &says.warnings, &says.unsupported] {
        problems.extend(texts.iter().cloned());
    }
    problems.extend(says.failures.iter().cloned());
    problems.extend(says.devices.iter().cloned());
    problems.extend(says.problems.iter().cloned());
    problems
}

/// Nine tenths are in use, of a map that evicts nothing by itself, doesn't grow, and isn't meant to be
/// full. Of one that grows and can't the agent tells whom it hurts.
fn is_nearly_full(map: &Map) -> bool {
    let evicts = MAPS.iter().any(|spec| spec.name == map.name && spec.kind == MapKind::LruHash);
    let by_design = map.max_entries == 1 || map.name == "ADDRESS_FILTER" || grows(map.name);
    let full = map.used.is_some_and(|used| used * 10 >= map.max_entries as usize * 9);
    full && !evicts && !by_design
}

#[cfg(test)]
mod tests {
    use super::{Map, is_nearly_full};

    fn map(name: &'static str, used: usize) -> Map {
        Map { name, used: Some(used), max_entries: 100 }
    }

    #[test]
    fn a_map_is_nearly_full_at_nine_tenths_unless_it_evicts_or_grows() {
        assert!(is_nearly_full(&map("DST_FLOWS_V4", 90)));
        assert!(!is_nearly_full(&map("DST_FLOWS_V4", 89)));
        assert!(!is_nearly_full(&map("SLOTS", 100)));
        assert!(!is_nearly_full(&map("AFFINITY_V4", 100)));
        assert!(!is_nearly_full(&map("ADDRESS_FILTER", 100)));
    }
}
