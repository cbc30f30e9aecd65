//! Where things are: the workspace, its target directory, the tools of the toolchain in use.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The workspace's directory: the parent of xtask's.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf)
}

/// The target directory that the binaries of a build end up in: we run from `<it>/debug/xtask`, as a
/// test from `<it>/debug/deps/xtask-…`.
pub(crate) fn target() -> PathBuf {
    let exe = env::current_exe().unwrap_or_default();
    let mut directory = exe.parent().unwrap_or(&exe);
    if directory.ends_with("deps") {
        directory = directory.parent().unwrap_or(directory);
    }
    directory.parent().map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The compiler beside that cargo.
pub(crate) fn rustc() -> PathBuf {
    let beside = cargo().with_file_name("rustc");
    if beside.is_file() { beside } else { "rustc".into() }
}

/// Where the program `name` is: in `PATH`, or where Debian keeps what it takes for root's alone.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
