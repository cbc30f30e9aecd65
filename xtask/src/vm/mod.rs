//! `cargo xtask vm`: the verifier's, the packets' and the lab's suites under other kernels, each in a
//! machine of its own; and, as layers of `cargo xtask test`, the quick part of them.
//!
//! A kernel that can't be had is said loudly and is no failure: a machine may reach no mirror.

mod budget;
mod machine;
mod root;
mod suites;

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process, setup,
    setup::tools::kernels::{self, KERNELS, Kernel},
    test::{Executable, executables},
    workspace,
};
use machine::Report;
use root::Root;
use suites::{EVERYTHING, QUICK, QUICK_NEWEST, Suite, THOROUGH};

/// How long the quick suites may take, of a machine that has other things to do.
const QUICK_PATIENCE: Duration = Duration::from_secs(20 * 60);

/// How many times as long an agent may take to start there.
const PATIENCE: &str = "export SLUICE_PATIENCE=5\n";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// 5.10, 6.1, 6.12, newest, all; or host for this very kernel, without a machine and with the
    /// verifier's suite only
    kernel: String,
    /// Run the verifier's suite only
    #[arg(long, conflicts_with_all = ["quick", "everything"])]
    verifier: bool,
    /// Run only what `cargo xtask test` runs
    #[arg(long)]
    quick: bool,
    /// Run every test of kernel_run and stories: hours without KVM
    #[arg(long, conflicts_with = "quick")]
    everything: bool,
    /// Run these tests of stories only
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["verifier", "quick", "everything"])]
    stories: Vec<String>,
    /// Write what the verifier counts to tests/verifier-budget.txt instead of comparing
    #[arg(long)]
    update_budget: bool,
    /// Look for newer kernels than those in the cache
    #[arg(long)]
    refresh: bool,
    /// Switch a machine off after so many minutes
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// The command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Test)?;
    let chosen: Vec<Kernel> = match arguments.kernel.as_str() {
        "host" => return host(arguments.update_budget),
        "all" => KERNELS.to_vec(),
        name => KERNELS.iter().filter(|kernel| kernel.name == name).copied().collect(),
    };
    if chosen.is_empty() {
        let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        bail!("no kernel {:?}: there are {}, all and host", arguments.kernel, names.join(", "));
    }
    let suites = match arguments {
        Arguments { verifier: true, .. } => &QUICK[..1],
        Arguments { quick: true, .. } => QUICK,
        Arguments { everything: true, .. } => EVERYTHING,
        _ => THOROUGH,
    };
    let mut script = script(suites, arguments.update_budget);
    if !arguments.stories.is_empty() {
        let texts = arguments.stories.join(" ");
        script = format!("{PATIENCE}suite lab stories --test-threads=2 {texts}\n");
    }
    process::run(&mut process::cargo(["build", "--workspace"]))?;
    let lab = Lab::build(&executables::build()?, &script)?;
    let mut rows = Vec::new();
    let (mut failed, mut missing) = (Vec::new(), Vec::new());
    let mut lines = Vec::new();
    for kernel in chosen {
        match boot(kernel, &lab, arguments.refresh, Duration::from_secs(60 * arguments.minutes)) {
            Ok(report) => {
                lines.push(summary(kernel, &report));
                if report.failed > 0 || !report.complete {
                    failed.push(kernel.name);
                }
                rows.extend(report.rows);
            }
            Err(Trouble::NotHad(reason)) => {
                shout(kernel.name, &reason);
                lines.push(format!("{:<8} COULD NOT BE HAD: {reason}", kernel.name));
                missing.push(kernel.name);
            }
            Err(Trouble::Failed(error)) => {
                lines.push(format!("{:<8} {error:#}", kernel.name));
                failed.push(kernel.name);
            }
        }
    }
    println!("\n{}", lines.join("\n"));
    if arguments.update_budget && !rows.is_empty() {
        budget::update(&rows)?;
    }
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    Ok(())
}

/// Why a kernel ran nothing.
enum Trouble {
    /// It isn't here and can't be fetched.
    NotHad(String),
    /// It is here, and the machine did not work.
    Failed(anyhow::Error),
}

/// What a layer of `cargo xtask test` came to: the report, or why there is none.
pub(crate) fn layer(name: &str, all: &[Executable]) -> Result<std::result::Result<Report, String>> {
    let kernel =
        KERNELS.into_iter().find(|kernel| kernel.name == name).context("no such kernel")?;
    let suites = if name == KERNELS[0].name { QUICK } else { QUICK_NEWEST };
    let lab = Lab::build(all, &script(suites, false))?;
    match boot(kernel, &lab, false, QUICK_PATIENCE) {
        Ok(report) => Ok(Ok(report)),
        Err(Trouble::NotHad(reason)) => Ok(Err(reason)),
        Err(Trouble::Failed(error)) => Err(error),
    }
}

/// The kernels that `cargo xtask test` boots: the oldest and the newest.
pub(crate) fn layers() -> [&'static str; 2] {
    [KERNELS[0].name, KERNELS[KERNELS.len() - 1].name]
}

/// Says that something did not run, so that it is seen.
pub(crate) fn shout(kernel: &str, reason: &str) {
    let bar = "!".repeat(72);
    eprintln!("{bar}\n!! Linux {kernel} COULD NOT BE HAD, nothing ran there: {reason}\n{bar}");
}

fn summary(kernel: Kernel, report: &Report) -> String {
    let Report { release, passed, failed, skipped, complete, .. } = report;
    let passed = passed.saturating_sub(skipped.len());
    let mut text = format!(
        "{:<8} {release}: {passed} passed, {failed} failed, {} skipped",
        kernel.name,
        skipped.len()
    );
    if !complete {
        text.push_str(", and it did not come to its end");
    }
    for test in skipped {
        text.push_str(&format!("\n{:<8} SKIPPED {test}", ""));
    }
    text
}

fn script(suites: &[Suite], update_budget: bool) -> String {
    let mut script = String::from(PATIENCE);
    if update_budget {
        script.push_str("export SLUICE_VERIFIER_ROWS=/tmp/rows\n");
    }
    script.extend(suites.iter().map(suites::line));
    script
}

/// What machines boot into.
struct Lab {
    root: Root,
}

impl Lab {
    fn build(all: &[Executable], script: &str) -> Result<Self> {
        let find = |name: &'static str| -> Result<(&'static str, &Path)> {
            let layer = format!("tests/{name}");
            let executable = all.iter().find(|executable| executable.layer == layer);
            Ok((name, &executable.with_context(|| format!("no test executable {layer}"))?.path))
        };
        let root = Root::build(&[find("verifier")?, find("kernel_run")?, find("stories")?])?;
        root.write("suites", script)?;
        Ok(Self { root })
    }
}

fn boot(
    kernel: Kernel,
    lab: &Lab,
    refresh: bool,
    patience: Duration,
) -> std::result::Result<Report, Trouble> {
    if ARCH != "x86_64" {
        return Err(Trouble::NotHad(format!("its packages are for x86_64, and this is {ARCH}")));
    }
    let unpacked =
        kernels::ensure(kernel, refresh).map_err(|error| Trouble::NotHad(format!("{error:#}")))?;
    println!("\n==> Linux {}", unpacked.release);
    let archive: PathBuf = workspace::target().join("vm").join(format!("{}.cpio", kernel.name));
    let report = lab
        .root
        .archive(&unpacked.modules, &archive)
        .and_then(|()| machine::run(&unpacked.image, &archive, patience))
        .map_err(Trouble::Failed);
    let _ = fs::remove_file(&archive);
    report
}

/// The verifier's suite on the running kernel.
fn host(update_budget: bool) -> Result<()> {
    let all = executables::build()?;
    let verifier = all
        .iter()
        .find(|executable| executable.layer == "tests/verifier")
        .context("no test executable tests/verifier")?;
    let rows = workspace::target().join("verifier-rows");
    let _ = fs::remove_file(&rows);
    let mut command = process::as_root(&verifier.path)?;
    command.arg("--nocapture");
    if update_budget {
        command.env("SLUICE_VERIFIER_ROWS", &rows);
    }
    process::run(&mut command)?;
    if update_budget {
        let text = fs::read_to_string(&rows).with_context(|| rows.display().to_string())?;
        budget::update(&text.lines().map(str::to_owned).collect::<Vec<_>>())?;
    }
    Ok(())
}
