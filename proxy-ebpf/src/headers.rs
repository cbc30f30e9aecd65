//! What is read of a packet's headers, once, in one place.

use bytemuck::Zeroable as _;
use proxy_common::Tuple;

use crate::{network::Network, transport::TcpFlags};

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment, which has the transport header.
    First,
    /// A later fragment, without a transport header.
    Later,
}

/// The most that a link-layer header and a network header with its extensions may have in front of
/// the transport header.
///
/// verifier: an offset that is masked with this is one that it can bound, whichever way it came
/// about, so the rest of the program is walked once and not once for each number of extensions.
pub(crate) const OFFSET_MASK: u16 = 0x3fff;

/// `at`, which is 0 or the length of a link-layer header, as a short offset.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most a link-layer header")]
pub(crate) const fn offset(at: usize) -> u16 {
    at as u16
}

/// A packet's headers, as far as the datapath cares.
///
/// Where the network header starts isn't among them: a constant of each program stays one.
///
/// Filled in place, first by [`Network::parse`], then by [`crate::transport::parse`], and passed by
/// reference from there on: the kernel gives a program 512 bytes of stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<A> {
    /// The packet's tuple on the wire. Ports are zero until the transport header is read.
    pub tuple: Tuple<A>,
    /// What the fragments of a datagram have in common, as on the wire; 0 for a whole one.
    pub identification: u32,
    /// Where the transport header starts.
    pub(crate) transport: u16,
    /// Which part of a datagram this is.
    pub part: Part,
    /// TCP flags; zero for other protocols.
    pub flags: TcpFlags,
}

impl<A: Network> Headers<A> {
    /// Nothing read yet.
    #[inline(always)]
    #[must_use]
    pub fn empty() -> Self {
        Self {
            tuple: Tuple::zeroed(),
            identification: 0,
            transport: 0,
            part: Part::Whole,
            flags: TcpFlags::new(0),
        }
    }

    /// Where the transport header starts.
    #[inline(always)]
    #[must_use]
    pub fn transport_at(&self) -> usize {
        usize::from(self.transport & OFFSET_MASK)
    }
}
