//! Tests that can't run on this kernel: told to whoever counts, so that they don't pass for passed.
//!
//! The test runner knows no such outcome at run time. So a test writes a line to the file that
//! `SLUICE_SKIPPED` names, which `cargo xtask test` reads, subtracts and shows. Decides nothing: the
//! test ends by itself.

use std::{env, fs::OpenOptions, io::Write as _, thread};

use anyhow::{Context as _, Result};

const FILE: &str = "SLUICE_SKIPPED";

/// Says that the calling test did not run, and why.
///
/// # Errors
/// When the file can't be written: then nobody would know.
pub fn skipped(reason: &str) -> Result<()> {
    let thread = thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test"));
    eprint!("SKIPPED {line}");
    let Some(path) = env::var_os(FILE) else { return Ok(()) };
    let mut file = OpenOptions::new().create(true).append(true).open(path).context(FILE)?;
    file.write_all(line.as_bytes()).context(FILE)
}
