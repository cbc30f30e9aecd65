//! Flows: when they end, and the sweeper that removes those that have.
//!
//! The datapath opens, answers and restarts flows by itself; it never expires one. [`expiry`] says
//! when a flow is over, [`serving`] which UDP flows have lost their endpoint, [`sweep`] goes through
//! the tables, [`sweeper`] does so every few seconds in a thread of its own. Called by
//! [`crate::agent`]; the flow tables have no other writer in the agent.

pub mod expiry;
pub mod pair;
pub mod serving;
pub mod sweep;
pub mod sweeper;
pub mod table;
pub mod timeouts;

pub use timeouts::Timeouts;
