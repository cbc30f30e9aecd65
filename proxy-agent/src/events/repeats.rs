//! Which notices were told a short while ago. Pure: time is an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Notice;

/// A notice is not repeated for so long.
const QUIET: Duration = Duration::from_hours(1);
/// So many are remembered; when there are more, those that are over are forgotten, and then all.
const REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Repeats {
    told: HashMap<Notice, Instant>,
}

impl Repeats {
    /// Whether `notice` was not told within the last hour; it is now.
    pub(super) fn is_new(&mut self, notice: &Notice, now: Instant) -> bool {
        let recent = |told: &Instant| now.saturating_duration_since(*told) < QUIET;
        if self.told.get(notice).is_some_and(recent) {
            return false;
        }
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, told| recent(told));
        }
        if self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        self.told.insert(notice.clone(), now);
        true
    }

    /// It was not told after all.
    pub(super) fn forget(&mut self, notice: &Notice) {
        self.told.remove(notice);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{QUIET, REMEMBERED, Repeats};
    use crate::{
        events::{Notice, Reason},
        model::NamespacedName,
    };

    fn notice(note: &str) -> Notice {
        let service = NamespacedName::new("shop", "web");
        Notice { service, reason: Reason::InvalidField, note: note.to_owned() }
    }

    #[test]
    fn the_same_notice_is_told_once_an_hour() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        assert!(repeats.is_new(&notice("a"), now));
        assert!(!repeats.is_new(&notice("a"), now + QUIET / 2));
        assert!(repeats.is_new(&notice("b"), now));
        assert!(repeats.is_new(&notice("a"), now + QUIET));
        repeats.forget(&notice("b"));
        assert!(repeats.is_new(&notice("b"), now));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for i in 0..3 * REMEMBERED {
            assert!(repeats.is_new(&notice(&i.to_string()), now));
        }
        assert!(repeats.told.len() <= REMEMBERED);
    }
}
