//! Takes everything away that Sluice left under a pin path: of this layout and of earlier ones.
//!
//! Called by [`crate::cli::cleanup`], which has made sure that no agent runs.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use super::{
    clsact::{self, Place},
    inspect, layouts,
    links::BESIDE,
    pins::{Pins, parse_device_pin},
    qdisc, syscall,
};
use crate::host::bpffs;

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Links that were detached and unpinned.
    pub links: Vec<PathBuf>,
    /// clsact filters that were taken from their devices, by the pin of their program.
    pub filters: Vec<PathBuf>,
    /// clsact qdiscs that were made for them and in which nothing was left, by their notes.
    pub qdiscs: Vec<PathBuf>,
    /// Maps that were unpinned.
    pub maps: Vec<PathBuf>,
    /// Other pins.
    pub others: Vec<PathBuf>,
    /// Directories.
    pub directories: Vec<PathBuf>,
    /// The bpffs that the agent had mounted on the pin path.
    pub mount: Option<PathBuf>,
}

impl Removed {
    /// Whether nothing was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why something is left.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct CleanupError {
    /// What could not be taken away.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// Takes everything away under `pins`. Links go first: the programs stop before the maps do.
/// `unlock` is called before a bpffs of ours is unmounted, which nobody may hold open then.
///
/// # Errors
/// At the first thing that can't be taken away. What went before stays gone; running it again is
/// fine.
pub fn run(
    pins: &Pins,
    device_name: impl Fn(u32) -> Option<String>,
    unlock: impl FnOnce(),
) -> Result<Removed, CleanupError> {
    let mut removed = Removed::default();
    let root = pins.root();
    if bpffs::is_bpffs(root) {
        for version in list(root)?.into_iter().filter(|path| is_layout(path)) {
            remove_layout(&version, &device_name, &mut removed)?;
        }
    }
    let at = |source| CleanupError { path: root.into(), source };
    if bpffs::is_own(root).map_err(at)? {
        unlock();
        bpffs::unmount(root).map_err(at)?;
        removed.mount = Some(root.into());
    }
    // Others may have put something beside: then it stays.
    if root.is_dir() && fs::remove_dir(root).is_ok() {
        removed.directories.push(root.into());
    }
    Ok(removed)
}

/// `v1`, `v2`, …
fn is_layout(path: &Path) -> bool {
    layouts::version(&path.file_name().unwrap_or_default().to_string_lossy()).is_some()
}

/// Takes away what is pinned below the directory of one layout, links first.
pub(super) fn remove_layout(
    version: &Path,
    device_name: &impl Fn(u32) -> Option<String>,
    removed: &mut Removed,
) -> Result<(), CleanupError> {
    let (links, filters) = (version.join("links"), version.join("filters"));
    for pin in list(&links)? {
        if let Ok(link) = syscall::open(&pin) {
            // Fails where the device is gone, or the kernel is older than 5.9: then the pin was
            // what held it.
            let _ = syscall::link_detach(link.as_fd());
        }
        remove_file(&pin)?;
        removed.links.push(pin);
    }
    for pin in list(&filters)? {
        let name = pin.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // An agent that was killed between attaching and renaming has left another name.
        let place = parse_device_pin(name.strip_suffix(BESIDE).unwrap_or(&name));
        let device = place.and_then(|(ifindex, _)| device_name(ifindex));
        let place = device
            .as_deref()
            .zip(place)
            .map(|(device, (_, direction))| Place { device, direction });
        clsact::detach(&pin, place).map_err(|source| CleanupError { path: pin.clone(), source })?;
        removed.filters.push(pin);
    }
    for note in list(&version.join("qdiscs"))? {
        let failed = |source| CleanupError { path: note.clone(), source };
        if qdisc::release(&note).map_err(failed)? {
            removed.qdiscs.push(note);
        }
    }
    for path in list(version)?.into_iter().filter(|path| !path.is_dir()) {
        remove_file(&path)?;
        removed.maps.push(path);
    }
    remove_tree(version, removed)
}

fn remove_tree(directory: &Path, removed: &mut Removed) -> Result<(), CleanupError> {
    for path in list(directory)? {
        if path.is_dir() {
            remove_tree(&path, removed)?;
            continue;
        }
        remove_file(&path)?;
        removed.others.push(path);
    }
    fs::remove_dir(directory).map_err(|source| CleanupError { path: directory.into(), source })?;
    removed.directories.push(directory.into());
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, CleanupError> {
    let names = inspect::names(directory)
        .map_err(|source| CleanupError { path: directory.into(), source })?;
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn remove_file(path: &Path) -> Result<(), CleanupError> {
    fs::remove_file(path).map_err(|source| CleanupError { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_layout;

    #[test]
    fn directories_of_any_layout_are_ours_and_no_others() {
        assert!(is_layout(Path::new("/sys/fs/bpf/sluice/v1")));
        assert!(is_layout(Path::new("/sys/fs/bpf/sluice/v27")));
        assert!(!is_layout(Path::new("/sys/fs/bpf/sluice/vx")));
        assert!(!is_layout(Path::new("/sys/fs/bpf/sluice/other")));
    }
}
