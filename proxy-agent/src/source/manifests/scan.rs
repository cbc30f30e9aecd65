//! Which files a directory of manifests has, and which of them changed.
//!
//! Files whose names end in `.yaml`, `.yml` or `.json` count, in subdirectories too; names that
//! begin with a dot don't, which leaves out editors' files and the insides of a mounted ConfigMap
//! (its files are symlinks into `..data`, and those are followed).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Scan {
    /// Whether a file was written within the last `time`. One that says it will be isn't.
    pub(super) fn changed_within(&self, time: Duration) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.files.values().any(|file| {
            let (seconds, nanoseconds) = file.fingerprint.modified;
            let modified = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
            let age = i128::try_from(now).unwrap_or(i128::MAX) - modified;
            u128::try_from(age).is_ok_and(|age| age < time.as_nanos())
        })
    }
}

/// A file of manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) fingerprint: Fingerprint,
    /// Its path without symlinks: what inotify's events are compared with.
    pub(super) actual: PathBuf,
}

impl Found {
    /// Whether the file at `path` is in the same state now.
    pub(super) fn is_still_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| Fingerprint::of(&metadata) == self.fingerprint)
    }
}

/// What a directory has.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) files: BTreeMap<PathBuf, Found>,
    /// Directories whose changes matter: those with files, and those with symlinks' targets.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Directories below the first that could not be read: what is in them is not known.
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
}

/// Looks through `root`.
///
/// # Errors
/// When `root` itself can't be read.
pub(super) fn scan(root: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let actual = fs::canonicalize(root)?;
    let mut visited = BTreeSet::from([actual.clone()]);
    // The directory itself may be a symlink that is turned over, or be moved into place.
    scan.directories.extend(root.parent().filter(|parent| parent.is_dir()).map(Path::to_path_buf));
    directory(root, &actual, fs::read_dir(root)?, &mut visited, &mut scan);
    Ok(scan)
}

fn directory(
    path: &Path,
    actual: &Path,
    entries: fs::ReadDir,
    visited: &mut BTreeSet<PathBuf>,
    scan: &mut Scan,
) {
    scan.directories.insert(path.to_path_buf());
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // What vanishes in between, or leads nowhere, isn't there.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            subdirectory(&path, visited, scan);
        } else if metadata.is_file() && is_manifest(&path) {
            let mut actual = actual.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                let Ok(target) = fs::canonicalize(&path) else { continue };
                scan.directories.extend(target.parent().map(Path::to_path_buf));
                actual = target;
            }
            scan.files.insert(path, Found { fingerprint: Fingerprint::of(&metadata), actual });
        }
    }
}

fn subdirectory(path: &Path, visited: &mut BTreeSet<PathBuf>, scan: &mut Scan) {
    match fs::canonicalize(path).and_then(|canonical| Ok((canonical, fs::read_dir(path)?))) {
        Ok((canonical, entries)) => {
            if visited.insert(canonical.clone()) {
                directory(path, &canonical, entries, visited, scan);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => scan.unreadable.push((path.to_path_buf(), error)),
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::scan;

    fn names(root: &Path) -> Vec<String> {
        let scan = scan(root).unwrap();
        let relative = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
        scan.files.keys().map(|path| relative(path)).collect()
    }

    #[test]
    fn manifests_are_found_in_subdirectories_and_other_files_are_not() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("sub/deeper")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        for file in [
            "a.yaml",
            "b.yml",
            "c.json",
            "d.txt",
            "e.yaml~",
            ".f.yaml",
            ".git/g.yaml",
            "sub/h.yaml",
            "sub/deeper/i.yaml",
        ] {
            fs::write(root.join(file), "").unwrap();
        }
        assert_eq!(names(root), ["a.yaml", "b.yml", "c.json", "sub/deeper/i.yaml", "sub/h.yaml"]);
    }

    #[test]
    fn a_mounted_config_map_is_read_through_its_symlinks() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("..1")).unwrap();
        fs::write(root.join("..1/web.yaml"), "").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/web.yaml", root.join("web.yaml")).unwrap();
        symlink("nowhere", root.join("dangling.yaml")).unwrap();
        assert_eq!(names(root), ["web.yaml"]);
        let scan = scan(root).unwrap();
        assert!(scan.directories.contains(&fs::canonicalize(root.join("..1")).unwrap()));
    }

    #[test]
    fn directories_that_lead_into_each_other_are_read_once() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::write(root.join("a.yaml"), "").unwrap();
        symlink(root, root.join("again")).unwrap();
        assert_eq!(names(root), ["a.yaml"]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(scan(&root.path().join("none")).is_err());
    }
}
