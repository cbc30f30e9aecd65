//! Network namespaces that live no longer than the harness.
//!
//! A namespace is held by a descriptor of this process, not by a mount: however the process ends,
//! the kernel takes the namespace down. A symbolic link gives it a path for programs that want one
//! (CNI plugins, `ip`, `nsenter`).
//!
//! Called by [`crate::host`] and [`crate::fabric`].

use std::{
    fs::{self, File},
    io::Write as _,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::process::enter_namespace;

/// A network namespace.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    path: PathBuf,
}

impl NetNs {
    /// Makes a namespace with its loopback device up, and `link` as a path to it.
    pub(crate) fn create(link: PathBuf) -> Result<Self> {
        let file = thread::spawn(|| -> Result<File> {
            // SAFETY: only the network namespace of this thread changes, and the thread ends here;
            // no descriptor is unshared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .context("unshare(CLONE_NEWNET): the lab needs root")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        })
        .join()
        .expect("the thread that makes a namespace does not panic")?;
        symlink(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()), &link)
            .with_context(|| format!("symbolic link {}", link.display()))?;
        let namespace = Self { file, path: link };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A path to the namespace, good for as long as this process lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor of the namespace of its own.
    pub(crate) fn descriptor(&self) -> Result<File> {
        Ok(self.file.try_clone()?)
    }

    /// Moves the calling thread into the namespace, for good.
    pub(crate) fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("setns({})", self.path.display()))
    }

    /// Runs `work` inside the namespace, on a thread of its own. Sockets made there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs lines of `ip` in the namespace, in one process.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.feed("ip", &["-batch", "-"], lines)
    }

    /// Likewise, lines that are about IPv6 and don't say so by an address.
    pub fn ip_v6(&self, lines: &str) -> Result<()> {
        self.feed("ip", &["-6", "-batch", "-"], lines)
    }

    /// Runs lines of `bridge` in the namespace, in one process.
    pub fn bridge(&self, lines: &str) -> Result<()> {
        self.feed("bridge", &["-batch", "-"], lines)
    }

    /// Loads a ruleset of nftables in the namespace.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        self.feed("nft", &["-f", "-"], ruleset)
    }

    /// Configures a WireGuard device in the namespace, as `wg setconf` does.
    pub fn wireguard(&self, device: &str, configuration: &str) -> Result<()> {
        self.feed("wg", &["setconf", device, "/proc/self/fd/0"], configuration)
    }

    fn feed(&self, program: &str, arguments: &[&str], lines: &str) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
        enter_namespace(&mut command, self)?;
        let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // A program that fails early may close its input; its message says more than EPIPE.
        let written = stdin.write_all(lines.as_bytes()).and_then(|()| stdin.write_all(b"\n"));
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() || written.is_err() {
            let message = String::from_utf8_lossy(&output.stderr);
            let path = self.path.display();
            bail!("{program} in {path}: {}\nlines were:\n{lines}", message.trim());
        }
        Ok(())
    }

    /// What `ip -json <arguments>` prints in the namespace.
    pub fn ip_json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut command = Command::new("ip");
        command.arg("-json").args(arguments);
        enter_namespace(&mut command, self)?;
        let output = command.output().context("cannot run ip: install iproute2")?;
        if !output.status.success() {
            bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        if output.stdout.trim_ascii().is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Sets kernel parameters of the namespace: path below `/proc/sys/net`, and value.
    pub fn set_parameters(&self, parameters: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (name, value) in parameters {
                let path = Path::new("/proc/sys/net").join(name);
                fs::write(&path, value)
                    .with_context(|| format!("cannot set {} to {value}", path.display()))?;
            }
            Ok(())
        })
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // The link may have gone with the lab's directory.
        let _ = fs::remove_file(&self.path);
    }
}
