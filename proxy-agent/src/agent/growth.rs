//! When a map of Services is to get more room, and how much; and how far that is.
//!
//! Pure: time is an argument. A map grows to what is missing and a quarter more, at least to twice its
//! size, so that a growing cluster makes it grow a few times and not again and again. Owned by
//! [`crate::agent::writer`]; [`crate::agent::installer`] does it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long to wait after growing failed: the kernel had no memory, and may have some later.
const AGAIN: Duration = Duration::from_secs(60);

/// Elements by map.
pub(super) type Rooms = BTreeMap<&'static str, u32>;

/// Maps that are growing, or not.
#[derive(Debug)]
pub(super) struct Growth {
    /// No map grows beyond this.
    limit: u32,
    /// What is being done.
    under_way: Option<Rooms>,
    /// What failed last, when, and why.
    failed: Option<(Instant, Rooms, String)>,
}

impl Growth {
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, under_way: None, failed: None }
    }

    /// What is to grow now to which size, when maps with these rooms are `short` of so many elements.
    pub(super) fn begin(&mut self, short: &Rooms, rooms: &Rooms, now: Instant) -> Option<Rooms> {
        if self.under_way.is_some() {
            return None;
        }
        let wanted = targets(short, rooms, self.limit);
        let in_vain = |(at, failed, _): &(Instant, Rooms, String)| {
            failed.keys().eq(wanted.keys()) && now.saturating_duration_since(*at) < AGAIN
        };
        if wanted.is_empty() || self.failed.as_ref().is_some_and(in_vain) {
            return None;
        }
        self.under_way = Some(wanted.clone());
        Some(wanted)
    }

    /// Whether something is being done.
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether `map`, one of those with these rooms, gets more room, now or when that is done.
    pub(super) fn will_grow(&self, map: &str, rooms: &Rooms) -> bool {
        let may_grow = |room: &u32| *room < self.limit;
        self.under_way.as_ref().is_some_and(|growing| {
            growing.contains_key(map) || rooms.get(map).is_some_and(may_grow)
        })
    }

    /// It is done. Which maps have which room now.
    pub(super) fn done(&mut self) -> Rooms {
        self.failed = None;
        self.under_way.take().unwrap_or_default()
    }

    /// It could not be done, and is tried again when it is still wanted in a while.
    pub(super) fn failed(&mut self, why: &str, now: Instant) -> String {
        let rooms = self.under_way.take().unwrap_or_default();
        let wanted: Vec<String> =
            rooms.iter().map(|(map, room)| format!("{map} to {room}")).collect();
        let text = format!("maps can't grow ({}): {why}", wanted.join(", "));
        self.failed = Some((now, rooms, text.clone()));
        text
    }

    /// What could not be done last, in words.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.failed.as_ref().map(|(_, _, text)| text.as_str())
    }
}

/// How much room maps are to have that are `short`, and those that go with them.
fn targets(short: &Rooms, rooms: &Rooms, limit: u32) -> Rooms {
    let mut wanted = Rooms::new();
    for (map, more) in short {
        let Some(room) = rooms.get(map).copied() else { continue };
        let needed = u64::from(room) + u64::from(*more);
        let target = (needed + needed / 4).max(u64::from(room) * 2).min(u64::from(limit));
        let target = u32::try_from(target).unwrap_or(limit);
        if target > room {
            wanted.insert(map, target);
        }
    }
    for (backends, counts) in [("BACKENDS_V4", "OPEN_FLOWS_V4"), ("BACKENDS_V6", "OPEN_FLOWS_V6")] {
        if let Some(room) = wanted.get(backends).copied() {
            // What counts by backend id has room for every one.
            wanted.insert(counts, room);
            // A set of endpoints takes a slot for each: this spares growing once more at once.
            let slots = wanted.get("SLOTS").or_else(|| rooms.get("SLOTS")).copied();
            if slots.is_some_and(|slots| slots < room) {
                wanted.insert("SLOTS", room);
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{AGAIN, Growth, Rooms, targets};

    fn rooms() -> Rooms {
        Rooms::from([("SLOTS", 1_000), ("BACKENDS_V4", 500), ("SERVICES_V4", 100)])
    }

    #[test]
    fn a_map_doubles_and_more_where_that_is_not_enough() {
        let short = Rooms::from([("SERVICES_V4", 1)]);
        assert_eq!(targets(&short, &rooms(), 10_000), Rooms::from([("SERVICES_V4", 200)]));
        let short = Rooms::from([("SERVICES_V4", 300)]);
        assert_eq!(targets(&short, &rooms(), 10_000), Rooms::from([("SERVICES_V4", 500)]));
    }

    #[test]
    fn what_counts_by_backend_and_slots_grow_with_the_backends() {
        let short = Rooms::from([("BACKENDS_V4", 1_500)]);
        let wanted = [("BACKENDS_V4", 2_500), ("OPEN_FLOWS_V4", 2_500), ("SLOTS", 2_500)];
        assert_eq!(targets(&short, &rooms(), 10_000), Rooms::from(wanted));
        let short = Rooms::from([("BACKENDS_V4", 1)]);
        let wanted = [("BACKENDS_V4", 1_000), ("OPEN_FLOWS_V4", 1_000)];
        assert_eq!(targets(&short, &rooms(), 10_000), Rooms::from(wanted));
    }

    #[test]
    fn nothing_grows_beyond_the_limit() {
        let short = Rooms::from([("SERVICES_V4", 500), ("SLOTS", u32::MAX)]);
        assert_eq!(targets(&short, &rooms(), 1_000), Rooms::from([("SERVICES_V4", 750)]));
    }

    #[test]
    fn one_thing_at_a_time_and_what_failed_waits() {
        let mut growth = Growth::new(10_000);
        let (short, now) = (Rooms::from([("SERVICES_V4", 1)]), Instant::now());
        assert!(growth.begin(&short, &rooms(), now).is_some());
        assert!(growth.will_grow("SERVICES_V4", &rooms()));
        assert!(growth.will_grow("SLOTS", &rooms()), "after that");
        assert!(
            !growth.will_grow("SLOTS", &Rooms::from([("SLOTS", 10_000)])),
            "it is at the limit"
        );
        assert!(!growth.will_grow("CONFIG", &rooms()));
        assert!(growth.begin(&short, &rooms(), now).is_none(), "it is under way");
        let text = growth.failed("no memory", now);
        assert_eq!(text, "maps can't grow (SERVICES_V4 to 200): no memory");
        assert_eq!(growth.trouble(), Some(&*text));
        assert!(!growth.is_under_way() && !growth.will_grow("SLOTS", &rooms()));
        assert!(growth.begin(&short, &rooms(), now + Duration::from_secs(1)).is_none());
        assert!(growth.begin(&short, &rooms(), now + AGAIN).is_some());
        growth.done();
        assert_eq!(growth.trouble(), None);
    }

    #[test]
    fn another_map_than_the_one_that_failed_is_tried_at_once() {
        let mut growth = Growth::new(10_000);
        let now = Instant::now();
        growth.begin(&Rooms::from([("SERVICES_V4", 1)]), &rooms(), now);
        growth.failed("no memory", now);
        assert!(growth.begin(&Rooms::from([("SLOTS", 1)]), &rooms(), now).is_some());
    }
}
