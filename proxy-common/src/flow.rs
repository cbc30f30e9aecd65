//! Flows: what was decided for a connection, kept so that every later packet follows it.

use bytemuck::{Pod, Zeroable};

use crate::{Address, BackendId, Be16, Nanoseconds, ServiceId, Tuple};

/// Whether a flow belongs to a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowKind {
    /// Translated for a Service.
    Service = 0,
    /// The masqueraded stretch of a Service's flow: from this node to the endpoint.
    Masquerade = 2,
    /// No Service's: a direct flow that shares client port and endpoint with a Service's flow, and
    /// is kept apart from it by another source port.
    Direct = 1,
}

/// What has been seen on one half of a flow. Each half records its own direction only; who wants
/// the connection's state reads both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct FlowFlags {
    bits: u8,
}

impl FlowFlags {
    /// TCP: a FIN was seen in this direction.
    pub const FIN: Self = Self { bits: 1 };
    /// TCP: the last packet in this direction was a RST.
    pub const RST: Self = Self { bits: 2 };
    /// An answer has been seen. The next packet of the one who opened the flow moves it to the main
    /// tables.
    pub const ANSWERED: Self = Self { bits: 4 };
    /// This half is the way of the answers; its pair is the way of the one who opened the flow.
    pub const REPLY: Self = Self { bits: 8 };
    /// The source to write is not known yet: the device that the packet leaves by decides.
    pub const PENDING: Self = Self { bits: 16 };
    /// Forward half at ingress: the flow's packets get another source where they go out, so a pair
    /// of halves more belongs to it.
    pub const MASQUERADED: Self = Self { bits: 32 };
    /// Forward half at ingress: the Service has session affinity, and each packet keeps the client
    /// with its endpoint.
    pub const AFFINE: Self = Self { bits: 64 };
}

flag_set!(FlowFlags);

/// One half of a flow.
///
/// In `DST_FLOWS_*` the key is the tuple a packet has when it comes in, and the value says which
/// destination to write; in `SRC_FLOWS_*` the key is the tuple a packet has when it goes out, and
/// the value says which source to write. The other end's port is written too: it differs from the
/// one on the wire when the flow had to be kept apart from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flow<A: Address> {
    /// When the flow was opened.
    pub created: Nanoseconds,
    /// When its last packet in this direction was seen.
    pub last_seen: Nanoseconds,
    /// Packets in this direction, GSO packets counted once.
    pub packets: u64,
    /// Bytes in this direction, from the network header on.
    pub bytes: u64,
    /// The address to write: destination in `DST_FLOWS_*`, source in `SRC_FLOWS_*`.
    pub address: A,
    /// The port to write beside [`Self::address`].
    pub port: Be16,
    /// The port to write at the other end.
    pub other_port: Be16,
    /// The Service port, or [`ServiceId::NONE`].
    pub service: ServiceId,
    /// See [`FlowFlags`].
    pub flags: FlowFlags,
    /// A [`FlowKind`] as its number.
    pub kind: u8,
    /// Zero.
    pub pad16: u16,
    /// The endpoint's backend when the flow was opened; 0 in a flow that is no Service's. The id may
    /// have been given to another endpoint since.
    pub backend: BackendId,
    /// Zero.
    pub align: A::Align,
}

impl<A: Address> Flow<A> {
    /// Sets what the half writes (address, port beside it, port of the other end) and its flags.
    #[inline(always)]
    pub fn write(&mut self, (address, port, other_port): (A, Be16, Be16), flags: FlowFlags) {
        self.address = address;
        self.port = port;
        self.other_port = other_port;
        self.flags = flags;
    }

    /// The key of the other half (in `SRC_FLOWS_*`), for a half in `DST_FLOWS_*` under `key`: the
    /// tuple of what goes the other way as it goes out.
    #[inline(always)]
    #[must_use]
    pub fn src_key(&self, key: &Tuple<A>) -> Tuple<A> {
        Tuple::new((self.address, self.port), (key.source, self.other_port), key.protocol)
    }

    /// The key of the other half (in `DST_FLOWS_*`), for a half in `SRC_FLOWS_*` under `key`: the
    /// tuple of what goes the other way as it comes in.
    #[inline(always)]
    #[must_use]
    pub fn dst_key(&self, key: &Tuple<A>) -> Tuple<A> {
        Tuple::new((key.destination, self.other_port), (self.address, self.port), key.protocol)
    }
}
