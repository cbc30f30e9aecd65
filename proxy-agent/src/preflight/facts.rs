//! What was found on a machine, as plain data: everything that a judgement goes by.
//!
//! Filled by [`super::gather`]. The default is a machine where nothing is in the way.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use crate::{
    datapath::{
        kernel::Finding as Feature,
        object::Rejected,
        probe::{CgroupHook, Helper, Probe},
        program::{Direction, SocketProgram},
    },
    host::lock::Holder,
    kube_proxy::Process,
};

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// What this process may.
    pub capabilities: Capabilities,
    /// Where things are.
    pub places: Places,
    /// What can be attached to, and who is there.
    pub hooks: Hooks,
    /// Helpers, and whether the kernel has them.
    pub helpers: Vec<(Helper, Probe)>,
    /// Programs that the verifier refused; `None` when it wasn't asked.
    pub programs: Option<Result<Vec<Rejected>, String>>,
    /// kube-proxy.
    pub kube_proxy: KubeProxy,
    /// Ports.
    pub ports: Ports,
    /// The stack's settings, and netfilter.
    pub stack: Stack,
}

/// The kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Whether `/sys/kernel/btf/vmlinux` is there.
    pub btf: bool,
    /// What it has of what not every kernel has, and what is done; empty when it couldn't be asked.
    pub features: Vec<Feature>,
}

/// The capabilities that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `CAP_BPF`, or `CAP_SYS_ADMIN`, which includes it.
    pub bpf: bool,
    /// `CAP_NET_ADMIN`.
    pub net_admin: bool,
    /// `CAP_PERFMON`, or `CAP_SYS_ADMIN`.
    pub perfmon: bool,
    /// `CAP_SYS_ADMIN`.
    pub sys_admin: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { bpf: true, net_admin: true, perfmon: true, sys_admin: true }
    }
}

/// Where things are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The cgroup of the socket path, or why there is none; `None` when none is wanted.
    pub cgroup: Option<Result<Cgroup, String>>,
    /// The BPF file system.
    pub bpffs: Bpffs,
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its directory.
    pub path: PathBuf,
    /// Whether it is the root of the hierarchy.
    pub root: bool,
    /// Whether cgroup v1 is mounted too.
    pub hybrid: bool,
}

/// The BPF file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bpffs {
    /// The pin path is on one.
    #[default]
    Present,
    /// The agent has to mount one here.
    Missing(PathBuf),
}

/// What can be attached to, and who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// What is at each hook of the cgroup, or why that can't be told; ours are left out.
    pub cgroup: Vec<(SocketProgram, Result<CgroupHook, Probe>)>,
    /// Programs of others at devices with a role.
    pub devices: Vec<DeviceNeighbour>,
    /// Why devices can't be looked at.
    pub unknown: Option<String>,
}

/// Another one's program at a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNeighbour {
    /// The device.
    pub device: String,
    /// Which way.
    pub direction: Direction,
    /// `tcx` or `clsact`.
    pub by: &'static str,
    /// The program's id.
    pub id: u32,
    /// Its name, where it could be told.
    pub name: Option<String>,
}

/// kube-proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeProxy {
    /// Processes of it.
    pub running: Vec<Process>,
    /// Whether processes of the whole machine are seen.
    pub sees_all: bool,
    /// What it has in the kernel, a line for each kind.
    pub rules: Vec<String>,
    /// What could not be looked at.
    pub unknown: Vec<String>,
}

impl Default for KubeProxy {
    fn default() -> Self {
        Self { running: Vec::new(), sees_all: true, rules: Vec::new(), unknown: Vec::new() }
    }
}

/// Ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Ports that the agent wants to listen on and another process has.
    pub taken: Vec<Taken>,
    /// Ports of the NodePorts' range that a process listens on, with the protocol.
    pub node_ports: Vec<(&'static str, u16)>,
    /// `net.ipv4.ip_local_port_range`.
    pub local: Option<RangeInclusive<u16>>,
    /// Ports that the kernel hands out to none.
    pub reserved: String,
}

/// A port that another process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The agent's flag.
    pub flag: &'static str,
    /// Where it is to listen.
    pub address: SocketAddr,
    /// Who has it.
    pub holder: Holder,
}

/// The stack's settings, and netfilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// `net.ipv4.ip_forward`; `None` where there is no such setting.
    pub forward_v4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`, likewise.
    pub forward_v6: Option<bool>,
    /// `net.ipv4.conf.all.send_redirects`.
    pub send_redirects: Option<bool>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub rp_filter: Option<String>,
    /// Bridges that have a workload at a port.
    pub bridges: Vec<String>,
    /// `net.bridge.bridge-nf-call-iptables`; `None` where the module isn't there.
    pub bridge_nf_v4: Option<bool>,
    /// `net.bridge.bridge-nf-call-ip6tables`.
    pub bridge_nf_v6: Option<bool>,
    /// Chains that drop what connection tracking finds invalid; only looked for where there are
    /// bridges.
    pub drops_invalid: Vec<String>,
    /// Why rules can't be looked at.
    pub unknown: Option<String>,
}
