//! Backends: what receives a Service's traffic.

use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16};

/// Index into `BACKENDS_V4` or `BACKENDS_V6`. Id 0 is never used, so that an unwritten slot leads
/// nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct BackendId {
    id: u32,
}

impl BackendId {
    /// From its number.
    #[inline(always)]
    #[must_use]
    pub const fn new(id: u32) -> Self {
        Self { id }
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.id
    }
}

/// Bits of [`Backend::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct BackendFlags {
    bits: u16,
}

impl BackendFlags {
    /// The backend is on this node.
    pub const LOCAL: Self = Self { bits: 1 };
}

flag_set!(BackendFlags);

/// An address and port that receives traffic.
///
/// An element whose port is 0 is unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Backend<A> {
    /// The endpoint's address.
    pub address: A,
    /// The endpoint's port.
    pub port: Be16,
    /// See [`BackendFlags`].
    pub flags: BackendFlags,
}

impl<A: Address> Backend<A> {
    /// A backend from its parts.
    #[must_use]
    pub fn new(address: A, port: Be16, flags: BackendFlags) -> Self {
        Self { address, port, flags }
    }
}
