//! The real `bpftool`: what an operator sees without the agent's help.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Questions to `bpftool`.
#[derive(Clone, Copy, Debug)]
pub struct Bpftool;

impl Bpftool {
    /// What `bpftool -j <arguments>` prints.
    pub fn json(arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new("bpftool");
        // Where `sbin` is not on a user's path.
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH")?));
        let output = command
            .arg("-j")
            .args(arguments)
            .output()
            .context("cannot run bpftool: install bpftool, or run cargo xtask setup")?;
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

    /// What there is to know about a pinned map.
    pub fn map(pin: &Path) -> Result<Value> {
        Self::json(&["map", "show", "pinned", text(pin)?])
    }

    /// Ids of all objects of a kind (`map`, `prog`, `link`) on this kernel.
    pub fn ids(kind: &str) -> Result<BTreeSet<u64>> {
        let listed = Self::json(&[kind, "show"])?;
        let objects = listed.as_array().with_context(|| format!("{kind}s are no list"))?;
        Ok(objects.iter().filter_map(|object| object["id"].as_u64()).collect())
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

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
