//! The lab: a small cluster on one kernel.
//!
//! Nodes, pods and hosts outside the cluster are network namespaces, each with a cgroup of its own,
//! so that several agents run side by side and every hook of the datapath is the real one. Pods are
//! wired by the real CNI plugins. Nothing here knows how Sluice works inside: the lab starts the
//! binary `sluice`, talks to it over its command line, and looks at what sockets and wires show.
//!
//! Called by the stories in `tests/stories` and by the binary `sluice-example`. Needs root.

mod addresses;
mod agent;
pub mod bench;
mod bpftool;
mod cgroup;
mod client;
pub mod control_plane;
mod counters;
mod fabric;
mod host;
mod identity;
mod ioctl;
pub mod kernel_run;
mod lab;
mod leftovers;
mod load;
pub mod manifest;
mod martians;
mod namespace;
mod node;
pub mod packet;
pub mod page;
pub mod probe;
mod process;
mod server;
mod skipped;
mod sluice;
pub mod verifier;
mod wall_clock;
mod wire;
mod wiring;

pub use addresses::{Addresses, Family, SERVICE_PREFIXES};
pub use agent::{Agent, AgentFlags};
pub use bpftool::Bpftool;
pub use cgroup::Cgroup;
pub use client::{Client, Conversation, TcpClient, UdpClient};
pub use counters::Counters;
pub use fabric::Uplink;
pub use host::{Host, NextHop};
pub use lab::Lab;
pub use leftovers::remove_leftovers;
pub use load::{Crowd, Load};
pub use namespace::NetNs;
pub use node::Node;
pub use process::{Lines, Process};
pub use server::Server;
pub use skipped::skipped;
pub use sluice::Sluice;
pub use wall_clock::WallClock;
pub use wire::Wire;
pub use wiring::Wiring;
