//! What the agent asks of the machine it runs on: where cgroup v2 and the BPF file system are,
//! which network namespace this is, what time it is, how the kernel is set, what the C library does
//! with memory.
//!
//! Deliberately knows nothing of BPF programs or Services. Called by [`crate::agent`] and
//! [`crate::cli`].

pub mod bpffs;
pub mod cgroup;
pub mod cgroup_mount;
pub mod clock;
pub mod conntrack;
pub mod heap;
pub mod lock;
pub mod mountinfo;
pub mod namespaces;
mod netfilter;
pub mod netns;
pub mod nftables;
pub mod sock_diag;
pub mod sysctl;
