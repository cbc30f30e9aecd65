//! A long command, shown as it goes on: a spinner with its last line on a terminal, a line now and
//! then elsewhere. All that it said is shown when it fails, and only then.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, pipe, stderr},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::process::shown;

/// How often a command that takes long is heard of where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// Runs `command` to its end.
pub(super) fn step(title: &str, mut command: Command) -> Result<()> {
    let line = shown(&command);
    let started = Instant::now();
    let mut display = Display::new(title);

    let (reader, writer) = pipe().context("no pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("no pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("`{line}` could not be run"))?;
    // Our ends of the pipe, without which there is no end of file.
    drop(command);

    let (sender, lines) = mpsc::channel();
    let reading = thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    });
    let mut said = Vec::new();
    loop {
        match lines.recv_timeout(HEARTBEAT) {
            Ok(line) => {
                display.line(&line);
                said.push(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        display.heartbeat(said.last().map_or("", String::as_str));
    }
    let status = child.wait().with_context(|| format!("`{line}` was lost"))?;
    let _ = reading.join();
    display.end(status.success(), started.elapsed());
    if !status.success() {
        eprintln!("{}", said.join("\n"));
        bail!("setup: {title}: `{line}` failed ({status}), see above");
    }
    Ok(())
}

enum Display {
    Terminal { bar: ProgressBar, title: String },
    Lines { title: String, started: Instant, heard: Instant },
}

impl Display {
    fn new(title: &str) -> Self {
        let title = title.to_owned();
        if !stderr().is_terminal() {
            eprintln!("setup: {title} …");
            return Self::Lines { title, started: Instant::now(), heard: Instant::now() };
        }
        let bar = ProgressBar::new_spinner().with_message(title.clone());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::Terminal { bar, title }
    }

    fn line(&self, line: &str) {
        if let Self::Terminal { bar, title } = self {
            bar.set_message(format!("{title}: {}", line.trim_start()));
        }
    }

    fn heartbeat(&mut self, last: &str) {
        if let Self::Lines { started, heard, .. } = self
            && heard.elapsed() >= HEARTBEAT
        {
            *heard = Instant::now();
            eprintln!("setup:   {} s, now: {}", started.elapsed().as_secs(), last.trim_start());
        }
    }

    fn end(self, success: bool, took: Duration) {
        let title = match self {
            Self::Terminal { bar, title } => {
                bar.finish_and_clear();
                title
            }
            Self::Lines { title, .. } => title,
        };
        let outcome = if success { "done" } else { "FAILED" };
        eprintln!("setup: {title}: {outcome} in {:.1} s", took.as_secs_f32());
    }
}
