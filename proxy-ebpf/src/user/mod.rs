//! The datapath in user space: packets as bytes, maps as collections. Tests run on it, and
//! `sluice explain` will.
//!
//! The same contract as the kernel's, with two switches for tests: how much of a packet is readable,
//! and whether its checksum is left to the device. [`build`] puts packets together, [`check`] says
//! which of a packet's checksums is wrong.

pub mod build;
pub mod check;
mod env;
mod machine;
mod maps;
mod packet;
mod run;
mod wire;

pub use machine::{FamilyOf, Machine};
pub use maps::FamilyMaps;
pub use packet::{ChecksumState, UserPacket};
pub use wire::Wire;
