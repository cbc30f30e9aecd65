//! When elements come and when they go.

use std::collections::BTreeMap;

use proxy_common::{BackendId, MemberSets, Service, ServiceFlags, ServiceId};

use super::{Belongings, Element, Wanted};
use crate::model::Cidr;

const ID: ServiceId = ServiceId::new(7);

fn range(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ranges(texts: &[&str]) -> Wanted {
    let ranges = texts.iter().map(|text| (range(text), ())).collect();
    Wanted { ranges: Some(ranges), ..Wanted::default() }
}

fn filtered() -> Service {
    Service { id: ID, flags: ServiceFlags::SOURCE_RANGES, ..Service::default() }
}

fn write(belongings: &mut Belongings) -> usize {
    let missing = belongings.missing(ID);
    for element in &missing {
        belongings.wrote(ID, *element);
    }
    missing.len()
}

fn trim(belongings: &mut Belongings) -> Vec<Element> {
    let surplus = belongings.surplus();
    for (id, element) in &surplus {
        belongings.trimmed(*id, *element);
    }
    belongings.tidy();
    surplus.into_iter().map(|(_, element)| element).collect()
}

#[test]
fn new_ranges_come_first_and_old_ones_go_when_the_frontends_are_right() {
    let mut belongings = Belongings::default();
    belongings.want(ID, ranges(&["10.0.0.0/8"]));
    assert_eq!(write(&mut belongings), 1);
    belongings.hold(&filtered());
    belongings.confirm(ID);
    assert!(trim(&mut belongings).is_empty());

    belongings.want(ID, ranges(&["192.0.2.0/24"]));
    assert_eq!(write(&mut belongings), 1);
    assert!(trim(&mut belongings).is_empty(), "not confirmed yet");
    belongings.confirm(ID);
    assert_eq!(trim(&mut belongings), [Element::Range(range("10.0.0.0/8"))]);
}

#[test]
fn what_is_no_longer_wanted_stays_until_the_last_frontend_is_gone() {
    let mut belongings = Belongings::default();
    belongings.want(ID, ranges(&["10.0.0.0/8"]));
    write(&mut belongings);
    belongings.hold(&filtered());
    belongings.confirm(ID);
    belongings.want(ID, Wanted::default());
    belongings.confirm(ID);
    assert!(trim(&mut belongings).is_empty(), "a frontend is still there");
    belongings.release(&filtered());
    assert_eq!(trim(&mut belongings).len(), 1);
    assert!(belongings.ranges.is_empty());
}

#[test]
fn that_nobody_is_admitted_is_not_that_anybody_is() {
    let mut belongings = Belongings::default();
    belongings.want(ID, ranges(&["10.0.0.0/8"]));
    write(&mut belongings);
    belongings.hold(&filtered());
    belongings.want(ID, ranges(&[]));
    belongings.confirm(ID);
    assert_eq!(trim(&mut belongings).len(), 1, "though a frontend checks sources");
}

#[test]
fn a_member_is_widened_first_and_narrowed_later() {
    let member = BackendId::new(3);
    let want =
        |sets| Wanted { members: Some(BTreeMap::from([(member, sets)])), ..Wanted::default() };
    let mut belongings = Belongings::default();
    belongings.want(ID, want(MemberSets::CLUSTER));
    write(&mut belongings);
    belongings.confirm(ID);
    belongings.want(ID, want(MemberSets::LOCAL));
    let both = MemberSets::CLUSTER.union(MemberSets::LOCAL);
    assert_eq!(belongings.missing(ID), [Element::Member(member, both)]);
    write(&mut belongings);
    belongings.confirm(ID);
    assert_eq!(trim(&mut belongings), [Element::Member(member, MemberSets::LOCAL)]);
    assert!(trim(&mut belongings).is_empty());
}

#[test]
fn what_a_frontend_got_before_another_failed_stays() {
    let mut belongings = Belongings::default();
    belongings.want(ID, ranges(&["10.0.0.0/8"]));
    write(&mut belongings);
    belongings.hold(&filtered());
    belongings.want(ID, Wanted::default());
    assert!(trim(&mut belongings).is_empty(), "never confirmed, and needed all the same");
}

#[test]
fn what_belongs_to_no_frontend_old_or_new_makes_room_at_once() {
    let mut belongings = Belongings::default();
    belongings.want(ID, ranges(&["10.0.0.0/8"]));
    write(&mut belongings);
    belongings.hold(&filtered());
    belongings.confirm(ID);
    belongings.want(ID, ranges(&["10.1.0.0/16", "10.3.0.0/16"]));
    belongings.wrote(ID, Element::Range(range("10.1.0.0/16")));
    belongings.want(ID, ranges(&["10.2.0.0/16"]));
    assert_eq!(trim(&mut belongings), [Element::Range(range("10.1.0.0/16"))]);
}

#[test]
fn what_was_found_and_nobody_asks_for_goes() {
    let mut belongings = Belongings::default();
    belongings.adopt(ID, Element::Turn);
    assert_eq!(trim(&mut belongings), [Element::Turn]);
}
