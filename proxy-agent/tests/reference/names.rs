//! Pages written by hand: counters, Events, checks of preflight. None is missing, none is too many.

use std::collections::BTreeSet;

use proxy_agent::events::Reason;
use proxy_common::{Counter, DropReason, RejectReason};

use crate::page;

/// Every name has a row below `heading` of `page`, every row a name, and each but one.
fn check<'a>(page: &str, heading: &str, names: impl Iterator<Item = &'a str>) {
    let rows = page::named(page, heading);
    let have: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(have.len(), rows.len(), "{page}, {heading}: a name has two rows: {rows:?}");
    let want: BTreeSet<&str> = names.collect();
    let missing: Vec<_> = want.difference(&have).collect();
    let unknown: Vec<_> = have.difference(&want).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{page}, {heading}: rows are missing for {missing:?}; the code has no {unknown:?}"
    );
}

#[test]
fn every_drop_refusal_and_event_of_the_datapath_has_a_row() {
    let page = "docs/reference/counters.md";
    check(page, "## Drops", DropReason::ALL.iter().map(|reason| reason.name()));
    check(page, "## Refusals", RejectReason::ALL.iter().map(|reason| reason.name()));
    check(page, "## Events", Counter::EVENTS.iter().map(|event| event.name()));
}

#[test]
fn every_event_of_a_service_has_a_row() {
    let reasons = Reason::ALL.iter().map(|reason| reason.name());
    check("docs/reference/events.md", "## Reasons", reasons);
}
