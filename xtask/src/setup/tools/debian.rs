//! A program of a Debian package that is not installed: the package is unpacked into the cache. An
//! installed etcd would be started as a service of this machine.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{super::progress, cache::Cache};
use crate::{process, workspace};

/// The directory `below` of the package's files.
pub(super) fn ensure(cache: &Cache, package: &str, below: &str) -> Result<PathBuf> {
    let unpacked = cache.ensure(&format!("debian-{package}"), |target| {
        if workspace::find_program("apt-get").is_none() {
            bail!(
                "the tests run the etcd of Debian, which is older than the one that Kubernetes comes \
                 with, and this is no Debian: make {} with what the package {package} has in it",
                target.with_file_name(format!("debian-{package}")).display()
            );
        }
        let mut download = process::command("apt-get");
        download.current_dir(target).args(["--quiet", "download", package]);
        let title = format!("downloading Debian's {package}");
        if progress::step(&title, download).is_err() {
            super::super::install::update()?;
            let mut again = process::command("apt-get");
            again.current_dir(target).args(["--quiet", "download", package]);
            progress::step(&title, again)?;
        }
        let archive = fs::read_dir(target)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get downloaded no {package}"))?;
        let mut unpack = process::command("dpkg-deb");
        unpack.arg("--extract").arg(&archive).arg(target);
        progress::step(&format!("unpacking {package}"), unpack)?;
        fs::remove_file(archive)?;
        Ok(())
    })?;
    Ok(unpacked.join(below))
}
