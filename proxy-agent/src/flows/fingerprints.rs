//! Which halves at egress there are, in eight bytes each: how halves without another half are found
//! among a million in one walk of either table.
//!
//! Pure. Two halves may share a fingerprint: then one that is alone is found by a later walk, since
//! each has a hasher of its own. Called by [`crate::flows::sweep`].

use std::hash::{BuildHasher, Hash, RandomState};

/// Set in a fingerprint whose half has been idle for a while.
const IDLE: u64 = 1;
/// Set in a fingerprint whose other half was seen.
const PAIRED: u64 = 2;
const MARKS: u64 = IDLE | PAIRED;

/// Fingerprints of keys: noted first, then sealed, then looked up.
#[derive(Debug, Default)]
pub struct Fingerprints {
    hasher: RandomState,
    prints: Vec<u64>,
}

impl Fingerprints {
    /// Notes a half. Halves that aren't idle are never lonely: they may be moving between tables.
    pub fn note(&mut self, key: &impl Hash, idle: bool) {
        self.prints.push(self.print(key) | if idle { IDLE } else { 0 });
    }

    /// All are noted.
    pub fn seal(&mut self) {
        self.prints.sort_unstable();
    }

    /// Whether there is a half under `key`; its other half has been seen now.
    pub fn pair(&mut self, key: &impl Hash) -> bool {
        let found = self.find(key);
        if let Some(print) = found.and_then(|index| self.prints.get_mut(index)) {
            *print |= PAIRED;
        }
        found.is_some()
    }

    /// Whether some half has been idle for a while, and no other half of it was seen.
    #[must_use]
    pub fn has_lonely(&self) -> bool {
        self.prints.iter().any(|print| print & MARKS == IDLE)
    }

    /// Whether the half under `key` is such a half.
    #[must_use]
    pub fn is_lonely(&self, key: &impl Hash) -> bool {
        let print = self.find(key).and_then(|index| self.prints.get(index));
        print.is_some_and(|print| print & MARKS == IDLE)
    }

    fn print(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key) & !MARKS
    }

    fn find(&self, key: &impl Hash) -> Option<usize> {
        let wanted = self.print(key);
        self.prints.binary_search_by_key(&wanted, |print| print & !MARKS).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Fingerprints;

    #[test]
    fn what_is_idle_and_was_not_paired_is_lonely() {
        let mut prints = Fingerprints::default();
        for (key, idle) in [(1, true), (2, true), (3, false)] {
            prints.note(&key, idle);
        }
        prints.seal();
        assert!(prints.pair(&1));
        assert!(!prints.pair(&4));
        assert!(prints.has_lonely());
        let lonely = [1, 2, 3, 4].map(|key| prints.is_lonely(&key));
        assert_eq!(lonely, [false, true, false, false]);
        prints.pair(&2);
        assert!(!prints.has_lonely());
    }
}
