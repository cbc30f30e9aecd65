//! inotify: which paths something happened to, and whether a writer is done.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use notify::{
    Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// It was written to, and the writer may not be done.
    Writing(PathBuf),
    /// A writer closed it, or it was moved here.
    Complete(PathBuf),
    /// It came, went, or changed in another way.
    Other,
}

/// Directories that are watched.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    happened: mpsc::Receiver<Happened>,
    /// Keeps the channel open when there is no watcher.
    _sender: mpsc::Sender<Happened>,
}

impl Watch {
    /// Watches nothing yet. The error says why nothing can be watched: then only time passes in
    /// [`Self::wait`].
    pub(super) fn new() -> (Self, Option<notify::Error>) {
        let (sender, happened) = mpsc::channel();
        let handler = sender.clone();
        let watcher = RecommendedWatcher::new(
            move |event: notify::Result<notify::Event>| {
                for happened in event.map_or(vec![Happened::Other], of_interest) {
                    // Nobody listens any more when the source ends.
                    let _ = handler.send(happened);
                }
            },
            Config::default(),
        );
        let (watcher, error) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error)),
        };
        (Self { watcher, watched: BTreeSet::new(), happened, _sender: sender }, error)
    }

    /// Watches exactly `directories`. Returns whether one of them is new, so that what happened in
    /// it before may have been missed, and why one could not be watched.
    pub(super) fn follow(
        &mut self,
        directories: &BTreeSet<PathBuf>,
    ) -> (bool, Option<notify::Error>) {
        let Some(watcher) = &mut self.watcher else { return (false, None) };
        for gone in self.watched.difference(directories) {
            // A directory that was deleted is no longer watched anyway.
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|watched| directories.contains(watched));
        let (mut new, mut failed) = (false, None);
        for directory in directories {
            if self.watched.contains(directory) {
                continue;
            }
            match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    new = true;
                    self.watched.insert(directory.clone());
                }
                Err(error) => failed = Some(error),
            }
        }
        (new, failed)
    }

    /// Forgets that `directory` is watched: another may have taken its place under the same name.
    pub(super) fn forget(&mut self, directory: &Path) {
        if let Some(watcher) = &mut self.watcher
            && self.watched.remove(directory)
        {
            let _ = watcher.unwatch(directory);
        }
    }

    /// Waits until something happens, `quiet` passes without anything more, or `most` is over.
    pub(super) fn wait(&self, most: Duration, quiet: Duration) -> Vec<Happened> {
        let mut happened = Vec::new();
        let Ok(first) = self.happened.recv_timeout(most) else { return happened };
        happened.push(first);
        let until = Instant::now() + 2 * quiet;
        while let Ok(next) =
            self.happened.recv_timeout(quiet.min(until.saturating_duration_since(Instant::now())))
        {
            happened.push(next);
        }
        happened
    }
}

fn of_interest(event: notify::Event) -> Vec<Happened> {
    let of_each =
        |what: fn(PathBuf) -> Happened, paths: Vec<PathBuf>| paths.into_iter().map(what).collect();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            of_each(Happened::Complete, event.paths)
        }
        // Our own reading is no news.
        EventKind::Access(_) => Vec::new(),
        EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
            of_each(Happened::Writing, event.paths)
        }
        _ => vec![Happened::Other],
    }
}
