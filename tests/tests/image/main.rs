//! The image as a node runs it: under runc, with the user, capabilities, mounts and seccomp profile
//! that the chart gives its containers, and nothing more.
//!
//! `cargo xtask test` makes the image. What stands in for kubelet and container runtime is in
//! `pod.rs` (what the chart renders) and `bundle.rs` (what runc is told).

#[path = "../chart/helm.rs"]
mod helm;

mod archive;
mod bundle;
mod machine;
mod pod;
mod stories;
