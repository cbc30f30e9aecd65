//! What this kernel has of what the datapath can't do without, found by trying: helpers, hooks of a
//! cgroup; and whose programs are at the hooks. What has a substitute is in [`super::kernel`].
//!
//! Loads programs of two instructions and attaches nothing. Called by [`crate::preflight`].

use std::{io, os::fd::BorrowedFd};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::{
    kernel::Kernel,
    links::{self},
    object::{self, ObjectError, Rejected},
    pins::Pins,
    program::{Direction, SocketProgram},
    syscall,
};

/// A helper of the kernel that programs call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its name.
    pub name: &'static str,
    /// The kernel that has had it from.
    pub since: &'static str,
    /// Which programs call it.
    pub programs: &'static str,
}

/// Whether the kernel has something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It has.
    Yes,
    /// It hasn't.
    No,
    /// It can't be told, and why.
    Unknown(String),
}

impl Probe {
    /// What an error of asking says.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP) => Self::No,
            _ => Self::Unknown(error.to_string()),
        }
    }
}

const DEVICES: &str = "programs of devices";
const SOCKETS: &str = "programs of the socket path";

const fn helper(name: &'static str, since: &'static str, programs: &'static str) -> Helper {
    Helper { name, since, programs }
}

/// Those without a substitute.
fn helpers() -> impl Iterator<Item = (Helper, ProgramType, BpfHelper)> {
    let device = ProgramType::SchedClassifier;
    let connect = ProgramType::CgroupSockAddr;
    let release = ProgramType::CgroupSock;
    [
        (helper("bpf_skb_pull_data", "4.9", DEVICES), device, BpfHelper::BPF_FUNC_skb_pull_data),
        (
            helper("bpf_skb_change_tail", "4.9", DEVICES),
            device,
            BpfHelper::BPF_FUNC_skb_change_tail,
        ),
        (
            helper("bpf_skb_adjust_room", "4.13", DEVICES),
            device,
            BpfHelper::BPF_FUNC_skb_adjust_room,
        ),
        (
            helper("bpf_l4_csum_replace", "4.1", DEVICES),
            device,
            BpfHelper::BPF_FUNC_l4_csum_replace,
        ),
        (helper("bpf_redirect", "4.4", DEVICES), device, BpfHelper::BPF_FUNC_redirect),
        (helper("bpf_skc_lookup_tcp", "5.2", DEVICES), device, BpfHelper::BPF_FUNC_skc_lookup_tcp),
        (helper("bpf_sk_lookup_udp", "4.20", DEVICES), device, BpfHelper::BPF_FUNC_sk_lookup_udp),
        (
            helper("bpf_get_netns_cookie", "5.7", SOCKETS),
            connect,
            BpfHelper::BPF_FUNC_get_netns_cookie,
        ),
        (
            helper("bpf_get_socket_cookie", "4.12", SOCKETS),
            connect,
            BpfHelper::BPF_FUNC_get_socket_cookie,
        ),
        (
            helper("bpf_get_socket_cookie", "5.9", "the program that forgets closed sockets"),
            release,
            BpfHelper::BPF_FUNC_get_socket_cookie,
        ),
    ]
    .into_iter()
}

/// Every helper that programs call, and whether the kernel has it. Needs `CAP_BPF` and
/// `CAP_NET_ADMIN`.
#[must_use]
pub fn probe_helpers() -> Vec<(Helper, Probe)> {
    helpers()
        .map(|(helper, program, number)| {
            let probe = match is_helper_supported(program, number) {
                Ok(true) => Probe::Yes,
                Ok(false) => Probe::No,
                Err(error) => Probe::Unknown(object::chain(&error)),
            };
            (helper, probe)
        })
        .collect()
}

/// A program that is attached somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The kernel's id of it.
    pub id: u32,
    /// Its name, where we may look at it.
    pub name: Option<String>,
}

/// What is at a hook of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupHook {
    /// The programs, in the order in which they run.
    pub programs: Vec<Attached>,
    /// Whether they let others be attached beside them.
    pub shared: bool,
}

/// What is at the hook that `program` is for, of `cgroup` itself.
///
/// # Errors
/// `EINVAL` where the kernel has no such hook; `EPERM` without `CAP_NET_ADMIN`.
pub fn cgroup_hook(cgroup: BorrowedFd<'_>, program: SocketProgram) -> io::Result<CgroupHook> {
    let (ids, flags) = syscall::attached_to_cgroup(cgroup, program.attach_type())?;
    let shared = ids.is_empty() || flags & ALLOW_MULTI != 0;
    Ok(CgroupHook { programs: ids.into_iter().map(attached).collect(), shared })
}

/// `BPF_F_ALLOW_MULTI`.
const ALLOW_MULTI: u32 = 1 << 1;

/// The programs at a device by TCX, in the order in which they run.
///
/// # Errors
/// `EINVAL` where the kernel has no TCX; `EPERM` without `CAP_NET_ADMIN`.
pub fn tcx_programs(ifindex: u32, direction: Direction) -> io::Result<Vec<Attached>> {
    let ids = syscall::attached_to_device(ifindex, direction.tcx_attach_type())?;
    Ok(ids.into_iter().map(attached).collect())
}

fn attached(id: u32) -> Attached {
    Attached { id, name: syscall::program_name(id).ok() }
}

/// The ids of the programs that are attached by links or filters pinned under `pins`.
#[must_use]
pub fn own_programs(pins: &Pins) -> Vec<u32> {
    let mut own = Vec::new();
    for name in super::inspect::names(&pins.links()).unwrap_or_default() {
        own.extend(links::inspect(&pins.links().join(name)).map(|link| link.program));
    }
    for name in super::inspect::names(&pins.filters()).unwrap_or_default() {
        own.extend(syscall::pinned_program(&pins.filters().join(name)));
    }
    own
}

/// Has `kernel` verify every program, with maps of its own that go again. Those that it refuses.
///
/// # Errors
/// See [`ObjectError`].
pub fn verify(kernel: &Kernel) -> Result<Vec<Rejected>, ObjectError> {
    object::verify(&kernel.facts())
}
