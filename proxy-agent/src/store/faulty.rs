//! A store that fails on purpose.
//!
//! Wraps another store. A function decides for each operation whether it fails, and how; it may
//! count, roll dice, or look at the operation.

use std::{fmt, io};

use super::{Failed, Installed, MapStore, Op, StoreError};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The map is full.
    Full,
    /// The kernel answers with this error number.
    Errno(i32),
}

/// Fails when `decide` says so.
pub struct FaultyStore<S, F> {
    inner: S,
    decide: F,
}

impl<S, F> FaultyStore<S, F> {
    /// `inner`, except where `decide` names a fault.
    pub const fn new(inner: S, decide: F) -> Self {
        Self { inner, decide }
    }

    /// The store inside.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// The store inside, without faults from now on.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: fmt::Debug, F> fmt::Debug for FaultyStore<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: MapStore, F: FnMut(&Op) -> Option<Fault>> MapStore for FaultyStore<S, F> {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        let mut failed = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            let error = match (self.decide)(op) {
                Some(fault) => {
                    self.leave_half_done(op);
                    Some(error(op, fault))
                }
                None => self.inner.apply(std::slice::from_ref(op)).pop().map(|inner| inner.error),
            };
            failed.extend(error.map(|error| Failed { op: index, error }));
        }
        failed
    }

    fn read(&self) -> Result<Installed, StoreError> {
        self.inner.read()
    }
}

impl<S: MapStore, F> FaultyStore<S, F> {
    /// What the contract allows: of slots, a part may be written.
    fn leave_half_done(&mut self, op: &Op) {
        if let Op::PutSlots { base, backends } = op {
            let backends = backends.iter().take(backends.len() / 2).copied().collect();
            self.inner.apply(&[Op::PutSlots { base: *base, backends }]);
        }
    }
}

fn error(op: &Op, fault: Fault) -> StoreError {
    match fault {
        Fault::Full => StoreError::Full { map: op.map() },
        Fault::Errno(errno) => StoreError::Kernel {
            call: "a call that fails on purpose",
            map: op.map(),
            source: io::Error::from_raw_os_error(errno),
        },
    }
}
