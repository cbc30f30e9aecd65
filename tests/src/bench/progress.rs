//! How far it is: a spinner on a terminal, a line for each step elsewhere. On standard error, so
//! that figures can be piped.

use std::{
    io::{IsTerminal as _, stderr},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

/// How far a bench is.
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// From now on.
    #[must_use]
    pub fn new() -> Self {
        let bar = stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, started: Instant::now() }
    }

    /// What is done now.
    pub fn step(&self, what: &str) {
        let line = format!("[{:>5.0} s] {what}", self.started.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None => eprintln!("{line}"),
        }
    }

    /// There is no more.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
