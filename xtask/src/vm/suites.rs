//! Which tests run under which kernel. Without KVM a machine is ten to thirty times slower, and the
//! verifiers before 6.4 go six times as far for the largest programs: that is what decides.

/// A test executable of the package `tests`, and which of its tests.
pub(crate) struct Suite {
    /// Its name, for people.
    pub(crate) name: &'static str,
    /// The executable.
    pub(crate) executable: &'static str,
    /// The tests' names contain one of these; with none it is all of them.
    pub(crate) filters: &'static [&'static str],
}

const VERIFIER: Suite = Suite { name: "verifier", executable: "verifier", filters: &[] };

const PACKETS: Suite = Suite {
    name: "packets",
    executable: "kernel_run",
    filters: &["byte_exact::v6::datagrams", "netns_cookie::", "ticks::"],
};

/// With what this machine's kernel may have no modules for.
const SMOKE: Suite = Suite { name: "lab", executable: "stories", filters: &["smoke::", "ipvs::"] };

/// Every row at uplinks that this machine's kernel may have no devices for.
const UPLINKS: Suite = Suite {
    name: "uplinks",
    executable: "stories",
    filters: &["rows_everywhere::ptp_pods_vlan_uplinks", "rows_everywhere::ptp_pods_bond_uplinks"],
};

/// What `cargo xtask test` runs on the oldest kernel: three or four minutes.
pub(crate) const QUICK: &[Suite] = &[VERIFIER, PACKETS, SMOKE];

/// What it runs on the newest.
pub(crate) const QUICK_NEWEST: &[Suite] = &[VERIFIER, PACKETS, SMOKE, UPLINKS];

/// What `cargo xtask vm` runs besides: every packet of `byte_exact`, and stories of what kernels differ
/// in. Uplinks that this machine's kernel has no devices for come to their turn here; WireGuard's here
/// alone, since encryption without KVM takes its time.
pub(crate) const THOROUGH: &[Suite] = &[
    VERIFIER,
    Suite { name: "packets", executable: "kernel_run", filters: &["byte_exact::"] },
    Suite {
        name: "lab",
        executable: "stories",
        filters: &[
            "smoke::",
            "ipvs::",
            "lab_itself::pods_of_two_nodes_talk_over_every_uplink",
            "rows_everywhere::ptp_pods_vlan_uplinks",
            "rows_everywhere::ptp_pods_bond_uplinks",
            "rows_everywhere::routed_pods_wireguard_uplinks",
            "agent_gone::",
            "operator::cleanup_removes",
        ],
    },
];

/// Everything: an hour and more.
pub(crate) const EVERYTHING: &[Suite] = &[
    VERIFIER,
    Suite { name: "packets", executable: "kernel_run", filters: &[] },
    Suite { name: "lab", executable: "stories", filters: &[] },
];

/// The line of the script that runs it.
pub(super) fn line(suite: &Suite) -> String {
    let Suite { name, executable, filters } = suite;
    format!("suite {name} {executable} --test-threads=2 {}\n", filters.join(" "))
}

#[cfg(test)]
mod tests {
    use super::{Suite, VERIFIER, line};

    #[test]
    fn a_suite_becomes_a_line_of_shell() {
        assert_eq!(line(&VERIFIER), "suite verifier verifier --test-threads=2 \n");
        let filters = &["here::", "there::one"];
        let suite = Suite { name: "lab", executable: "stories", filters };
        assert_eq!(line(&suite), "suite lab stories --test-threads=2 here:: there::one\n");
    }
}
