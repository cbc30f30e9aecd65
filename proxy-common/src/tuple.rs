//! The five-tuple: what identifies a flow in one direction at one hook.

use crate::{Address, Be16, Protocol};

/// Source, destination and protocol of a packet as it is on the wire at the hook that looks it
/// up. The key of every flow table.
///
/// SCTP and UDP have ports like TCP; an ICMP echo has its identifier in both port fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Tuple<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub destination_port: Be16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Zero.
    pub pad: u8,
    /// Zero.
    pub pad16: u16,
}

impl<A: Address> Tuple<A> {
    /// A tuple from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(source: (A, Be16), destination: (A, Be16), protocol: Protocol) -> Self {
        Self {
            source: source.0,
            destination: destination.0,
            source_port: source.1,
            destination_port: destination.1,
            protocol,
            pad: 0,
            pad16: 0,
        }
    }

    /// The tuple of a packet that goes the other way.
    #[inline(always)]
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self::new(
            (self.destination, self.destination_port),
            (self.source, self.source_port),
            self.protocol,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Tuple;
    use crate::{Address, Be16, Protocol, V4, V6};

    fn whole_words_are_the_parts<A: Address>(one: A, other: A) {
        let ports: u32 = bytemuck::must_cast([Be16::new(40_000), Be16::new(80)]);
        assert_eq!(
            A::tuple(one, other, ports, Protocol::UDP),
            Tuple::new((one, Be16::new(40_000)), (other, Be16::new(80)), Protocol::UDP)
        );
    }

    #[test]
    fn a_tuple_of_whole_words_is_that_of_its_parts() {
        whole_words_are_the_parts(V4::new([10, 0, 0, 1]), V4::new([10, 96, 0, 7]));
        whole_words_are_the_parts(V6::from_words([1, 2, 3, 4]), V6::from_words([5, 6, 7, 8]));
    }
}
