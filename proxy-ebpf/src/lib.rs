//! The datapath: what is decided about a packet and about a connect() call, and how it is carried
//! out. Follow a packet from [`ingress`] or [`egress`], a connection from [`socket`].
//!
//! Everything is generic over the address family ([`network::Network`]) and over small traits
//! ([`packet::Packet`], [`env::Maps`], [`env::Kernel`], [`socket::Socket`]). The BPF binary beside
//! this library implements them over the kernel; [`user`] implements them in user space, for tests
//! and for `sluice explain`. The library has no unsafe code and allocates nothing.

#![cfg_attr(not(feature = "user"), no_std)]
#![forbid(unsafe_code)]

pub mod affinity;
pub mod checksum;
pub mod egress;
pub mod env;
pub mod filter;
pub mod flow;
pub mod headers;
pub mod icmp;
pub mod ingress;
pub mod lookup;
pub mod masquerade;
pub mod network;
pub mod packet;
pub mod reject;
pub mod rewrite;
pub mod select;
pub mod socket;
pub mod transport;
#[cfg(feature = "user")]
pub mod user;
pub mod verdict;
