//! Which runs of `SLOTS` are free.
//!
//! Best fit, with neighbours joined again: a set finds its place in logarithmic time.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct FreeSlots {
    /// Base to length.
    by_base: BTreeMap<u32, u32>,
    /// Length and base.
    by_length: BTreeSet<(u32, u32)>,
}

impl FreeSlots {
    /// `0..capacity`, all free.
    pub(super) fn new(capacity: u32) -> Self {
        let mut free = Self { by_base: BTreeMap::new(), by_length: BTreeSet::new() };
        free.insert(0, capacity);
        free
    }

    /// A run of `length` slots; `None` when no free run is that long.
    pub(super) fn take(&mut self, length: u32) -> Option<u32> {
        let (found, base) = *self.by_length.range((length, 0)..).next()?;
        self.remove(base, found);
        self.insert(base + length, found - length);
        Some(base)
    }

    /// Takes exactly `base..base + length`; the parts that aren't free stay as they are.
    pub(super) fn reserve(&mut self, base: u32, length: u32) {
        let end = base.saturating_add(length);
        let touching: Vec<(u32, u32)> = self
            .by_base
            .range(..end)
            .rev()
            .map(|(free, count)| (*free, *count))
            .take_while(|(free, count)| free + count > base)
            .collect();
        for (free, count) in touching {
            self.remove(free, count);
            self.insert(free, base.saturating_sub(free));
            let free_end = free + count;
            self.insert(end.min(free_end), free_end.saturating_sub(end));
        }
    }

    /// Gives a run back.
    pub(super) fn give_back(&mut self, base: u32, length: u32) {
        let (mut base, mut length) = (base, length);
        if let Some((before, count)) = self.by_base.range(..base).next_back().map(copied)
            && before + count == base
        {
            self.remove(before, count);
            base = before;
            length += count;
        }
        if let Some(count) = self.by_base.get(&(base + length)).copied() {
            self.remove(base + length, count);
            length += count;
        }
        self.insert(base, length);
    }

    fn insert(&mut self, base: u32, length: u32) {
        if length > 0 {
            self.by_base.insert(base, length);
            self.by_length.insert((length, base));
        }
    }

    fn remove(&mut self, base: u32, length: u32) {
        self.by_base.remove(&base);
        self.by_length.remove(&(length, base));
    }
}

fn copied((base, length): (&u32, &u32)) -> (u32, u32) {
    (*base, *length)
}

#[cfg(test)]
mod tests {
    use super::FreeSlots;

    #[test]
    fn what_was_given_back_is_one_run_again() {
        let mut free = FreeSlots::new(30);
        let runs = [10, 5, 15].map(|length| (free.take(length).unwrap(), length));
        assert_eq!(free.take(1), None);
        for (base, length) in [runs[0], runs[2], runs[1]] {
            free.give_back(base, length);
        }
        assert_eq!(free.take(30), Some(0));
    }

    #[test]
    fn what_is_added_at_the_end_joins_what_is_free_there() {
        let mut free = FreeSlots::new(10);
        assert_eq!(free.take(8), Some(0));
        assert_eq!(free.take(4), None);
        free.give_back(10, 2);
        assert_eq!(free.take(4), Some(8));
        free.give_back(12, 0);
        assert_eq!(free.take(1), None);
    }

    #[test]
    fn the_tightest_run_is_taken() {
        let mut free = FreeSlots::new(100);
        free.reserve(4, 6);
        free.reserve(20, 10);
        assert_eq!(free.take(4), Some(0));
        assert_eq!(free.take(10), Some(10));
        assert_eq!(free.take(70), Some(30));
        assert_eq!(free.take(1), None);
    }

    #[test]
    fn reserving_twice_and_beyond_the_end_is_harmless() {
        let mut free = FreeSlots::new(10);
        free.reserve(2, 4);
        free.reserve(0, 7);
        free.reserve(9, u32::MAX);
        assert_eq!(free.take(2), Some(7));
        assert_eq!(free.take(1), None);
    }
}
