//! Fragments: only the first one of a datagram has ports.

use crate::Address;
use crate::{Be16, Protocol};

/// Identifies a datagram that was fragmented: the key of `FRAGMENTS_V4` and `FRAGMENTS_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey<A> {
    /// Source address on the wire.
    pub source: A,
    /// Destination address on the wire.
    pub destination: A,
    /// IPv4 identification (in the low 16 bits) or IPv6 fragment identification, as on the wire.
    pub identification: u32,
    /// Transport protocol.
    pub protocol: Protocol,
    /// 0 at ingress, 1 at egress.
    pub hook: u8,
    /// Zero.
    pub pad16: u16,
}

impl<A: Address> FragmentKey<A> {
    /// A key from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(
        source: A,
        destination: A,
        identification: u32,
        protocol: Protocol,
        hook: u8,
    ) -> Self {
        Self { source, destination, identification, protocol, hook, pad16: 0 }
    }
}

/// The ports of the first fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct FragmentPorts {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
}
