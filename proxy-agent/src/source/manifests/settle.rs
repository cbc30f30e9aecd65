//! When a file is read, and whether what it lacks is believed to be gone.
//!
//! A writer that truncates a file and writes it anew makes it empty for a moment, and what inotify
//! tells of it may arrive after a look at the file. So what a file says counts as soon as its
//! writer closed it, or moved it into place; that it no longer says something counts when it has
//! been the same for [`PATIENCE`] and nobody writes. Of an empty file that takes
//! [`WRITER_FORGOTTEN`]: a file system on a slow disk may empty it long before inotify tells.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    catalog::Writer,
    scan::{Fingerprint, Found},
};

/// How long a file may be open for writing, or the state of one be new, before it is taken for what
/// is meant.
pub(super) const PATIENCE: Duration = Duration::from_millis(40);
/// How long a file may be open for writing and unchanged before it is taken for complete.
const WRITER_FORGOTTEN: Duration = Duration::from_secs(5);

/// What is known of the writers of files, and of states that are new.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Files that are open for writing, as far as is known: since when they are, or when they
    /// changed last.
    writing: HashMap<PathBuf, Instant>,
    /// Files that were closed, or moved into place, since the last look.
    complete: HashSet<PathBuf>,
    /// States that are not believed yet in all they say, and when each was seen first.
    new: HashMap<PathBuf, (Fingerprint, Instant)>,
}

/// What is known of a file already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// The file as it was read last.
    pub(super) read: Option<&'a Found>,
    /// Whether objects are kept that it did not describe then, because it was not settled.
    pub(super) incomplete: bool,
}

impl Settling {
    /// Something was written to the file at `actual`.
    pub(super) fn written(&mut self, actual: PathBuf, now: Instant) {
        self.writing.insert(actual, now);
    }

    /// The file at `actual` is whole: it was closed, or moved into place.
    pub(super) fn completed(&mut self, actual: PathBuf) {
        self.writing.remove(&actual);
        self.complete.insert(actual);
    }

    /// Whether to read the file at `path` now, and whether what it lacks may yet come.
    pub(super) fn judge(
        &mut self,
        path: &Path,
        found: &Found,
        known: Known,
        now: Instant,
    ) -> Option<Writer> {
        let changed = known.read.map(|read| read.fingerprint) != Some(found.fingerprint);
        let complete = self.complete.contains(&found.actual);
        let writing = self.writing.get(&found.actual).map(|since| now.duration_since(*since));
        let forgotten = writing.is_some_and(|time| time >= WRITER_FORGOTTEN);
        if !(changed || complete || forgotten || known.incomplete) {
            self.new.remove(path);
            return None;
        }
        let patience = if found.fingerprint.is_empty() { WRITER_FORGOTTEN } else { PATIENCE };
        let settled = self.stands(path, found.fingerprint, now) >= patience;
        let elsewhere = known.read.is_some_and(|read| read.actual != found.actual);
        match writing {
            Some(_) if forgotten => Some(Writer::Gone),
            Some(time) => (changed && time >= PATIENCE).then_some(Writer::Present),
            None if settled => Some(Writer::Gone),
            None => (complete || elsewhere && changed).then_some(Writer::Present),
        }
    }

    /// How long the file at `path` has been in this state.
    fn stands(&mut self, path: &Path, state: Fingerprint, now: Instant) -> Duration {
        let (known, since) = self.new.entry(path.to_path_buf()).or_insert((state, now));
        if *known != state {
            (*known, *since) = (state, now);
        }
        now.duration_since(*since)
    }

    /// A look is over that found `files`.
    pub(super) fn looked(&mut self, files: &BTreeMap<PathBuf, Found>, now: Instant) {
        self.complete.clear();
        self.writing.retain(|_, since| now.duration_since(*since) < WRITER_FORGOTTEN);
        self.new.retain(|path, _| files.contains_key(path));
    }

    /// Since when files have been as they are that are worth another look after [`PATIENCE`].
    pub(super) fn since(&self) -> impl Iterator<Item = Instant> {
        self.writing.values().chain(self.new.values().map(|(_, since)| since)).copied()
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
