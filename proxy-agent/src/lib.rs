//! Sluice's agent as a library: the control plane, and the edges where it meets the kernel, the
//! Kubernetes API and the command line.
//!
//! The control plane is pure: no clock, no I/O, no async; time is an argument. The edges are thin.
//! The binary `sluice` calls [`cli::run`]; tests use the control plane directly.

pub mod agent;
pub mod checkpoint;
pub mod cli;
pub mod datapath;
pub mod desired;
pub mod devices;
pub mod endpoints;
pub mod events;
pub mod explain;
pub mod flows;
pub mod health;
pub mod host;
pub mod kube_proxy;
pub mod metrics;
pub mod model;
pub mod options;
pub mod preflight;
pub mod reconcile;
pub mod source;
pub mod store;
