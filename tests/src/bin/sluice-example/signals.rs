//! Ctrl-C and its kin: noted, so that the stage is taken down in order.
//!
//! A handler and not a blocked signal, because a blocked one would stay blocked in every process
//! that is started here.

use std::{
    io, ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

static TOLD_TO_END: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    TOLD_TO_END.store(true, Ordering::Relaxed);
}

/// Has the signals noted that ask a program to end.
pub(crate) fn watch() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the all-zero `sigaction` is a valid one: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: `action` is initialised, and the handler only stores to an atomic.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether one has come.
pub(crate) fn was_told_to_end() -> bool {
    TOLD_TO_END.load(Ordering::Relaxed)
}

/// Waits for one.
pub(crate) fn wait() {
    while !was_told_to_end() {
        thread::sleep(Duration::from_millis(50));
    }
}
