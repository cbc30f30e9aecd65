//! How an eBPF object is built: the only file that knows.
//!
//! Finds a compiler whose `core` can be had for BPF, and bpf-linker; runs a second cargo on the
//! binaries of `proxy-ebpf`; refuses an object that the kernel would refuse. It installs nothing
//! (that is `setup`), and knows nothing of what is in the objects.
//!
//! Two callers compile this file: `proxy-agent/build.rs`, which embeds the objects, and xtask.

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};

/// The target of the objects. Every machine that we run on is little-endian.
const TARGET: &str = "bpfel-unknown-none";

/// The package and the profile (in the workspace's manifest) that the objects are built from.
const PACKAGE: &str = "proxy-ebpf";
const PROFILE: &str = "bpf";

/// Debian's compiler (rustc-web), and where libstd-rust-web-dev-bpf puts `core` for it.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Where `core` for BPF comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// The toolchain has the sources (rustup's component rust-src): built along with us.
    Source,
    /// This other compiler has it ready-made.
    Prebuilt(PathBuf),
}

/// All that a build needs.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    cargo: PathBuf,
    core: Core,
    linker: PathBuf,
}

/// What came of a build.
#[derive(Debug)]
pub(crate) struct Built {
    /// The objects' bytes, in the order of their names, as they were checked: another build may be
    /// about to write the files anew.
    pub(crate) objects: Vec<Vec<u8>>,
    /// What the compiler had to say, line by line: no other build compiles this code.
    pub(crate) warnings: Vec<String>,
}

/// Why there is no object.
#[derive(Debug)]
pub(crate) enum Error {
    /// Neither way to a `core` for BPF is there.
    NoCore { rustc: PathBuf },
    /// bpf-linker is neither in `PATH` nor among cargo's binaries.
    NoLinker,
    /// A program could not be run, a file could not be read.
    Io { what: PathBuf, source: io::Error },
    /// cargo said no; it printed the reason.
    Cargo { status: ExitStatus },
    /// The file is not an ELF object.
    NotElf { object: PathBuf, source: object::Error },
    /// Code that may panic is left, and the kernel has nothing to panic with.
    Panics { object: PathBuf, symbol: String, callers: Vec<String> },
    /// There are no types in it: neither maps nor programs could be loaded.
    NoBtf { object: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCore { rustc } => write!(
                f,
                "no `core` library for {TARGET}: neither has {} the component rust-src, nor has \
                 {DEBIAN_RUSTC} the target (Debian: rustc-web, libstd-rust-web-dev-bpf); \
                 run `cargo xtask setup`",
                rustc.display()
            ),
            Self::NoLinker => {
                write!(f, "bpf-linker is not in PATH nor in ~/.cargo/bin; run `cargo xtask setup`")
            }
            Self::Io { what, source } => write!(f, "{}: {source}", what.display()),
            Self::Cargo { status } => {
                write!(f, "cargo could not build {PACKAGE} for {TARGET} ({status}), see above")
            }
            Self::NotElf { object, source } => write!(f, "{}: {source}", object.display()),
            Self::Panics { object, symbol, callers } => write!(
                f,
                "{}: the symbol {symbol}, called by {callers:?}, means that code which may panic \
                 is left (an index, a division, an unwrap), and the kernel refuses to load it; \
                 write that code so that it can't",
                object.display()
            ),
            Self::NoBtf { object } => write!(
                f,
                "{}: no .BTF section; bpf-linker was not told --btf, or debug information is off \
                 in the profile {PROFILE}",
                object.display()
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The linker, or `None`: looked for in `PATH`, then where `cargo install` puts it.
pub(crate) fn find_linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    env::split_paths(&path)
        .chain(cargo_home.or(home).map(|home| home.join("bin")))
        .map(|directory| directory.join("bpf-linker"))
        .find(|file| file.is_file())
}

/// The way to `core`, or `None`: `rustc` is the compiler of the toolchain in use.
pub(crate) fn find_core(rustc: &Path) -> Result<Option<Core>, Error> {
    if sysroot(rustc)?.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() {
        return Ok(Some(Core::Source));
    }
    let debian = Path::new(DEBIAN_RUSTC);
    if debian.is_file() && sysroot(debian)?.join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(Some(Core::Prebuilt(debian.to_owned())));
    }
    Ok(None)
}

fn sysroot(rustc: &Path) -> Result<PathBuf, Error> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|source| Error::Io { what: rustc.to_owned(), source })?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}

impl Toolchain {
    /// What there is to build with. `cargo` and `rustc` are those of the build that goes on, as
    /// cargo's environment variables of these names say.
    pub(crate) fn find(cargo: &Path, rustc: &Path) -> Result<Self, Error> {
        let core = find_core(rustc)?.ok_or_else(|| Error::NoCore { rustc: rustc.to_owned() })?;
        let linker = find_linker().ok_or(Error::NoLinker)?;
        Ok(Self { cargo: cargo.to_owned(), core, linker })
    }

    /// Builds the binaries `names` for kernels of `arch`, and checks them.
    ///
    /// `target` is a directory for this purpose alone: the cargo that called us holds the lock on
    /// its own, and would wait for us for ever.
    pub(crate) fn build(
        &self,
        workspace: &Path,
        target: &Path,
        arch: &str,
        names: &[&str],
    ) -> Result<Built, Error> {
        let mut cargo = self.command(workspace, target, arch);
        for name in names {
            cargo.args(["--bin", name]);
        }
        let failed = |source| Error::Io { what: self.cargo.clone(), source };
        let mut child = cargo
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let warnings = child.stderr.take().map(warnings).unwrap_or_default();
        let status = child.wait().map_err(failed)?;
        if !status.success() {
            return Err(Error::Cargo { status });
        }
        let built = target.join(TARGET).join(PROFILE);
        let objects = names.iter().map(|name| read_checked(&built.join(name)));
        Ok(Built { objects: objects.collect::<Result<_, _>>()?, warnings })
    }

    fn command(&self, workspace: &Path, target: &Path, arch: &str) -> Command {
        let mut cargo = Command::new(&self.cargo);
        for name in env::vars_os().map(|(name, _)| name).filter(is_of_the_outer_build) {
            cargo.env_remove(name);
        }
        let mut flags = OsString::new();
        // Without the second linker flag every small memset becomes a call of a loop over bytes.
        flags.push(
            "-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f\
             -Clink-arg=--disable-expand-memcpy-in-order\x1f-Clinker=",
        );
        flags.push(&self.linker);
        flags.push(format!("\x1f--cfg=bpf_target_arch=\"{arch}\""));
        cargo
            .current_dir(workspace)
            .args(["build", "--package", PACKAGE, "--no-default-features"])
            .args(["--target", TARGET, "--profile", PROFILE])
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_BUILD_BUILD_DIR", target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            // On a stable toolchain, and for this child alone: aya-ebpf uses inline assembly for
            // BPF, and cargo its `-Z`.
            .env("RUSTC_BOOTSTRAP", "1");
        match &self.core {
            Core::Source => cargo.args(["-Z", "build-std=core"]),
            Core::Prebuilt(rustc) => cargo.env("RUSTC", rustc),
        };
        cargo
    }
}

/// Passes on what cargo says, and returns the warnings among it: from a line that begins with the
/// word to the next empty line. cargo repeats them when there is nothing to compile.
fn warnings(stderr: impl io::Read) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut in_warning = false;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        eprintln!("{line}");
        in_warning = line.starts_with("warning: ") || (in_warning && !line.is_empty());
        if in_warning {
            warnings.push(line);
        }
    }
    warnings
}

/// Whether an environment variable was set for, or by, the cargo that runs us, and would bend
/// the cargo that we run: its package, its flags, its compiler and wrappers, its directories. Some
/// of them make build scripts run again whenever a build script and xtask take turns.
fn is_of_the_outer_build(name: &OsString) -> bool {
    /// How to reach registries, how to print, and the jobs we may run beside our siblings.
    const KEPT: [&str; 9] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "CARGO_UNSTABLE_",
    ];
    const OTHERS: [&str; 14] = [
        "DEBUG",
        "HOST",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "TARGET",
    ];
    name.to_str().is_some_and(|name| {
        OTHERS.contains(&name)
            || (name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept)))
    })
}

/// An object's bytes. Refuses one that can't be loaded, with the reason that the verifier would not give.
fn read_checked(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Io { what: path.to_owned(), source })?;
    let elf = object::File::parse(&*bytes)
        .map_err(|source| Error::NotElf { object: path.to_owned(), source })?;
    for symbol in elf.symbols() {
        let name = symbol.name().unwrap_or_default();
        if name.contains("panicking") {
            return Err(Error::Panics {
                object: path.to_owned(),
                symbol: name.to_owned(),
                callers: callers(&elf, &symbol),
            });
        }
    }
    let typed = elf.section_by_name(".BTF").is_some_and(|section| section.size() > 0);
    if typed { Ok(bytes) } else { Err(Error::NoBtf { object: path.to_owned() }) }
}

/// The functions that call `callee`. A call is relocated against the callee, or against its section
/// with the distance to it, in instructions and less one, in the call itself (R_BPF_64_32).
fn callers(elf: &object::File<'_>, callee: &object::Symbol<'_, '_>) -> Vec<String> {
    let mut callers = Vec::new();
    for section in elf.sections().filter(|section| section.kind() == SectionKind::Text) {
        let code = section.data().unwrap_or_default();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(target) = elf.symbol_by_index(index) else { continue };
            let start = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(4);
            let distance = code.get(start..).and_then(|rest| rest.first_chunk());
            let distance = distance.map(|bytes| (i64::from(i32::from_le_bytes(*bytes)) + 1) * 8);
            let there = target.section_index() == callee.section_index()
                && distance == i64::try_from(callee.address()).ok();
            if target.index() != callee.index() && !there {
                continue;
            }
            let caller = elf.symbols().find(|function| {
                function.kind() == object::SymbolKind::Text
                    && function.section_index() == Some(section.index())
                    && (function.address()..function.address() + function.size()).contains(&offset)
            });
            callers.extend(caller.and_then(|one| one.name().map(str::to_owned).ok()));
        }
    }
    callers.dedup();
    callers
}
