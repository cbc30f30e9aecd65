//! `cargo xtask image`: an OCI image with one file in it, the statically linked `sluice`.
//!
//! There is nothing else to update, and nothing else to take over: no shell, no libraries, no
//! package manager. It is made by buildah in a storage of its own below `target`, and is the same
//! for the same commit and compiler. It is pushed nowhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{process, setup, workspace};

/// Where the program is in the image.
const PROGRAM: &str = "/usr/bin/sluice";

/// How the program is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// To be used
    #[default]
    Release,
    /// To be tested: what is compiled for tests anyway, but for the last step
    Dev,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How the program is compiled
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// The image's name and tag
    #[arg(long, default_value = concat!("sluice:", env!("CARGO_PKG_VERSION")))]
    name: String,
    /// Where the archive goes [default: image/sluice.tar in the target directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    let archive = make(arguments.profile, &arguments.name, arguments.output.clone())?;
    let size = fs::metadata(&archive).with_context(|| archive.display().to_string())?.len();
    let archive = archive.display();
    println!("{archive}: {} ({} MB, an OCI archive)", arguments.name, size / 1_000_000);
    println!(
        "To a registry: skopeo copy oci-archive:{archive} docker://REGISTRY/{}",
        arguments.name
    );
    Ok(())
}

/// The image that tests run.
pub(crate) fn for_tests() -> Result<PathBuf> {
    setup::ensure_runc()?;
    make(Profile::Dev, "sluice:test", Some(directory().join("test.tar")))
}

fn directory() -> PathBuf {
    workspace::target().join("image")
}

fn make(profile: Profile, name: &str, output: Option<PathBuf>) -> Result<PathBuf> {
    setup::ensure_buildah()?;
    let program = compile(profile)?;
    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let archive = output.unwrap_or_else(|| directory.join("sluice.tar"));
    // buildah adds to an archive that exists.
    if archive.exists() {
        fs::remove_file(&archive).with_context(|| archive.display().to_string())?;
    }
    Builder { storage: directory.join("storage") }.build(&program, name, &archive)?;
    Ok(archive)
}

/// `sluice` with the C library in it. Only the last step differs from an ordinary build: the flag
/// is given to that crate alone, so that nothing is compiled twice.
fn compile(profile: Profile) -> Result<PathBuf> {
    let mut cargo = process::cargo(["rustc", "--package", "proxy-agent", "--bin", "sluice"]);
    let directory = match profile {
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
        Profile::Dev => "debug",
    };
    process::run(cargo.args(["--", "-C", "target-feature=+crt-static"]))?;
    Ok(workspace::target().join(directory).join("sluice"))
}

/// buildah, with a storage of our own: the user's images are none of our business.
struct Builder {
    storage: PathBuf,
}

impl Builder {
    fn build(&self, program: &Path, name: &str, archive: &Path) -> Result<()> {
        let container = self.ask(["from", "scratch"])?;
        let result = self.fill(&container, program, name, archive);
        process::run(self.buildah(["rm", &container]).stdout(std::process::Stdio::null()))?;
        result
    }

    fn fill(&self, container: &str, program: &Path, name: &str, archive: &Path) -> Result<()> {
        let copy = ["copy", "--quiet", "--chmod", "0755", container];
        process::output(self.buildah(copy).arg(program).arg(PROGRAM))?;
        let mut config = self.buildah(["config", "--env", "PATH=/usr/bin"]);
        config.args(["--entrypoint", &format!("[\"{PROGRAM}\"]")]);
        for (label, value) in labels() {
            config.arg("--label").arg(format!("org.opencontainers.image.{label}={value}"));
        }
        process::run(config.arg(container))?;
        let mut commit = self.buildah(["commit", "--quiet", "--format", "oci"]);
        // The same for the same commit.
        commit.args(["--timestamp", &git(["log", "-1", "--format=%ct"]).unwrap_or("0".into())]);
        commit.arg(container).arg(format!("oci-archive:{}:{name}", archive.display()));
        process::output(&mut commit)?;
        Ok(())
    }

    fn buildah<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut buildah = process::command("buildah");
        buildah.args(["--storage-driver", "vfs", "--root"]).arg(&self.storage);
        buildah.arg("--runroot").arg(self.storage.with_file_name("run")).args(arguments);
        buildah
    }

    fn ask<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let output = process::output(&mut self.buildah(arguments))?;
        Ok(String::from_utf8(output).context("buildah says something strange")?.trim().to_owned())
    }
}

fn labels() -> Vec<(&'static str, String)> {
    let mut labels = vec![
        ("title", "sluice".to_owned()),
        ("description", "Kubernetes Services in eBPF: the agent and its command line".to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("licenses", env!("CARGO_PKG_LICENSE").to_owned()),
    ];
    // A revision that doesn't say everything would say something wrong.
    let is_clean = git(["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    labels.extend(git(["rev-parse", "HEAD"]).filter(|_| is_clean).map(|id| ("revision", id)));
    labels
}

/// What git says, where this is a clone.
fn git<const N: usize>(arguments: [&str; N]) -> Option<String> {
    let mut git = process::command("git");
    let output = git.current_dir(workspace::root()).args(arguments).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(text.trim().to_owned())
}
