//! The real `bpftool`: what an operator sees without the agent's help.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

const MISSING: &str = "cannot run bpftool: install bpftool, or run cargo xtask setup";

/// Questions to `bpftool`.
#[derive(Clone, Copy, Debug)]
pub struct Bpftool;

impl Bpftool {
    /// What `bpftool -j <arguments>` prints.
    pub fn json(arguments: &[&str]) -> Result<Value> {
        let output = Self::command(arguments)?.output().context(MISSING)?;
        let shown = arguments.join(" ");
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("bpftool -j {shown}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_str(&printed).with_context(|| format!("bpftool -j {shown}: {printed}"))
    }

    /// The elements of a pinned map.
    pub fn dump(pin: &Path) -> Result<Vec<Value>> {
        let dumped = Self::json(&["map", "dump", "pinned", text(pin)?])?;
        dumped.as_array().cloned().with_context(|| format!("{} is no list", pin.display()))
    }

    /// The first element of a pinned map, without waiting for the rest: arrays have a million.
    pub fn dump_first(pin: &Path) -> Result<Option<Value>> {
        let mut child = Self::command(&["map", "dump", "pinned", text(pin)?])?
            .stdout(Stdio::piped())
            .spawn()
            .context(MISSING)?;
        let mut output = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let opened = output.skip_until(b'[')?;
        ensure!(opened > 0, "{} is no list", pin.display());
        let first = if output.fill_buf()?.starts_with(b"]") {
            None
        } else {
            serde_json::Deserializer::from_reader(output).into_iter().next().transpose()?
        };
        // It may have printed everything already.
        let _ = child.kill();
        child.wait()?;
        Ok(first)
    }

    /// What there is to know about a pinned map.
    pub fn map(pin: &Path) -> Result<Value> {
        Self::json(&["map", "show", "pinned", text(pin)?])
    }

    /// Whether an object of a kind (`map`, `prog`, `link`) is on this kernel.
    ///
    /// Asked for one id, not of a list: while another test's objects are being freed the kernel
    /// answers `EAGAIN` for them, and `bpftool` gives up the whole list.
    pub fn exists(kind: &str, id: u64) -> Result<bool> {
        let answer = Self::command(&[kind, "show", "id", &id.to_string()])?.output();
        Ok(answer.context(MISSING)?.status.success())
    }

    /// Every pin below `directory`.
    pub fn pins(directory: &Path) -> Result<Vec<PathBuf>> {
        let mut pins = Vec::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    pending.push(entry.path());
                } else {
                    pins.push(entry.path());
                }
            }
        }
        pins.sort();
        Ok(pins)
    }
}

impl Bpftool {
    fn command(arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("bpftool");
        // Where `sbin` is not on a user's path.
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH")?));
        command.arg("-j").args(arguments);
        Ok(command)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
