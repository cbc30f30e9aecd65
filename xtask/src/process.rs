//! Running other programs: an environment as if the user had typed the command, and errors that
//! say which command it was.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    io::{IsTerminal as _, stdin},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// A command in the workspace's directory, without the variables that `cargo run` set for us:
/// build scripts that look at them would run again whenever xtask and cargo take turns.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || name == "LD_LIBRARY_PATH"
        });
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// `cargo` with these arguments.
pub(crate) fn cargo<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut cargo = command(workspace::cargo());
    cargo.args(arguments);
    cargo
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).display().to_string();
    for argument in command.get_args() {
        let _ = write!(line, " {}", argument.display());
    }
    line
}

/// Runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("`{}` could not be run", shown(command)))?;
    if status.success() { Ok(()) } else { bail!("`{}` failed ({status})", shown(command)) }
}

/// Runs it and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{}` could not be run", shown(command)))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        bail!("`{}` failed ({})", shown(command), output.status)
    }
}

/// A command to be run as root: through sudo where we are not.
pub(crate) fn as_root(program: &Path) -> Result<Command> {
    if workspace::is_root() {
        return Ok(command(program));
    }
    let sudo = workspace::find_program("sudo").context("it takes root, and there is no sudo")?;
    let mut sudo = command(sudo);
    if !stdin().is_terminal() {
        sudo.arg("--non-interactive");
    }
    sudo.arg("--preserve-env").arg("--").arg(program);
    Ok(sudo)
}

/// Becomes `program` with these arguments, as root: through sudo where we are not. Returns only
/// when that can't be done.
pub(crate) fn become_as_root(program: &Path, arguments: &[impl AsRef<OsStr>]) -> anyhow::Error {
    let mut command = if workspace::is_root() {
        command(program)
    } else if let Some(sudo) = workspace::find_program("sudo") {
        let mut sudo = command(sudo);
        sudo.arg("--preserve-env=KUBECONFIG,RUST_LOG,PATH").arg("--").arg(program);
        sudo
    } else {
        let mut command = command(program);
        return anyhow::anyhow!(
            "loading eBPF programs takes root, and there is no sudo; run as root: {}",
            shown(command.args(arguments))
        );
    };
    // The user's directory again: paths among the arguments are relative to it.
    if let Ok(directory) = env::current_dir() {
        command.current_dir(directory);
    }
    let error = command.args(arguments).exec();
    anyhow::Error::new(error).context(format!("`{}` could not be run", shown(&command)))
}
