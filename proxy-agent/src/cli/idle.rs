//! `sluice idle`: does nothing until SIGTERM or SIGINT comes.
//!
//! A DaemonSet's containers must not end. The one that cleans nodes up has nothing to do once it has
//! done it, and its image holds no other program that could wait.

use tokio::signal::unix::{SignalKind, signal};

use super::CliError;

pub(super) fn run() -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(CliError::Runtime)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
