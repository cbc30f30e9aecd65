//! kube-proxy as an oracle: the same random Services, EndpointSlices and Nodes go to a real API
//! server, the real kube-proxy and Sluice follow it, and what both would do with every kind of
//! client at every frontend is compared.
//!
//! kube-proxy's word is read from its nftables rules, Sluice's from its maps, by `sluice explain`.
//! Where they may differ, and why, is written down by rule in [`differences`]. How many states are
//! compared: `SLUICE_ORACLE_STATES`, from the seed `SLUICE_ORACLE_SEED`.

mod cluster;
mod compare;
mod comparison;
mod differences;
mod nft;
mod questions;
mod random;
mod sentinel;
mod sluice;
mod verdict;
