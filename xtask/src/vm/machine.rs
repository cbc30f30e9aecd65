//! A machine for one kernel: QEMU with KVM where that works, without where it doesn't. No disk, no
//! network. Its console goes to ours, its second serial port says what came of the suites.
//!
//! Called by [`super`].

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _, stdout},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace};

const QEMU: &str = "qemu-system-x86_64";
const MEGABYTES: &str = "2048";
/// `no_timer_check`: on a busy host a timer may be late enough to be taken for a broken one.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=4 panic=-1 no_timer_check";

/// What a machine has said of its suites.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The kernel's release.
    pub(crate) release: String,
    /// Tests that passed, those that could not run included.
    pub(crate) passed: usize,
    /// Tests that failed, and suites that died.
    pub(crate) failed: usize,
    /// Tests that could not run there, each with its reason.
    pub(crate) skipped: Vec<String>,
    /// Lines for the verifier's budget.
    pub(crate) rows: Vec<String>,
    /// Whether it came to its end.
    pub(crate) complete: bool,
}

impl Report {
    fn read(text: &str) -> Self {
        let mut report = Self::default();
        for (word, value) in text.lines().filter_map(|line| line.trim().split_once(' ')) {
            match word {
                "kernel" => value.clone_into(&mut report.release),
                "closing" => {
                    if let Some((passed, failed)) = crate::test::closing_line(value) {
                        report.passed += passed;
                        report.failed += failed;
                    }
                }
                "skipped" => report.skipped.push(value.to_owned()),
                "row" => report.rows.push(value.to_owned()),
                // A suite whose tests have failed is counted by them; this one has died.
                "end" if !value.ends_with(" 0") && !value.ends_with(" 101") => report.failed += 1,
                "off" => report.complete = true,
                _ => {}
            }
        }
        report
    }
}

/// Boots a kernel into an archive and waits until it is off.
pub(super) fn run(image: &Path, archive: &Path, patience: Duration) -> Result<Report> {
    let results = workspace::target().join("vm/results");
    let mut qemu = process::command(QEMU);
    qemu.args(["-machine", "q35", "-cpu", "max", "-accel", accelerator()])
        .args(["-smp", "2", "-m", MEGABYTES, "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-serial", &format!("file:{}", results.display())])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(archive)
        .args(["-append", COMMAND_LINE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let _ = fs::remove_file(&results);
    let mut child = qemu.spawn().with_context(|| format!("{QEMU} could not be run"))?;
    let followed = follow(&mut child, patience);
    // Off by itself, or it is to be: there is nothing in it to be lost.
    let _ = child.kill();
    child.wait().with_context(|| format!("{QEMU} was lost"))?;
    followed?;
    read(&results)
}

/// KVM, where the processor can do it: the device alone is there on machines that can't.
fn accelerator() -> &'static str {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = processor.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    let may = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if can && may { "kvm" } else { "tcg,thread=multi" }
}

fn read(results: &PathBuf) -> Result<Report> {
    let bytes = fs::read(results).with_context(|| results.display().to_string())?;
    let report = Report::read(&String::from_utf8_lossy(&bytes));
    if report.release.is_empty() {
        bail!("the kernel did not come as far as its first process, see its console above");
    }
    Ok(report)
}

/// Copies the console until it ends.
fn follow(child: &mut Child, patience: Duration) -> Result<()> {
    let console = child.stdout.take().context("no pipe")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + patience;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let text = line.strip_suffix(b"\r").unwrap_or(&line);
                let _ = stdout().write_all(text).and_then(|()| stdout().write_all(b"\n"));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("vm: it is not done within {} s: switched off", patience.as_secs());
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn a_report_is_summed_over_the_suites() {
        let text = "kernel 6.1.0-56-cloud-amd64\r\nclosing test result: ok. 3 passed; 0 failed; 0 \
                    ignored\r\nend verifier 0\r\nclosing test result: FAILED. 1 passed; 2 failed; 0 \
                    ignored\r\nskipped a::b: no such device\r\nend lab 101\r\nend packets 137\r\n\
                    row 6.1 full bind4 1 2 3\r\noff 12.3\r\n";
        let report = Report::read(text);
        assert_eq!((report.passed, report.failed), (4, 3));
        assert_eq!(report.skipped, ["a::b: no such device"]);
        assert_eq!(report.rows, ["6.1 full bind4 1 2 3"]);
        assert!(report.complete);
        assert!(!Report::read("kernel x\nend verifier 0").complete);
    }
}
