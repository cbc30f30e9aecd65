//! Installing what is missing: Debian packages by apt-get, bpf-linker by cargo. Elsewhere, and
//! without root, says exactly what to install.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{IsTerminal as _, stdin},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    needs::{Need, linker_runs},
    progress,
};
use crate::{process, workspace};

const LINKER_VERSION: &str = "0.13.0";
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Installs all of `missing`.
pub(super) fn install(missing: &[Need]) -> Result<()> {
    for need in missing {
        eprintln!("setup: missing: {}", need.what);
    }
    let Some(apt) = Apt::find()? else { bail!("{}", instructions(missing)) };
    progress::step("updating the lists of Debian packages", apt.get(["update"]))?;

    let (core, others): (Vec<_>, Vec<_>) = missing.iter().partition(|need| need.is_core());
    for packages in [packages(&others), packages(&core)] {
        if packages.is_empty() {
            continue;
        }
        let title = format!("installing {}", packages.join(", "));
        let installed = progress::step(&title, apt.install(&packages));
        match (installed, workspace::find_program("rustup")) {
            (Err(_), Some(rustup)) if !core.is_empty() && packages == core[0].packages => {
                // Debian's derivatives may not have that compiler: the other way to a `core`.
                let mut rustup = process::command(rustup);
                rustup.args(["component", "add", "rust-src"]);
                progress::step("installing rustup's rust-src instead", rustup)?;
            }
            (installed, _) => installed?,
        }
    }
    if missing.iter().any(Need::is_linker) && !linker_runs() {
        install_linker()?;
    }
    Ok(())
}

/// Brings the lists of Debian packages up to date.
pub(super) fn update() -> Result<()> {
    let apt =
        Apt::find()?.context("apt-get can't be run as root: run `apt-get update` yourself")?;
    progress::step("updating the lists of Debian packages", apt.get(["update"]))
}

/// What a person has to install, to the letter.
pub(super) fn instructions(missing: &[Need]) -> String {
    let mut text = String::from("this machine lacks:\n");
    for need in missing {
        let _ = writeln!(text, "  - {} (Debian: {})", need.what, need.packages.join(" "));
    }
    let all: Vec<_> = missing.iter().collect();
    text.push_str("On Debian, as root:\n  apt-get update\n");
    let _ =
        writeln!(text, "  apt-get install --no-install-recommends {}", packages(&all).join(" "));
    if missing.iter().any(Need::is_core) {
        text.push_str(
            "Elsewhere, in place of rustc-web and libstd-rust-web-dev-bpf:\n  \
             rustup component add rust-src\n",
        );
    }
    if missing.iter().any(Need::is_linker) {
        let _ = writeln!(
            text,
            "Then bpf-linker, as yourself (LLVM_PREFIX is where LLVM 22 is installed):\n  \
             LLVM_PREFIX={LLVM_PREFIX} cargo {}",
            linker_arguments().join(" ")
        );
    }
    text
}

fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        needs.iter().flat_map(|need| need.packages.iter().copied()).collect();
    packages.dedup();
    packages
}

fn linker_arguments() -> [&'static str; 8] {
    [
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--force",
        "--no-default-features",
        "--features=llvm-22",
    ]
}

fn install_linker() -> Result<()> {
    let mut cargo = process::cargo(linker_arguments());
    cargo.env("LLVM_PREFIX", LLVM_PREFIX);
    let title = format!("building bpf-linker {LINKER_VERSION}, once (a minute or two)");
    progress::step(&title, cargo)
}

/// apt-get, and how to be root for it.
struct Apt {
    sudo: Option<std::path::PathBuf>,
}

impl Apt {
    /// `None` where there is no apt-get, or no way to be root.
    fn find() -> Result<Option<Self>> {
        if !Path::new("/etc/debian_version").is_file()
            || workspace::find_program("apt-get").is_none()
        {
            return Ok(None);
        }
        if workspace::is_root() {
            return Ok(Some(Self { sudo: None }));
        }
        let Some(sudo) = workspace::find_program("sudo") else { return Ok(None) };
        // Asks for the password now, before a progress bar is in the way.
        let mut validate = process::command(&sudo);
        validate.arg(if stdin().is_terminal() { "--validate" } else { "--non-interactive" });
        if !stdin().is_terminal() {
            validate.arg("true");
        }
        let allowed = validate.status().context("`sudo` could not be run")?.success();
        Ok(allowed.then_some(Self { sudo: Some(sudo) }))
    }

    fn get<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = match &self.sudo {
            None => process::command("env"),
            Some(sudo) => {
                let mut command = process::command(sudo);
                command.arg("env");
                command
            }
        };
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"])
            // Another apt-get may be at work on a machine that has just started.
            .args(["-o", "DPkg::Lock::Timeout=120"])
            .args(arguments);
        command
    }

    fn install(&self, packages: &[&str]) -> Command {
        let mut command = self.get(["install", "--yes", "--no-install-recommends"]);
        command.args(packages);
        command
    }
}
