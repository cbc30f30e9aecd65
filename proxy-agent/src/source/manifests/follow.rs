//! Keeps the catalogue at what the directory says: looks through it, reads what is worth reading,
//! and tells of files that come and go.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    model::{Location, Problem, Trouble},
    source::Event,
};

use super::{
    catalog::{Catalog, Writer},
    scan::{Found, Scan, scan},
    settle::{Known, PATIENCE, Settling},
    watch::{Happened, Watch},
};

/// How long to wait for more to happen before looking.
const QUIET: Duration = Duration::from_millis(5);
/// How often the first list may wait for files that were written just now.
const FIRST_LOOKS: u32 = 25;
/// How often to look even if nothing seems to happen.
pub(super) const POLL: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    root: PathBuf,
    catalog: Catalog,
    watch: Watch,
    /// The files that were read, as they were then.
    files: BTreeMap<PathBuf, Found>,
    settling: Settling,
    /// Files that were there and aren't.
    missing: HashMap<PathBuf, Instant>,
    /// What was told of directories: not told again until it changes.
    told: BTreeMap<PathBuf, String>,
    /// When the directory was looked through last.
    looked: Instant,
    /// How often the first list waited for files that were written just now.
    waited: u32,
    synced: bool,
}

impl Follower {
    /// Follows `root`. Nothing is read yet.
    pub(super) fn new(root: PathBuf) -> (Self, Vec<Event>) {
        let (watch, error) = Watch::new();
        // Relative only to a directory that is gone; it will be told as unreadable then.
        let root = std::path::absolute(&root).unwrap_or(root);
        let mut follower = Self {
            root,
            catalog: Catalog::default(),
            watch,
            files: BTreeMap::new(),
            settling: Settling::default(),
            missing: HashMap::new(),
            told: BTreeMap::new(),
            looked: Instant::now(),
            waited: 0,
            synced: false,
        };
        let events = follower.unwatchable(error).into_iter().collect();
        (follower, events)
    }

    /// Waits until it is worth looking.
    pub(super) fn wait(&mut self) {
        // What ran out of patience before the last look was seen to then.
        let waiting = self.settling.since().chain(self.missing.values().copied());
        let patience =
            waiting.map(|since| since + PATIENCE).filter(|until| *until > self.looked).min();
        let poll = if self.synced || self.waited == 0 { POLL } else { PATIENCE };
        let most = patience
            .map_or(poll, |until| until.saturating_duration_since(Instant::now()).min(poll));
        let happened = self.watch.wait(most, QUIET);
        let now = Instant::now();
        for happened in happened {
            match happened {
                Happened::Writing(path) => self.settling.written(actual(path), now),
                Happened::Complete(path) => self.settling.completed(actual(path)),
                Happened::Other => {}
            }
        }
    }

    /// Looks through the directory and tells what changed.
    pub(super) fn look(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let scan = loop {
            let scan = match scan(&self.root) {
                Ok(scan) => scan,
                Err(error) => {
                    let root = self.root.clone();
                    self.watch.forget(&root);
                    events.extend(self.directory_problem(&root, &error));
                    return events;
                }
            };
            let (new, error) = self.watch.follow(&scan.directories);
            events.extend(self.unwatchable(error));
            // What came into a directory before it was watched is seen by looking again.
            if !new {
                break scan;
            }
        };
        for (directory, error) in &scan.unreadable {
            events.extend(self.directory_problem(directory, error));
        }
        let readable = |directory: &PathBuf| {
            !directory.as_os_str().is_empty()
                && scan.unreadable.iter().all(|(unreadable, _)| unreadable != directory)
        };
        self.told.retain(|directory, _| directory.as_os_str().is_empty() || !readable(directory));

        let now = Instant::now();
        self.looked = now;
        // What a file lacks that is being written counts as gone once the first list is complete.
        if !self.synced && self.waited < FIRST_LOOKS && scan.changed_within(PATIENCE) {
            self.waited += 1;
            return events;
        }
        for (path, found) in &scan.files {
            self.missing.remove(path);
            events.extend(self.file(path, found, now));
        }
        events.extend(self.what_is_missing(&scan, now));
        self.settling.looked(&scan.files, now);
        if !self.synced {
            self.synced = true;
            events.push(Event::Synced);
        }
        events
    }

    /// Reads a file if it is worth it.
    fn file(&mut self, path: &Path, found: &Found, now: Instant) -> Vec<Event> {
        let writer = if self.synced {
            let known =
                Known { read: self.files.get(path), incomplete: self.catalog.is_incomplete(path) };
            self.settling.judge(path, found, known, now)
        } else {
            Some(Writer::Gone)
        };
        let Some(writer) = writer else { return Vec::new() };
        match fs::read_to_string(path) {
            Ok(text) => {
                self.files.insert(path.to_path_buf(), found.clone());
                // Somebody may have written since it was looked at, or while it was read.
                let writer = if found.is_still_at(path) { writer } else { Writer::Present };
                self.catalog.read(path, &text, writer)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.files.insert(path.to_path_buf(), found.clone());
                vec![Event::Problem(Problem {
                    location: Some(Location { file: path.into(), document: 1, line: None }),
                    object: None,
                    field: String::new(),
                    value: String::new(),
                    trouble: Trouble::Unreadable { reason: error.to_string().into() },
                })]
            }
        }
    }

    /// Takes files out of the catalogue that have been away for long enough: an editor may have
    /// moved one away to write it anew.
    fn what_is_missing(&mut self, scan: &Scan, now: Instant) -> Vec<Event> {
        let missing: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| !scan.files.contains_key(*path))
            .filter(|path| {
                scan.unreadable.iter().all(|(directory, _)| !path.starts_with(directory))
            })
            .cloned()
            .collect();
        let mut events = Vec::new();
        for path in missing {
            let since = *self.missing.entry(path.clone()).or_insert(now);
            if now.duration_since(since) >= PATIENCE {
                self.missing.remove(&path);
                self.files.remove(&path);
                events.extend(self.catalog.removed(&path));
            }
        }
        events
    }

    fn directory_problem(&mut self, directory: &Path, error: &io::Error) -> Option<Event> {
        let trouble = Trouble::DirectoryUnreadable { reason: error.to_string().into() };
        self.tell(directory, trouble)
    }

    fn unwatchable(&mut self, error: Option<notify::Error>) -> Option<Event> {
        let reason = error?.to_string().into();
        self.tell(Path::new(""), Trouble::Unwatchable { reason })
    }

    /// A problem of a directory, unless it is what was told last.
    fn tell(&mut self, directory: &Path, trouble: Trouble) -> Option<Event> {
        let words = trouble.to_string();
        if self.told.get(directory) == Some(&words) {
            return None;
        }
        self.told.insert(directory.to_path_buf(), words);
        let shown = if directory.as_os_str().is_empty() { &self.root } else { directory };
        Some(Event::Problem(Problem {
            location: None,
            object: None,
            field: String::from("--manifests"),
            value: shown.display().to_string(),
            trouble,
        }))
    }
}

/// `path` without symlinks on the way to the file itself.
fn actual(path: PathBuf) -> PathBuf {
    let directory = path.parent().and_then(|directory| fs::canonicalize(directory).ok());
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path,
    }
}
