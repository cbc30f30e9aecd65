//! The datapath's programs run by the kernel on packets that never touch a device
//! (`BPF_PROG_TEST_RUN`), with maps of their own that nobody pins.
//!
//! What the lab shows end to end, this shows byte by byte; and it can be compared with the same
//! library in user space ([`proxy_ebpf::user::Machine`]). Attaches nothing, needs root. Called by
//! `tests/tests/kernel_run` and by the binary `sluice-bench`.

mod content;
mod family;
mod machine;
mod program;
mod raw;

pub use content::FlowsOf;
pub use family::KernelFamily;
pub use machine::{KernelMachine, KernelVerdict, RunError, Sizes};
pub use raw::Raw;
