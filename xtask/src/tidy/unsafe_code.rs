//! Where unsafe code may be. Everywhere else the compiler is right.

use super::{Source, Violation};

const RULE: &str = "unsafe";

/// Files (directories, with `/` at the end) that may have unsafe code, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("proxy-common/src/pod.rs", "Pod for structures that are generic over the family"),
    ("proxy-ebpf/src/main.rs", "the entry points that the kernel calls"),
    ("proxy-ebpf/src/netns_cookie.rs", "the entry point that the kernel calls"),
    ("proxy-ebpf/src/questions.rs", "the entry points that the kernel calls"),
    ("proxy-ebpf/src/yardstick.rs", "the entry points that the kernel calls"),
    ("proxy-ebpf/src/kernel/", "helpers of the kernel, and memory that it lends"),
    ("proxy-agent/src/datapath/array_memory.rs", "arrays as memory that the kernel shares"),
    ("proxy-agent/src/datapath/syscall.rs", "bpf(2), for what aya 0.14 lacks"),
    ("proxy-agent/src/datapath/raw_map.rs", "batches of map elements through bpf(2)"),
    ("proxy-agent/src/host/heap.rs", "mallopt(3) and malloc_trim(3)"),
    ("proxy-agent/src/host/netns.rs", "SO_NETNS_COOKIE, which libraries don't know"),
    ("tests/src/kernel_run/raw.rs", "aya's marker for what bytemuck has checked"),
    ("tests/src/verifier/syscall.rs", "BPF_PROG_LOAD with a log, which aya keeps to itself"),
    ("tests/src/ioctl.rs", "ioctls on devices"),
    ("tests/src/namespace.rs", "setns(2) and unshare(2) of threads"),
    ("tests/src/process.rs", "what happens between fork(2) and exec(2)"),
    ("tests/src/wire.rs", "raw sockets"),
    ("tests/src/probe/socket.rs", "socket options that libraries don't know"),
];

pub(super) fn check(source: &Source, violations: &mut Vec<Violation>) {
    if ALLOWED.iter().any(|(place, _)| source.is_in(place)) {
        return;
    }
    for (line, _) in source.lines_with_word("unsafe") {
        violations.push(source.violation(
            line,
            RULE,
            "unsafe code outside the files that may have it; use a safe wrapper of one of them, \
             or give the reason in ALLOWED of xtask/src/tidy/unsafe_code.rs"
                .to_owned(),
        ));
    }
}

/// Exceptions that nobody needs any more are removed.
pub(super) fn check_table(sources: &[Source], violations: &mut Vec<Violation>) {
    for (place, _) in ALLOWED {
        let needed = sources
            .iter()
            .any(|source| source.is_in(place) && source.lines_with_word("unsafe").next().is_some());
        if !needed {
            violations.push(Violation {
                file: (*place).to_owned(),
                line: 1,
                rule: RULE,
                message: "has no unsafe code any more; remove it from ALLOWED in \
                          xtask/src/tidy/unsafe_code.rs"
                    .to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{NOWHERE, found},
        check,
    };

    #[test]
    fn unsafe_code_is_found_outside_the_table_only() {
        let text = "//! x\nfn f() { unsafe { g() } } // unsafe";
        assert_eq!(found(check, "proxy-agent/src/options.rs", text), [2]);
        assert_eq!(found(check, "proxy-common/src/pod.rs", text), NOWHERE);
        assert_eq!(found(check, "proxy-ebpf/src/kernel/skb.rs", text), NOWHERE);
    }
}
