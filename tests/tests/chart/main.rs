//! The Helm chart: what it renders is written down, is what Kubernetes takes, and is what the agent
//! reads.
//!
//! Helm and kubeconform are the real ones; `cargo xtask test` makes them and says where they are.
//! A case is a directory below `cases`: values in, objects out.

mod cases;
mod flags;
mod helm;
mod openapi;
mod refused;
mod server;
mod valid;
