//! What this kernel has of what the datapath would use, and what is done where it hasn't: asked of
//! the kernel itself, never concluded from its version, since distributions carry things back.
//!
//! One table, [`Feature`], says what there is to ask. Called by [`crate::datapath::Datapath`], which
//! tells the programs, and by [`crate::agent`], which tells people.

use std::{collections::BTreeSet, error::Error};

use aya::{
    programs::{ProgramError, ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported},
};
use proxy_common::{KernelFacts, KernelLacks, TickClock};
use serde::{Deserialize, Serialize};

use super::{questions, ticks};
use crate::host::netns;

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The number by which a socket option tells network namespaces apart.
    NetnsCookie,
    /// A system call that is refused with an errno of ours.
    SetRetval,
    /// Links to devices, in an order that we choose.
    Tcx,
    /// A count of ticks that can be turned into time.
    Ticks,
    /// A checksum helper that knows IPv6.
    CsumIpv6,
}

/// What is known of a feature, before anybody looks.
struct Facts {
    name: &'static str,
    since: &'static str,
    with: &'static str,
    without: &'static str,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NetnsCookie, Self::SetRetval, Self::Tcx, Self::Ticks, Self::CsumIpv6];

    const fn facts(self) -> Facts {
        match self {
            Self::NetnsCookie => Facts {
                name: "netns-cookie",
                since: "5.14",
                with: "the node is told from its pods by SO_NETNS_COOKIE",
                without: "the node is told from its pods by a cookie that a BPF program reads once, \
                          when the agent starts",
            },
            Self::SetRetval => Facts {
                name: "set-retval",
                since: "5.18",
                with: "socket calls are refused with ECONNREFUSED, ETIMEDOUT or EADDRINUSE",
                without: "a connect() that is refused is led to port 0 of the loopback device and \
                          gets ECONNREFUSED there; sendmsg() and bind() get EPERM",
            },
            Self::Tcx => Facts {
                name: "tcx",
                since: "6.6",
                with: "programs are attached to devices by TCX links",
                without: "programs are attached to devices by filters of a clsact qdisc",
            },
            Self::Ticks => Facts {
                name: "ticks",
                since: "5.6",
                with: "flows are stamped by the kernel's count of ticks, which takes no call",
                without: "flows are stamped by bpf_ktime_get_ns, a call for each packet",
            },
            Self::CsumIpv6 => Facts {
                name: "csum-ipv6",
                since: "6.16",
                with: "checksums of IPv6 packets are repaired by one call",
                without: "checksums of IPv6 packets are repaired by two calls",
            },
        }
    }

    fn is_there(self, clock: &TickClock) -> Result<bool, Box<dyn Error>> {
        match self {
            Self::SetRetval => Ok(is_helper_supported(
                ProgramType::CgroupSockAddr,
                BpfHelper::BPF_FUNC_set_retval,
            )?),
            Self::NetnsCookie => Ok(netns::cookie().is_ok()),
            Self::Tcx => Ok(has_tcx()?),
            Self::Ticks => Ok(clock.is_known()),
            Self::CsumIpv6 => Ok(questions::knows_csum_ipv6()?),
        }
    }
}

/// Asks for the programs of a device that is always there: a kernel without TCX doesn't know the
/// question.
fn has_tcx() -> Result<bool, ProgramError> {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Ok(_) => Ok(true),
        Err(ProgramError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// What was found of a feature: an element of `agent.says.kernel` in `sluice status -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name, which never changes.
    pub feature: String,
    /// The kernel that brought it; distributions may have it in older ones.
    pub since: String,
    /// Whether it is there.
    pub present: bool,
    /// What is done, with it or without.
    pub way: String,
}

/// A kernel, as far as we depend on which one it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    missing: BTreeSet<Feature>,
    clock: TickClock,
}

impl Kernel {
    /// Asks the running kernel. What can't be asked counts as missing: every feature has a substitute
    /// that works on all kernels.
    #[must_use]
    pub fn probe() -> Self {
        let clock = ticks::learn().unwrap_or_else(|error| {
            tracing::debug!("ticks are not used: {error}");
            TickClock::default()
        });
        let is_missing = |feature: &Feature| match feature.is_there(&clock) {
            Ok(there) => !there,
            Err(error) => {
                let feature = feature.facts().name;
                tracing::debug!(feature, "the kernel can't be asked: {error}");
                true
            }
        };
        Self { missing: Feature::ALL.into_iter().filter(is_missing).collect(), clock }
    }

    /// Whether it has this.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        !self.missing.contains(&feature)
    }

    /// What the programs are told.
    #[must_use]
    pub fn facts(&self) -> KernelFacts {
        let told = [
            (Feature::SetRetval, KernelLacks::SET_RETVAL),
            (Feature::CsumIpv6, KernelLacks::CSUM_IPV6),
        ];
        let missing = told.into_iter().filter(|(feature, _)| !self.has(*feature));
        let lacks = missing.fold(KernelLacks::empty(), |lacks, (_, what)| lacks.union(what));
        KernelFacts { clock: self.clock, lacks, padding: 0 }
    }

    /// What people are told.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |feature: Feature| {
            let (facts, present) = (feature.facts(), self.has(feature));
            Finding {
                feature: facts.name.to_owned(),
                since: facts.since.to_owned(),
                present,
                way: (if present { facts.with } else { facts.without }).to_owned(),
            }
        };
        Feature::ALL.into_iter().map(finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::KernelLacks;

    use super::{Feature, Kernel};

    #[test]
    fn a_kernel_that_has_everything_needs_no_substitute() {
        let kernel = Kernel::default();
        assert_eq!(kernel.facts().lacks, KernelLacks::empty());
        assert!(kernel.findings().iter().all(|finding| finding.present));
    }

    #[test]
    fn programs_are_told_of_the_helpers_that_they_must_not_call() {
        let kernel =
            Kernel { missing: [Feature::SetRetval, Feature::Tcx].into(), ..Kernel::default() };
        assert_eq!(kernel.facts().lacks, KernelLacks::SET_RETVAL);
        let missing: Vec<_> = kernel
            .findings()
            .into_iter()
            .filter(|finding| !finding.present)
            .map(|finding| finding.feature)
            .collect();
        assert_eq!(missing, ["set-retval", "tcx"]);
    }
}
