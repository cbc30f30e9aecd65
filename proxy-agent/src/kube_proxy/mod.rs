//! kube-proxy, the real one: whether it runs on this node, what it has left in the kernel, and how
//! that is taken away.
//!
//! Knows what is kube-proxy's and touches nothing else: not what the kubelet keeps under similar
//! names, not what others have put beside. Called by [`crate::cli`] and [`crate::preflight`].

pub mod iptables;
mod ipvs;
pub mod leftovers;
pub mod names;
pub mod process;
pub mod remove;

pub use self::{
    leftovers::{Leftovers, find},
    process::{Process, running},
    remove::{RemoveError, Removed, remove},
};
