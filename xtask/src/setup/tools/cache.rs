//! Where tools are kept between runs: a directory outside the clone, with one directory for each
//! content of what it is made from. It appears there as a whole or not at all.
//!
//! Nothing is removed unless one asks for it: `rm -r` of it all is safe, and builds everything anew.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// Names the cache's directory where the default won't do.
const OVERRIDE: &str = "SLUICE_CACHE";

/// The directory `tools` of the cache.
pub(super) struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// `$SLUICE_CACHE`, or `sluice` in the user's directory of caches.
    pub(super) fn find() -> Result<Self> {
        let variable = |name| env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
        let directory = variable(OVERRIDE)
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("sluice")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/sluice")));
        match directory {
            Some(directory) => Ok(Self { directory: directory.join("tools") }),
            None => bail!(
                "there is no place to keep the tools that tests run: set {OVERRIDE} to a directory"
            ),
        }
    }

    /// Has the directory `name` made anew when it is next asked for.
    pub(super) fn forget(&self, name: &str) -> Result<()> {
        match fs::remove_dir_all(self.directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| self.directory.join(name).display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// The directory `name`; where it isn't there yet, `make` fills it.
    pub(super) fn ensure(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let target = self.directory.join(name);
        if target.is_dir() {
            return Ok(target);
        }
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        // Another run may be building the same: it is waited for.
        let lock = self.directory.join(".lock");
        let lock = File::create(&lock).with_context(|| lock.display().to_string())?;
        flock(&lock, FlockOperation::LockExclusive).context("cannot lock the cache")?;
        if target.is_dir() {
            return Ok(target);
        }
        let staged = self.directory.join(format!(".{name}"));
        if staged.exists() {
            fs::remove_dir_all(&staged).with_context(|| staged.display().to_string())?;
        }
        fs::create_dir(&staged).with_context(|| staged.display().to_string())?;
        make(&staged)?;
        fs::rename(&staged, &target).with_context(|| target.display().to_string())?;
        Ok(target)
    }
}

/// A name for the content of the files in `directory`: FNV-1a, which differs by accident never and
/// on purpose easily, and nobody gains by that.
pub(super) fn fingerprint(directory: &Path) -> Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        files.push(entry.with_context(|| directory.display().to_string())?.path());
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for file in files {
        let content = fs::read(&file).with_context(|| file.display().to_string())?;
        add(file.file_name().unwrap_or_default().as_encoded_bytes());
        add(&content.len().to_le_bytes());
        add(&content);
    }
    Ok(format!("{hash:016x}"))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, env, fs, path::PathBuf, process};

    use super::{Cache, fingerprint};

    fn scratch(name: &str) -> PathBuf {
        let directory = env::temp_dir().join(format!("sluice-xtask-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        directory
    }

    #[test]
    fn what_is_there_is_not_made_again_and_what_failed_is() {
        let directory = scratch("cache");
        let cache = Cache { directory: directory.clone() };
        let made = Cell::new(0);
        let attempt = |fails: bool| {
            cache.ensure("tool", |target| {
                made.set(made.get() + 1);
                fs::write(target.join("program"), "x").unwrap();
                if fails { anyhow::bail!("no") } else { Ok(()) }
            })
        };
        attempt(true).unwrap_err();
        let target = attempt(false).unwrap();
        assert!(target.join("program").is_file());
        assert_eq!(attempt(false).unwrap(), target);
        assert_eq!(made.get(), 2);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_fingerprint_follows_names_and_contents() {
        let directory = scratch("fingerprint");
        fs::write(directory.join("a"), "1").unwrap();
        let first = fingerprint(&directory).unwrap();
        assert_eq!(fingerprint(&directory).unwrap(), first);
        fs::write(directory.join("a"), "2").unwrap();
        let second = fingerprint(&directory).unwrap();
        fs::rename(directory.join("a"), directory.join("b")).unwrap();
        let third = fingerprint(&directory).unwrap();
        assert!(first != second && second != third && first != third);
        fs::remove_dir_all(directory).unwrap();
    }
}
