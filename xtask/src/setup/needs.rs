//! What is needed for which purpose, how one sees that it is there, and what Debian calls it. Looks
//! only at files (and asks bpf-linker whether it runs), so that it is quick and needs no network.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::Purpose;
use crate::{bpf_object, workspace};

/// Where CNI plugins are installed: by Debian, by everyone else.
const CNI_DIRECTORIES: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Those that the lab runs.
const CNI_PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "ptp"];

/// The files of those that the lab runs; `None` where they aren't all in one place.
pub(super) fn cni_plugins() -> Option<Vec<PathBuf>> {
    let files = |directory: &str| -> Vec<PathBuf> {
        CNI_PLUGINS.iter().map(|name| Path::new(directory).join(name)).collect()
    };
    CNI_DIRECTORIES.map(files).into_iter().find(|files| files.iter().all(|file| file.is_file()))
}

/// Something that this machine lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// What it is, and what for.
    pub(super) what: &'static str,
    /// How one sees that it is there.
    sign: Sign,
    /// The packages that have it, or that it is built with.
    pub(super) packages: &'static [&'static str],
    /// What it is needed for.
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// A program.
    Program(&'static str),
    /// CNI plugins, every one of them.
    CniPlugins(&'static [&'static str]),
    /// A `core` library for BPF.
    Core,
    /// bpf-linker, and that it starts: its LLVM may have gone.
    Linker,
    /// Go, also where its own archive puts it.
    Go,
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler, for the linker and for libraries that have C in them",
        sign: Sign::Program("cc"),
        packages: &["gcc", "libc6-dev"],
        purpose: Purpose::Build,
    },
    Need {
        what: "a Rust `core` library for BPF, for the eBPF objects",
        sign: Sign::Core,
        packages: &["rustc-web", "libstd-rust-web-dev-bpf"],
        purpose: Purpose::Build,
    },
    Need {
        what: "bpf-linker with LLVM 22, for the eBPF objects",
        sign: Sign::Linker,
        packages: &[
            "g++",
            "llvm-22-dev",
            "libpolly-22-dev",
            "zlib1g-dev",
            "libzstd-dev",
            "libxml2-dev",
        ],
        purpose: Purpose::Build,
    },
    Need {
        what: "bpftool, to look at maps as an operator does",
        sign: Sign::Program("bpftool"),
        packages: &["bpftool"],
        purpose: Purpose::Load,
    },
    Need {
        what: "CNI plugins, to wire pods in the lab",
        sign: Sign::CniPlugins(CNI_PLUGINS),
        packages: &["containernetworking-plugins"],
        purpose: Purpose::Load,
    },
    Need {
        what: "ip, to look at the lab",
        sign: Sign::Program("ip"),
        packages: &["iproute2"],
        purpose: Purpose::Load,
    },
    Need {
        what: "nft, for a host with a firewall in the lab",
        sign: Sign::Program("nft"),
        packages: &["nftables"],
        purpose: Purpose::Test,
    },
    Need {
        what: "ipvsadm, for what kube-proxy's IPVS mode leaves",
        sign: Sign::Program("ipvsadm"),
        packages: &["ipvsadm"],
        purpose: Purpose::Test,
    },
    Need {
        what: "ipset, likewise",
        sign: Sign::Program("ipset"),
        packages: &["ipset"],
        purpose: Purpose::Test,
    },
    Need {
        what: "wg, for WireGuard devices in the lab",
        sign: Sign::Program("wg"),
        packages: &["wireguard-tools"],
        purpose: Purpose::Test,
    },
    Need {
        what: "QEMU, to boot other kernels",
        sign: Sign::Program("qemu-system-x86_64"),
        packages: &["qemu-system-x86"],
        purpose: Purpose::Test,
    },
    Need {
        what: "busybox, for what other kernels boot into",
        sign: Sign::Program("busybox"),
        packages: &["busybox-static"],
        purpose: Purpose::Test,
    },
    Need {
        what: "iptables, for a host that kube-proxy served by it",
        sign: Sign::Program("iptables-legacy"),
        packages: &["iptables"],
        purpose: Purpose::Test,
    },
    Need {
        what: "tcpdump, for packets on the wire in the lab",
        sign: Sign::Program("tcpdump"),
        packages: &["tcpdump"],
        purpose: Purpose::Test,
    },
];

impl Need {
    /// For the tools that tests run, and for nothing else.
    pub(super) const GO: Self = Self {
        what: "Go, for the control plane that tests run against",
        sign: Sign::Go,
        packages: &["golang-go"],
        purpose: Purpose::Test,
    };

    /// For images, and for nothing else.
    pub(super) const BUILDAH: Self = Self {
        what: "buildah, to make an image",
        sign: Sign::Program("buildah"),
        packages: &["buildah"],
        purpose: Purpose::Test,
    };

    /// For an image that is tested, and for nothing else.
    pub(super) const RUNC: Self = Self {
        what: "runc, to run an image as a node does",
        sign: Sign::Program("runc"),
        packages: &["runc"],
        purpose: Purpose::Test,
    };

    /// Whether it takes more than packages: bpf-linker is built from its source.
    pub(super) fn is_linker(&self) -> bool {
        self.sign == Sign::Linker
    }

    /// Whether it is a `core` for BPF, which rustup can bring too.
    pub(super) fn is_core(&self) -> bool {
        self.sign == Sign::Core
    }

    /// Whether nothing has to be done.
    pub(super) fn is_there(&self) -> Result<bool> {
        Ok(match self.sign {
            Sign::Program(name) => workspace::find_program(name).is_some(),
            Sign::CniPlugins(names) => CNI_DIRECTORIES.iter().any(|directory| {
                names.iter().all(|name| Path::new(directory).join(name).is_file())
            }),
            Sign::Core => bpf_object::find_core(&workspace::rustc())?.is_some(),
            Sign::Linker => linker_runs(),
            Sign::Go => find_go().is_some(),
        })
    }
}

/// What is missing for `purpose`.
pub(super) fn missing(purpose: Purpose) -> Result<Vec<Need>> {
    let mut missing = Vec::new();
    for need in NEEDS.iter().filter(|need| need.purpose <= purpose) {
        if !need.is_there()? {
            missing.push(*need);
        }
    }
    Ok(missing)
}

/// Go: in `PATH`, or where its own archive puts it.
pub(super) fn find_go() -> Option<PathBuf> {
    let default = PathBuf::from("/usr/local/go/bin/go");
    workspace::find_program("go").or_else(|| default.is_file().then_some(default))
}

/// Whether there is a bpf-linker that starts.
pub(super) fn linker_runs() -> bool {
    bpf_object::find_linker().is_some_and(|linker| {
        Command::new(linker).arg("--version").output().is_ok_and(|output| output.status.success())
    })
}
