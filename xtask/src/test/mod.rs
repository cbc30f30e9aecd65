//! `cargo xtask test`: every layer there is, cheapest first, and what came of each.
//!
//! A layer is a check (formatting, tidy, clippy) or a test executable. Everything is compiled once,
//! by one cargo, and executables are then run one after the other: two labs at a time would
//! measure each other.

pub(crate) mod executables;
mod runner;
mod summary;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{lint, process, setup, tidy, vm, workspace};
pub(crate) use executables::Executable;
pub(crate) use runner::closing_line;
use summary::{Outcome, Summary};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only the tests whose name contains this
    filter: Option<String>,
    /// Run only these layers (see --list)
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,
    /// Exit with 0 even if a layer could not run here
    #[arg(long)]
    allow_missing: bool,
    /// Say which layers there are, and end
    #[arg(long)]
    list: bool,
}

/// A layer that is no test executable.
struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
}

const CHECKS: &[Check] = &[
    Check { name: "format", run: lint::format },
    Check { name: "tidy", run: tidy::run },
    Check { name: "clippy", run: lint::clippy },
    // What the lab starts: it must be what was just compiled.
    Check { name: "build", run: build },
];

const DOC: Check = Check { name: "doc", run: doc };

fn build() -> Result<()> {
    process::run(&mut process::cargo(["build", "--workspace"]))
}

fn doc() -> Result<()> {
    process::run(&mut process::cargo(["test", "--workspace", "--doc", "--quiet"]))
}

impl Arguments {
    fn wants(&self, layer: &str) -> bool {
        self.layer.is_empty() || self.layer.iter().any(|name| name == layer)
    }

    /// A filter names tests, so that checks have nothing to do with it. The lab needs the build.
    fn wants_check(&self, check: &Check) -> bool {
        match check.name {
            "build" => true,
            name => self.filter.is_none() && self.wants(name),
        }
    }
}

/// The command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Err(error) = setup::ensure(setup::Purpose::Test) {
        if !arguments.allow_missing {
            return Err(error);
        }
        eprintln!("test: {error:#}\ntest: going on without, as --allow-missing says");
    }
    if arguments.list {
        return list();
    }
    let mut summary = Summary::default();
    for check in CHECKS.iter().filter(|check| arguments.wants_check(check)) {
        run_check(check, &mut summary);
    }
    heading("compiling the tests");
    let started = Instant::now();
    match executables::build() {
        Ok(executables) => {
            summary.add("compile", Outcome::check(true), started.elapsed());
            for executable in executables.iter().filter(|one| arguments.wants(&one.layer)) {
                run_executable(executable, arguments, &mut summary);
            }
            // A filter names tests of this kernel; there it would be a machine for nothing.
            for kernel in vm::layers() {
                if arguments.filter.is_none() && arguments.wants(&vm_layer(kernel)) {
                    run_vm(kernel, &executables, &mut summary);
                }
            }
        }
        Err(error) => {
            eprintln!("test: {error:#}");
            summary.add("compile", Outcome::check(false), started.elapsed());
        }
    }
    if arguments.wants_check(&DOC) {
        run_check(&DOC, &mut summary);
    }
    summary.print();
    if summary.failed() > 0 {
        bail!("{} failed", summary.failed());
    }
    if summary.missing() > 0 && !arguments.allow_missing {
        bail!("{} could not run here (--allow-missing accepts that)", summary.missing());
    }
    Ok(())
}

fn run_check(check: &Check, summary: &mut Summary) {
    heading(check.name);
    let started = Instant::now();
    let result = (check.run)();
    if let Err(error) = &result {
        eprintln!("test: {}: {error:#}", check.name);
    }
    summary.add(check.name, Outcome::check(result.is_ok()), started.elapsed());
}

fn run_executable(executable: &Executable, arguments: &Arguments, summary: &mut Summary) {
    heading(&executable.layer);
    let started = Instant::now();
    let outcome = runner::run(executable, arguments.filter.as_deref());
    if let Outcome::Missing(reason) = &outcome {
        let bar = "!".repeat(72);
        eprintln!("{bar}\n!! the layer {} DID NOT RUN: {reason}\n{bar}", executable.layer);
    }
    summary.add(&executable.layer, outcome, started.elapsed());
}

fn vm_layer(kernel: &str) -> String {
    format!("vm/{kernel}")
}

/// The quick suites under another kernel. One that can't be had is counted like tests that can't run
/// on this kernel: by name, and as no failure.
fn run_vm(kernel: &str, executables: &[Executable], summary: &mut Summary) {
    let layer = vm_layer(kernel);
    heading(&layer);
    let started = Instant::now();
    let outcome = match vm::layer(kernel, executables) {
        Ok(Ok(report)) => Outcome::Ran {
            passed: report.passed.saturating_sub(report.skipped.len()),
            failed: report.failed + usize::from(!report.complete),
            skipped: report.skipped,
        },
        Ok(Err(reason)) => {
            vm::shout(kernel, &reason);
            let skipped = vec![format!("Linux {kernel} could not be had: {reason}")];
            Outcome::Ran { passed: 0, failed: 0, skipped }
        }
        Err(error) => {
            eprintln!("test: {layer}: {error:#}");
            Outcome::check(false)
        }
    };
    summary.add(&layer, outcome, started.elapsed());
}

fn heading(layer: &str) {
    println!("\n==> {layer}");
}

fn list() -> Result<()> {
    let executables = executables::build()?;
    let machines = vm::layers().map(vm_layer);
    let names = CHECKS
        .iter()
        .map(|check| check.name)
        .chain(executables.iter().map(|executable| executable.layer.as_str()))
        .chain(machines.iter().map(String::as_str))
        .chain([DOC.name]);
    for name in names {
        println!("{name}");
    }
    println!("(in {})", workspace::target().display());
    Ok(())
}
