//! A table of halves, as the sweeper needs it: the pinned map, or one in memory for tests.
//!
//! Called by [`crate::flows::sweep`].

use std::slice;

use proxy_common::{Address, Flow, Tuple};

use crate::datapath::map::{Map, MapError};

/// Halves of flows by the tuple on the wire.
pub trait HalfTable<A: Address> {
    /// Visits every half. One that is written meanwhile may be seen, or not, or twice.
    ///
    /// # Errors
    /// When the table can't be read.
    fn for_each(&self, visit: impl FnMut(Tuple<A>, Flow<A>)) -> Result<(), MapError>;

    /// The half under `key`.
    ///
    /// # Errors
    /// When the table can't be read.
    fn get(&self, key: &Tuple<A>) -> Result<Option<Flow<A>>, MapError>;

    /// Removes the half under `key`; fine if there is none.
    ///
    /// # Errors
    /// When the table can't be written.
    fn delete(&self, key: &Tuple<A>) -> Result<(), MapError>;
}

impl<A: Address> HalfTable<A> for Map<Tuple<A>, Flow<A>> {
    fn for_each(&self, visit: impl FnMut(Tuple<A>, Flow<A>)) -> Result<(), MapError> {
        Self::for_each(self, visit)
    }

    fn get(&self, key: &Tuple<A>) -> Result<Option<Flow<A>>, MapError> {
        Self::get(self, key)
    }

    fn delete(&self, key: &Tuple<A>) -> Result<(), MapError> {
        Self::delete_all(self, slice::from_ref(key)).map(drop)
    }
}
