//! A wall clock for one agent, that a story sets: the machine's own belongs to everybody on it.
//!
//! A library is loaded into the process before the C library, and answers in its place when the wall
//! clock is asked for. What the kernel stamps, and clocks that can't be set, stay as they are. Needs
//! a C compiler, and an agent that is linked dynamically.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::Node;

const SOURCE: &str = include_str!("wall_clock.c");
/// Tells the library where the clock is.
const FILE: &str = "SLUICE_LAB_CLOCK";

/// The clock.
#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    clock: PathBuf,
}

impl WallClock {
    /// For an agent on `node`, right at first.
    pub fn new(node: &Node) -> Result<Self> {
        let made = Self { library: node.file("-wall-clock.so"), clock: node.file("-wall-clock") };
        let mut compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-x", "c", "-", "-o"])
            .arg(&made.library)
            .stdin(Stdio::piped())
            .spawn()
            .context("a wall clock needs a C compiler, cc")?;
        compiler.stdin.take().context("a pipe")?.write_all(SOURCE.as_bytes())?;
        ensure!(compiler.wait()?.success(), "wall_clock.c does not compile");
        fs::write(&made.clock, 0_i64.to_ne_bytes())?;
        Ok(made)
    }

    /// From now on it is `seconds` ahead of the machine's.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // In place: who has it mapped must not find an empty file.
        let file = File::options().write(true).open(&self.clock)?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// What makes a process go by it.
    pub(crate) fn environment(&self) -> [(String, PathBuf); 2] {
        [("LD_PRELOAD".to_owned(), self.library.clone()), (FILE.to_owned(), self.clock.clone())]
    }
}
