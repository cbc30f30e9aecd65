//! The families as kernel runs see them: names of maps, and addresses to play with.

use proxy_agent::datapath::tables::Family;
use proxy_common::{Device, V4, V6};
use proxy_ebpf::{env::FlowTable, user::Wire};

/// A family.
pub trait KernelFamily: Wire + Family {
    /// `FRAGMENTS_*`
    const FRAGMENTS: &'static str;

    /// An address: the same two numbers, the same address.
    ///
    /// A packet without an Ethernet header has its source address where the kernel's test run looks
    /// for an Ethernet type. So the addresses have the family's type there, and both kinds of
    /// program can be run.
    fn address(net: u8, host: u8) -> Self;

    /// Has packets masqueraded to `address` on that device.
    fn masquerade_to(address: Self, device: &mut Device);

    /// The name of a flow table.
    #[must_use]
    fn flows(table: FlowTable) -> &'static str {
        match table {
            FlowTable::Dst => Self::DST_FLOWS,
            FlowTable::Src => Self::SRC_FLOWS,
            FlowTable::NewDst => Self::NEW_DST_FLOWS,
            FlowTable::NewSrc => Self::NEW_SRC_FLOWS,
        }
    }
}

impl KernelFamily for V4 {
    const FRAGMENTS: &'static str = "FRAGMENTS_V4";

    fn address(net: u8, host: u8) -> Self {
        Self::new([8, 0, net, host])
    }

    fn masquerade_to(address: Self, device: &mut Device) {
        device.masquerade_v4 = address;
    }
}

impl KernelFamily for V6 {
    const FRAGMENTS: &'static str = "FRAGMENTS_V6";

    fn address(net: u8, host: u8) -> Self {
        Self::new([0x20, 1, 0xd, 0xb8, 0x86, 0xdd, 0, net, 0, 0, 1, 2, 3, 4, 0, host])
    }

    fn masquerade_to(address: Self, device: &mut Device) {
        device.masquerade_v6 = address;
    }
}
