//! The kernel, what this process may, and where the cgroup and the BPF file system are.

use std::{fs, os::fd::OwnedFd, path::Path};

use super::super::facts::{Bpffs, Capabilities, Cgroup, Kernel};
use crate::{
    datapath::kernel::Finding as Feature,
    host::{bpffs, cgroup, mountinfo},
    options::Options,
};

/// Numbers of capabilities (linux/capability.h).
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

pub(super) fn kernel(features: Vec<Feature>) -> Kernel {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Kernel {
        release: release.trim().to_owned(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        features,
    }
}

pub(super) fn capabilities() -> Capabilities {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = effective(&status);
    let has = |number: u32| effective & 1 << number != 0;
    Capabilities {
        bpf: has(BPF) || has(SYS_ADMIN),
        net_admin: has(NET_ADMIN),
        perfmon: has(PERFMON) || has(SYS_ADMIN),
        sys_admin: has(SYS_ADMIN),
    }
}

/// `CapEff` of `/proc/PID/status`.
fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

type Found = (Option<Result<Cgroup, String>>, Bpffs);

pub(super) fn places(options: &Options) -> (Found, Option<OwnedFd>) {
    let wanted = options.services.has_socket_path() || options.bind_protection;
    let bpffs = match bpffs::place(&options.pin_path) {
        None => Bpffs::Present,
        Some(at) => Bpffs::Missing(at),
    };
    if !wanted {
        return ((None, bpffs), None);
    }
    let path = options.cgroup_root.clone().map_or_else(cgroup::find, Ok);
    match path.and_then(|path| Ok((cgroup::open(&path)?, path))) {
        Ok((fd, path)) => {
            let found = Cgroup { root: cgroup::is_root(&fd), hybrid: is_hybrid(), path };
            ((Some(Ok(found)), bpffs), Some(fd))
        }
        Err(error) => ((Some(Err(error.to_string())), bpffs), None),
    }
}

/// Whether controllers of cgroup v1 are mounted.
fn is_hybrid() -> bool {
    let mounts = mountinfo::read().unwrap_or_default();
    mounts.iter().any(|mount| mount.kind == "cgroup")
}

#[cfg(test)]
mod tests {
    use super::effective;

    #[test]
    fn effective_capabilities_are_a_mask() {
        let status = "Name:\tsluice\nCapPrm:\t0000000000000000\nCapEff:\t000000c000001000\n";
        assert_eq!(effective(status), 1 << 39 | 1 << 38 | 1 << 12);
        assert_eq!(effective("Name:\tsluice\n"), 0);
    }
}
