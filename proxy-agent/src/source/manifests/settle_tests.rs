//! A file's writers as inotify tells of them, early, late, or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Known, PATIENCE, Settling, WRITER_FORGOTTEN, Writer};
use crate::source::manifests::scan::{Found, scan};

const MOMENT: Duration = Duration::from_millis(1);

/// One file, and what its follower would know.
struct Watched {
    root: tempfile::TempDir,
    settling: Settling,
    read: Option<Found>,
    incomplete: bool,
    now: Instant,
}

impl Watched {
    /// A file that was read long ago.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut watched = Self {
            root,
            settling: Settling::default(),
            read: None,
            incomplete: false,
            now: Instant::now(),
        };
        watched.write("as it was");
        watched.read = Some(watched.found().1);
        watched
    }

    fn write(&self, text: &str) {
        fs::write(self.root.path().join("web.yaml"), text).unwrap();
    }

    fn found(&self) -> (PathBuf, Found) {
        scan(self.root.path()).unwrap().files.pop_first().unwrap()
    }

    /// What a look that is `later` makes of the file. Reading leaves something out where
    /// `lacks` says so.
    fn look(&mut self, later: Duration, lacks: bool) -> Option<Writer> {
        self.now += later;
        let (path, found) = self.found();
        let known = Known { read: self.read.as_ref(), incomplete: self.incomplete };
        let writer = self.settling.judge(&path, &found, known, self.now);
        if let Some(writer) = writer {
            self.read = Some(found.clone());
            self.incomplete = lacks && writer == Writer::Present;
        }
        self.settling.looked(&[(path, found)].into(), self.now);
        writer
    }

    fn actual(&self) -> PathBuf {
        self.found().1.actual
    }
}

#[test]
fn a_file_that_stays_as_it_is_is_not_read_again() {
    let mut watched = Watched::new();
    for _ in 0..3 {
        assert_eq!(watched.look(PATIENCE, false), None);
    }
}

#[test]
fn a_change_that_nobody_told_of_is_not_read_before_it_has_stood() {
    let mut watched = Watched::new();
    watched.write("hal");
    assert_eq!(watched.look(MOMENT, true), None);
    watched.write("half");
    assert_eq!(watched.look(PATIENCE, true), None, "another state, whose time begins");
    assert_eq!(watched.look(MOMENT, true), None);
    assert_eq!(watched.look(PATIENCE, true), Some(Writer::Gone));
    assert_eq!(watched.look(PATIENCE, false), None);
}

#[test]
fn a_closed_file_is_read_at_once_and_again_if_it_lacked_something() {
    for lacks in [false, true] {
        let mut watched = Watched::new();
        watched.write("anew");
        watched.settling.written(watched.actual(), watched.now);
        watched.settling.completed(watched.actual());
        assert_eq!(watched.look(MOMENT, lacks), Some(Writer::Present));
        assert_eq!(watched.look(MOMENT, lacks), None);
        assert_eq!(watched.look(PATIENCE, lacks), lacks.then_some(Writer::Gone));
        assert_eq!(watched.look(PATIENCE, lacks), None);
    }
}

#[test]
fn a_file_that_was_emptied_after_it_was_closed_keeps_what_it_said_until_that_has_stood() {
    let mut watched = Watched::new();
    watched.settling.completed(watched.actual());
    // The next writer is there, and inotify has not told of it yet.
    watched.write("");
    assert_eq!(watched.look(MOMENT, true), Some(Writer::Present));
    watched.settling.written(watched.actual(), watched.now);
    assert_eq!(watched.look(MOMENT, true), None);
    watched.write("half");
    watched.settling.written(watched.actual(), watched.now);
    watched.settling.completed(watched.actual());
    assert_eq!(watched.look(MOMENT, false), Some(Writer::Present));
}

#[test]
fn an_empty_file_is_doubted_for_long() {
    let mut watched = Watched::new();
    watched.write("");
    watched.settling.completed(watched.actual());
    assert_eq!(watched.look(MOMENT, true), Some(Writer::Present));
    assert_eq!(watched.look(PATIENCE, true), None);
    assert_eq!(watched.look(WRITER_FORGOTTEN, true), Some(Writer::Gone));
    assert_eq!(watched.look(PATIENCE, true), None);
}

#[test]
fn what_is_open_for_writing_lacks_nothing_until_its_writer_is_forgotten() {
    let mut watched = Watched::new();
    watched.write("half");
    watched.settling.written(watched.actual(), watched.now);
    assert_eq!(watched.look(MOMENT, true), None);
    assert_eq!(watched.look(PATIENCE, true), Some(Writer::Present));
    assert_eq!(watched.look(PATIENCE, true), None);
    assert_eq!(watched.look(WRITER_FORGOTTEN, true), Some(Writer::Gone));
    assert_eq!(watched.look(PATIENCE, true), None);
}

#[test]
fn a_file_that_a_symlink_leads_to_instead_is_read_at_once() {
    let mut watched = Watched::new();
    let read = watched.read.as_mut().unwrap();
    read.actual = Path::new("/elsewhere/web.yaml").to_path_buf();
    watched.write("anew");
    assert_eq!(watched.look(MOMENT, false), Some(Writer::Present));
}
