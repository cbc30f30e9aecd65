//! Layers import downwards only, and each outside world (BPF, Kubernetes, the clock, files) is met
//! in the modules at the edge that are there for it.

use super::{Source, Violation, source::words};

/// A part of the tree that must not know some crates and modules.
struct Layer {
    /// Files, or directories with `/` at the end.
    places: &'static [&'static str],
    /// Of these, files and directories that the rule is not about.
    except: &'static [&'static str],
    /// Paths that must not be named.
    forbidden: &'static [&'static str],
    /// Why, and where it belongs instead.
    remedy: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        places: &["proxy-common/"],
        except: &[],
        forbidden: &["proxy_ebpf", "proxy_agent", "aya", "aya_ebpf", "tokio", "kube", "std"],
        remedy: "the ABI knows nobody: what decides about it belongs in proxy-ebpf or proxy-agent",
    },
    Layer {
        places: &["proxy-ebpf/src/"],
        except: &[
            "proxy-ebpf/src/main.rs",
            "proxy-ebpf/src/netns_cookie.rs",
            "proxy-ebpf/src/questions.rs",
            "proxy-ebpf/src/yardstick.rs",
            "proxy-ebpf/src/kernel/",
        ],
        forbidden: &["aya_ebpf", "aya", "proxy_agent", "tokio", "kube"],
        remedy: "the datapath runs on the host too: reach the kernel through a trait that \
                 proxy-ebpf/src/kernel implements",
    },
    Layer {
        places: &["proxy-ebpf/src/"],
        except: &["proxy-ebpf/src/user/"],
        forbidden: &["std"],
        remedy: "the datapath is no_std: use core, or move it to proxy-ebpf/src/user",
    },
    Layer {
        places: &["proxy-agent/src/"],
        except: &["proxy-agent/src/datapath/", "proxy-agent/src/store/bpf.rs"],
        forbidden: &["aya"],
        remedy: "BPF is met in datapath and store/bpf.rs only: call them",
    },
    Layer {
        places: &["proxy-agent/src/"],
        except: &["proxy-agent/src/source/kubernetes.rs", "proxy-agent/src/source/kubernetes/"],
        forbidden: &["kube"],
        remedy: "the API server is met in source/kubernetes only",
    },
    Layer {
        places: &["proxy-agent/src/"],
        except: &["proxy-agent/src/source/"],
        forbidden: &["k8s_openapi"],
        remedy: "Kubernetes' types stay in source: use model",
    },
    Layer {
        places: &[
            "proxy-agent/src/model/",
            "proxy-agent/src/endpoints.rs",
            "proxy-agent/src/endpoints/",
            "proxy-agent/src/desired/",
            "proxy-agent/src/reconcile/",
        ],
        except: &[],
        forbidden: &[
            "tokio",
            "futures",
            "tracing",
            "std::fs",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "crate::agent",
            "crate::cli",
            "crate::datapath",
            "crate::devices",
            "crate::host",
            "crate::options",
        ],
        remedy: "the control plane is pure: take time and data as arguments, return what to do",
    },
    Layer {
        places: &["proxy-agent/", "tests/"],
        except: &["proxy-agent/build.rs"],
        forbidden: &["xtask", "bpf_object"],
        remedy: "xtask is above all: move what both need into a library below",
    },
    Layer {
        places: &["xtask/"],
        except: &[],
        forbidden: &["proxy_agent", "proxy_ebpf", "lab"],
        remedy: "xtask compiles before a BPF toolchain is there: run the binary instead",
    },
];

pub(super) fn check(source: &Source, violations: &mut Vec<Violation>) {
    let layers = LAYERS.iter().filter(|layer| {
        layer.places.iter().any(|place| source.is_in(place))
            && !layer.except.iter().any(|place| source.is_in(place))
    });
    for layer in layers {
        for path in layer.forbidden {
            for (index, line) in source.code.iter().enumerate() {
                if names(line, path) {
                    violations.push(source.violation(
                        index + 1,
                        "layers",
                        format!("`{path}` must not be named here; {}", layer.remedy),
                    ));
                }
            }
        }
    }
}

/// Whether a line of code names the path: a crate where its name is followed by `::` or imported
/// whole, a module or item where all of its path is spelled, also as `use std::{…, fs}`.
fn names(line: &str, path: &str) -> bool {
    let own = |at: usize| !line[..at].ends_with("::") && !line[..at].ends_with('.');
    let Some((parent, last)) = path.rsplit_once("::") else {
        return words(line, path).any(|at| {
            let rest = &line[at + path.len()..];
            let imported = line.trim_start().trim_start_matches("pub ").starts_with("use ");
            own(at) && (rest.starts_with("::") || (imported && rest.starts_with([';', ' '])))
        });
    };
    words(line, path).any(own)
        || line
            .find(&format!("{parent}::{{"))
            .is_some_and(|at| words(&line[at + parent.len() + 3..], last).next().is_some())
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{NOWHERE, found},
        check, names,
    };

    #[test]
    fn a_crate_is_named_by_its_paths_and_imports() {
        for line in ["use aya::Ebpf;", "let x: aya::Ebpf;", "use aya;", "pub use aya as b;"] {
            assert!(names(line, "aya"), "{line}");
        }
        for line in ["use aya_ebpf::x;", "crate::aya::x()", "let aya = 1;", "f(aya)"] {
            assert!(!names(line, "aya"), "{line}");
        }
    }

    #[test]
    fn an_item_is_named_in_full_or_in_braces() {
        assert!(names("use std::time::Instant;", "std::time::Instant"));
        assert!(names("use std::{fmt, fs, io};", "std::fs"));
        assert!(names("std::fs::read(x)", "std::fs"));
        assert!(!names("use std::{fmt, io};", "std::fs"));
        assert!(!names("use std::time::Duration;", "std::time::Instant"));
    }

    #[test]
    fn each_world_is_met_at_its_edge_only() {
        let aya = "//! x\nuse aya::Ebpf;";
        assert_eq!(found(check, "proxy-agent/src/reconcile/mod.rs", aya), [2]);
        assert_eq!(found(check, "proxy-agent/src/datapath/object.rs", aya), NOWHERE);
        let kube = "//! x\nuse k8s_openapi::api;";
        assert_eq!(found(check, "proxy-agent/src/model/mod.rs", kube), [2]);
        assert_eq!(found(check, "proxy-agent/src/source/convert/service.rs", kube), NOWHERE);
        let core = "//! x\nuse std::fmt;";
        assert_eq!(found(check, "proxy-common/src/be.rs", core), [2]);
    }
}
