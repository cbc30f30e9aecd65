//! Finds a Go that builds a module, or makes one: a Go older than the module fetches the one that
//! the module names, as a module itself.

use std::{
    env::consts::ARCH,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::super::{
    install,
    needs::{self, Need},
    progress,
};
use crate::process;

/// From this minor version on, Go fetches a newer one by itself.
const FETCHES_ITSELF: u32 = 21;

/// A Go.
pub(super) struct Go {
    program: PathBuf,
}

impl Go {
    /// One that builds the module in `directory`.
    pub(super) fn ensure(directory: &Path) -> Result<Self> {
        let found = match needs::find_go() {
            Some(program) => program,
            None => {
                install::install(&[Need::GO])?;
                needs::find_go().context("Go was installed and isn't found: put it in PATH")?
            }
        };
        let go = Self { program: found };
        if go.minor_version()? >= FETCHES_ITSELF {
            return Ok(go);
        }
        go.fetch(&wanted(directory)?)
    }

    /// Go in `directory`, whatever the user has set for the modules of others.
    pub(super) fn command(&self, directory: &Path) -> Command {
        let mut command = process::command("nice");
        command.arg(&self.program).current_dir(directory);
        command.env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOTOOLCHAIN", "auto");
        command.env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false");
        command
    }

    fn minor_version(&self) -> Result<u32> {
        let version = process::output(process::command(&self.program).args(["env", "GOVERSION"]))?;
        let version = String::from_utf8_lossy(&version);
        // A version that isn't known is a development version.
        let minor =
            |version: &str| version.trim().strip_prefix("go1.")?.split('.').next()?.parse().ok();
        Ok(minor(&version).unwrap_or(FETCHES_ITSELF))
    }

    /// Go in the version `wanted`, by a Go that is too old to do that itself.
    fn fetch(&self, wanted: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Downloaded {
            #[serde(rename = "Dir")]
            directory: PathBuf,
        }
        let arch = match ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => bail!(
                "install Go {wanted} or later: this one is too old to build the tests' tools, and there is no newer one to fetch for {other}"
            ),
        };
        let module = format!("golang.org/toolchain@v0.0.1-go{wanted}.linux-{arch}");
        let download = || {
            let mut command = process::command(&self.program);
            // Where no go.mod is.
            command.current_dir("/").args(["mod", "download", "-json", &module]);
            command
        };
        progress::step(&format!("fetching Go {wanted}"), download())?;
        let Downloaded { directory } =
            serde_json::from_slice(&process::output(&mut download())?)
                .with_context(|| format!("go mod download says nothing of {module}"))?;
        // Modules are kept without the permission to run what is in them.
        for programs in ["bin".into(), format!("pkg/tool/linux_{arch}")] {
            let programs = directory.join(programs);
            for entry in fs::read_dir(&programs).with_context(|| programs.display().to_string())? {
                let file = entry?.path();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o555))
                    .with_context(|| file.display().to_string())?;
            }
        }
        Ok(Self { program: directory.join("bin/go") })
    }
}

/// The Go that go.mod asks for.
fn wanted(directory: &Path) -> Result<String> {
    word_after(directory, "go")
}

/// The version of `module` that go.mod requires.
pub(super) fn version_of(directory: &Path, module: &str) -> Result<String> {
    word_after(directory, module)
}

/// The second word of the line of go.mod whose first one is `first`.
fn word_after(directory: &Path, first: &str) -> Result<String> {
    let file = directory.join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut lines = text.lines().map(str::split_whitespace);
    let found = lines.find_map(|mut words| (words.next() == Some(first)).then(|| words.next())?);
    Ok(found.with_context(|| format!("{}: no version of `{first}`", file.display()))?.to_owned())
}
