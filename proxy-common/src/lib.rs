//! The ABI between the agent and the eBPF datapath.
//!
//! Every type here is the exact layout of a BPF map's key or value (or a number that both sides
//! must agree on). Nothing here decides anything: the datapath (`proxy-ebpf`) decides per packet,
//! the agent (`proxy-agent`) decides per Service. `docs/maps.md` is generated from [`layout`].
//!
//! # Byte order
//! What stands in network order on the wire is stored as bytes in that order ([`Be16`],
//! [`V4`], [`V6`]), so that `bpftool map dump` prints it as it is read; everything
//! else is a host-order integer.

#![no_std]

#[macro_use]
mod flag_set;

mod address;
mod affinity;
mod backend;
mod be;
mod config;
mod counter;
mod device;
mod filter;
mod flow;
mod fragment;
mod frontend;
mod kernel_facts;
pub mod layout;
mod pod;
mod protocol;
mod reason;
mod reject_budget;
mod service;
mod service_name;
mod socket;
mod source_range;
mod time;
mod tuple;

pub use address::{Address, V4, V6};
pub use affinity::{Affinity, AffinityKey, MemberKey, MemberSets};
pub use backend::{Backend, BackendFlags, BackendId};
pub use be::Be16;
pub use config::{Config, ConfigOptions, Prefix, SERVICE_CIDRS_MAX, Scope};
pub use counter::{COUNTERS, Counter};
pub use device::{Device, DeviceRole};
pub use filter::{FILTER_WORDS, FilterBits, FilterSlot};
pub use flow::{Flow, FlowFlags, FlowKind};
pub use fragment::{FragmentKey, FragmentPorts};
pub use frontend::{Frontend, FrontendKind};
pub use kernel_facts::{BPF_F_IPV6, KERNEL_FACTS, KernelFacts, KernelLacks, TickClock};
pub use protocol::Protocol;
pub use reason::{DropReason, RejectReason};
pub use reject_budget::{REJECTS_PER_SECOND, RejectBudget};
pub use service::{Algorithm, Service, ServiceFlags, ServiceId, SlotRange};
pub use service_name::ServiceName;
pub use socket::{CountedSocket, SocketKey, SocketPeer};
pub use source_range::{ServiceClient, SourceRangeKey};
pub use time::{Nanoseconds, Seconds};
pub use tuple::Tuple;
