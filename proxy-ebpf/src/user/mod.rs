//! The datapath in user space: packets as bytes, maps as collections. Tests run on it, and
//! `sluice explain` will.
//!
//! The same contract as the kernel's, with two switches for tests: how much of a packet is readable,
//! and whether its checksum is left to the device.

mod maps;
mod packet;

pub use maps::{FamilyMaps, FamilyOf, Machine};
pub use packet::{ChecksumState, UserPacket};
