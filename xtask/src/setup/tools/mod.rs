//! Programs that the tests run beside Sluice: a Kubernetes control plane and its proxy, helm and
//! kubeconform, built from Go modules that are pinned below `tests/tools`, and the etcd of this
//! Debian, which is older.
//!
//! Built once for each content of those directories, and kept outside the clone. When they are
//! there, nothing is started and no network is used. It installs nothing but Go, and that only where
//! there is none. Called by `cargo xtask setup --tools`, and by whoever needs one of them.

mod cache;
mod debian;
mod go;
pub(crate) mod kernels;
mod openapi;

use std::{
    fmt::{self, Write as _},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::progress;
use crate::workspace;
use cache::Cache;
use go::Go;

/// A Go module below `tests/tools`, and what comes of it.
struct Module {
    directory: &'static str,
    /// The variable that tells the tests where its programs are.
    variable: &'static str,
    /// What it is, for a person who waits for it.
    title: &'static str,
    /// What `go build` is asked for: `.` is the module's own program, `tool` its tools.
    packages: &'static str,
    /// Names that one of its programs answers to, and that program.
    names: &'static [(&'static str, &'static str)],
    /// Variables of its code that hold the version of one of the modules it requires.
    stamps: &'static [(&'static str, &'static str)],
}

const MODULES: &[Module] = &[
    Module {
        directory: "kubernetes",
        variable: "SLUICE_KUBERNETES",
        title: "building etcd, kube-apiserver, kube-controller-manager and kube-proxy, once (5 to \
                15 minutes of two CPUs)",
        packages: ".",
        names: &[
            ("etcd", "kubernetes"),
            ("kube-apiserver", "kubernetes"),
            ("kube-controller-manager", "kubernetes"),
            ("kube-proxy", "kubernetes"),
        ],
        stamps: &[("k8s.io/component-base/version.gitVersion", "k8s.io/kubernetes")],
    },
    Module {
        directory: "chart",
        variable: "SLUICE_CHART_TOOLS",
        title: "building helm and kubeconform, once (2 to 5 minutes of two CPUs)",
        packages: "tool",
        names: &[],
        stamps: &[],
    },
];

/// The variable that names the directory of Kubernetes' OpenAPI document.
const OPENAPI: &str = "SLUICE_OPENAPI";
/// The variable that names the directory of the old etcd.
const OLD_ETCD: &str = "SLUICE_OLD_ETCD";

/// Where the tools are: a variable for each, as the tests read it.
pub(crate) struct Tools {
    places: Vec<(&'static str, PathBuf)>,
}

impl Tools {
    /// The variables and their values.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.places.iter().map(|(variable, place)| (*variable, place.as_path()))
    }
}

/// As a shell takes it.
impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = String::new();
        for (variable, place) in &self.places {
            writeln!(lines, "{variable}={}", place.display())?;
        }
        f.write_str(lines.trim_end())
    }
}

/// Makes sure that they are there; says nothing if they are.
pub(crate) fn ensure() -> Result<Tools> {
    let cache = Cache::find()?;
    let mut places = Vec::new();
    for module in MODULES {
        places.push((module.variable, module.ensure(&cache)?));
    }
    places.push((OPENAPI, openapi::ensure(&cache, &source("kubernetes"))?));
    places.push((OLD_ETCD, debian::ensure(&cache, "etcd-server", "usr/bin")?));
    Ok(Tools { places })
}

/// The directory of a Go module.
fn source(name: &str) -> PathBuf {
    workspace::root().join("tests/tools").join(name)
}

impl Module {
    fn ensure(&self, cache: &Cache) -> Result<PathBuf> {
        let source = source(self.directory);
        let content = cache::fingerprint(&source)?;
        cache.ensure(&format!("{}-{content}", self.directory), |target| self.build(&source, target))
    }

    fn build(&self, source: &Path, target: &Path) -> Result<()> {
        let go = Go::ensure(source)?;
        let mut linking = String::from("-s -w");
        for (variable, required) in self.stamps {
            write!(linking, " -X {variable}={}", go::version_of(source, required)?)?;
        }
        let mut build = go.command(source);
        build
            // Two at a time: a compiler of a large package takes a gigabyte.
            .args(["build", "-v", "-p", "2", "-ldflags", &linking, "-o"])
            // With `/` at the end: a directory.
            .arg(target.join(""))
            .arg(self.packages);
        progress::step(self.title, build)?;
        for (name, program) in self.names {
            let program_file = target.join(program);
            fs::metadata(&program_file).with_context(|| {
                format!("tests/tools/{}: go built no {}", self.directory, program_file.display())
            })?;
            symlink(program, target.join(name)).with_context(|| format!("symbolic link {name}"))?;
        }
        Ok(())
    }
}
