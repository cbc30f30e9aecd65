//! Running one test executable: its output goes through unchanged, and its closing line is read.

use std::{
    fs,
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _, stdout},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result};

use super::{executables::Executable, summary::Outcome};
use crate::{image, process, setup::tools, workspace};

/// Labs at the same time: each has namespaces, agents and maps of its own, and many of them would
/// run into each other's time limits.
const LABS_MAX: usize = 4;

/// Runs it; what can't be run at all is missing.
pub(super) fn run(executable: &Executable, filter: Option<&str>) -> Outcome {
    let mut command = if executable.lab {
        match process::as_root(&executable.path) {
            Ok(command) => command,
            Err(error) => return Outcome::Missing(format!("{error:#}")),
        }
    } else {
        process::command(&executable.path)
    };
    command
        .current_dir(&executable.directory)
        .env("CARGO_MANIFEST_DIR", &executable.directory)
        // What the lab starts on its nodes: the layer "build" has just made it.
        .env("SLUICE_BIN", workspace::target().join("debug/sluice"))
        .env("SLUICE_SKIPPED", skipped_file())
        .args(filter)
        .arg(if stdout().is_terminal() { "--color=always" } else { "--color=never" });
    if executable.tools {
        match tools::ensure() {
            Ok(tools) => command.envs(tools.variables()),
            Err(error) => return Outcome::Missing(format!("its tools: {error:#}")),
        };
    }
    if executable.image {
        match image::for_tests() {
            Ok(archive) => command.env("SLUICE_IMAGE", archive),
            Err(error) => return Outcome::Missing(format!("its image: {error:#}")),
        };
    }
    if executable.lab {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(LABS_MAX);
        command.arg(format!("--test-threads={threads}"));
    }
    // What an earlier layer skipped was counted then.
    let _ = fs::remove_file(skipped_file());
    match read(&mut command) {
        Ok((passed, failed)) => {
            let skipped = skipped(&fs::read_to_string(skipped_file()).unwrap_or_default());
            Outcome::Ran { passed: passed.saturating_sub(skipped.len()), failed, skipped }
        }
        Err(error) => Outcome::Missing(format!("{error:#}")),
    }
}

/// Where tests say that they can't run here.
fn skipped_file() -> PathBuf {
    workspace::target().join("skipped-tests")
}

/// The tests that didn't run, each with its reason.
fn skipped(lines: &str) -> Vec<String> {
    lines.lines().map(str::to_owned).collect()
}

fn read(command: &mut Command) -> Result<(usize, usize)> {
    let line = process::shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{line}` could not be run"))?;
    let output = child.stdout.take().context("no pipe")?;
    let mut counted = None;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("the test's output is lost")?;
        let _ = stdout().write_all(&line).and_then(|()| stdout().write_all(b"\n"));
        if let Some(counts) = closing_line(&String::from_utf8_lossy(&line)) {
            counted = Some(counts);
        }
    }
    let status = child.wait().with_context(|| format!("`{line}` was lost"))?;
    // Without a closing line it died; with one it may still have died after it.
    let (passed, failed) = counted.unwrap_or((0, 0));
    let failed = if status.success() { failed } else { failed.max(1) };
    Ok((passed, failed))
}

/// Passed and failed, if `line` is `test result: … 3 passed; 0 failed; …`.
pub(crate) fn closing_line(line: &str) -> Option<(usize, usize)> {
    let (_, counts) = line.split_once("test result: ")?;
    let count = |word: &str| {
        let (before, _) = counts.split_once(word)?;
        before.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((count(" passed")?, count(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::closing_line;

    #[test]
    fn the_closing_line_is_read_with_and_without_colours() {
        let plain = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out";
        assert_eq!(closing_line(plain), Some((12, 0)));
        let red = "test result: \u{1b}[31mFAILED\u{1b}[0m. 1 passed; 2 failed; 0 ignored";
        assert_eq!(closing_line(red), Some((1, 2)));
        assert_eq!(closing_line("test a::b ... ok"), None);
    }
}
