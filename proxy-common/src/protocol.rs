//! Transport protocols that a Service port can have.

use core::fmt;

use bytemuck::{Pod, Zeroable};

/// An IP protocol number (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct Protocol {
    number: u8,
}

impl Protocol {
    /// No protocol: stands in the key that marks an address as a ClusterIP, whatever the port.
    pub const ANY: Self = Self::new(0);
    /// ICMP, 1.
    pub const ICMP: Self = Self::new(1);
    /// TCP, 6.
    pub const TCP: Self = Self::new(6);
    /// UDP, 17.
    pub const UDP: Self = Self::new(17);
    /// ICMPv6, 58.
    pub const ICMPV6: Self = Self::new(58);
    /// SCTP, 132.
    pub const SCTP: Self = Self::new(132);

    /// From the number in an IP header.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self { number }
    }

    /// The number in an IP header.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self.number
    }

    /// The word that a tuple ends with: the number, then zeros.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn word(self) -> u32 {
        u32::from_ne_bytes([self.number, 0, 0, 0])
    }

    /// Whether a Service port can have it: its header starts with two ports.
    #[inline(always)]
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any"),
            Self::ICMP => f.write_str("icmp"),
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::ICMPV6 => f.write_str("icmpv6"),
            Self::SCTP => f.write_str("sctp"),
            Self { number } => write!(f, "{number}"),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
