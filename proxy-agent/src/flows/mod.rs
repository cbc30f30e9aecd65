//! Flows: when they end, and the sweeper that removes those that have.
//!
//! The datapath opens, answers and restarts flows by itself; it never expires one. [`expiry`] says
//! when a flow is over, [`serving`] which UDP flows have lost their endpoint, [`sweep`] goes through
//! the tables, [`sweeper`] does so every few seconds in a thread of its own. On the way it counts
//! [`open_flows`], lets [`affinity`] go, and looks after [`sockets`] that are bound to an endpoint.
//! Called by [`crate::agent`]; these tables have no other writer in the agent.

pub mod affinity;
pub mod drain;
mod ending;
pub mod expiry;
pub mod fingerprints;
pub mod foreign;
pub mod full;
pub mod open_flows;
pub mod pair;
pub mod services;
pub mod serving;
pub mod sockets;
pub mod states;
pub mod sweep;
pub mod sweeper;
pub mod table;
pub mod timeouts;
pub mod walk;

pub use timeouts::Timeouts;
