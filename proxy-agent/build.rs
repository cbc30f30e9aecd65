//! Builds the eBPF objects and hands them to the crate: `OUT_DIR/sluice-datapath`,
//! `OUT_DIR/netns-cookie` and `OUT_DIR/questions`, embedded by loaders, and `OUT_DIR/yardstick`, for benchmarks. How is `xtask/src/bpf_object.rs`'s business.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../xtask/src/bpf_object.rs"]
mod bpf_object;

use bpf_object::{Error, Toolchain};

const OBJECTS: [&str; 4] = ["sluice-datapath", "netns-cookie", "questions", "yardstick"];

/// What the objects are made from, seen from the workspace.
const SOURCES: [&str; 5] =
    ["proxy-ebpf", "proxy-common", "xtask/src/bpf_object.rs", "Cargo.toml", "Cargo.lock"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let manifest = from_cargo("CARGO_MANIFEST_DIR")?;
    let workspace = manifest.parent().unwrap_or(&manifest);
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }

    let out = from_cargo("OUT_DIR")?;
    let arch = from_cargo("CARGO_CFG_TARGET_ARCH")?;
    let target = target(&out).join("bpf");
    let toolchain = Toolchain::find(&from_cargo("CARGO")?, &from_cargo("RUSTC")?)?;
    let built = toolchain.build(workspace, &target, &arch.to_string_lossy(), &OBJECTS)?;
    for line in built.warnings {
        println!("cargo::warning={line}");
    }
    for (object, name) in built.objects.iter().zip(OBJECTS) {
        let to = out.join(name);
        fs::write(&to, object).map_err(|source| Error::Io { what: to, source })?;
    }
    Ok(())
}

/// A variable that cargo sets for build scripts.
fn from_cargo(name: &str) -> Result<PathBuf, Error> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| Error::Io { what: name.into(), source: io::ErrorKind::NotFound.into() })
}

/// The target directory that `out` lies in, as `<target>/<profile>/build/<package>/out`. Debug,
/// release, clippy and test share the objects that way.
fn target(out: &Path) -> &Path {
    out.ancestors().nth(4).unwrap_or(out)
}
