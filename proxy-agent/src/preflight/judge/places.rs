//! The cgroup of the socket path, and the BPF file system.

use super::super::{
    Finding,
    facts::{Bpffs, Capabilities, Places},
};
use crate::options::Options;

pub(super) fn judge(
    places: &Places,
    capabilities: Capabilities,
    options: &Options,
) -> Vec<Finding> {
    let cgroup = match &places.cgroup {
        None => Finding::ok("cgroup", "nothing is to be attached to a cgroup"),
        Some(Ok(cgroup)) => {
            let kind = if cgroup.hybrid { "hybrid, beside cgroup v1" } else { "unified" };
            let path = cgroup.path.display();
            if cgroup.root {
                Finding::ok("cgroup", format!("cgroup v2 at {path} ({kind})"))
            } else {
                Finding::warning("cgroup", format!("{path} is not the root of the hierarchy")).then(
                    "the socket path serves the processes of this cgroup only: give the \
                         root of the host's hierarchy by --cgroup-root",
                )
            }
        }
        // The messages say what to do.
        Some(Err(error)) if options.services.has_socket_path() => {
            Finding::problem("cgroup", error.as_str())
        }
        Some(Err(error)) => Finding::warning("cgroup", error.as_str())
            .then("NodePorts are not protected from being bound"),
    };
    let bpffs = match &places.bpffs {
        Bpffs::Present => {
            Finding::ok("bpffs", format!("--pin-path {} is on one", options.pin_path.display()))
        }
        Bpffs::Missing(at) if capabilities.sys_admin => {
            Finding::note("bpffs", format!("none is mounted at {}", at.display()))
                .then("the agent mounts it")
        }
        Bpffs::Missing(at) => Finding::problem(
            "bpffs",
            format!("none is mounted at {}, and CAP_SYS_ADMIN is missing", at.display()),
        )
        .then(format!("mount it beforehand: mount -t bpf bpf {}", at.display())),
    };
    vec![cgroup, bpffs]
}
