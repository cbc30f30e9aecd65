//! Ctrl-C and its kin: noted, so that the stage is taken down in order.
//!
//! A handler and not a blocked signal, because a blocked one would stay blocked in every process
//! that is started here.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Whether the program was told to end.
#[derive(Clone, Debug)]
pub(crate) struct End {
    told: Arc<AtomicBool>,
}

impl End {
    /// Has the signals noted that ask a program to end.
    pub(crate) fn watch() -> io::Result<Self> {
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&told))?;
        }
        Ok(Self { told })
    }

    /// Whether one has come.
    pub(crate) fn is_wanted(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// Waits for one.
    pub(crate) fn wait(&self) {
        while !self.is_wanted() {
            thread::sleep(Duration::from_millis(50));
        }
    }
}
