//! What a kernel under test boots into: programs of this machine with their libraries, and what the
//! tests are made of, as an archive that the kernel unpacks into memory. Nothing of this machine can
//! be changed from there.
//!
//! Called by [`super`].

use std::{
    env::consts::ARCH,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, setup, workspace};

const INIT: &str = include_str!("init.sh");

/// Programs of this machine that tests run.
const PROGRAMS: &[&str] =
    &["bpftool", "bridge", "ip", "ipset", "iptables", "ipvsadm", "nft", "tcpdump", "wg"];

/// What iptables loads for what a rule says, below the directory of libraries.
const PLUGINS: &str = "xtables";

/// What busybox is called as. `modprobe` is what the kernel calls when it misses a module.
const APPLETS: &[&str] =
    &["cat", "cut", "echo", "grep", "ln", "mkdir", "mount", "poweroff", "rm", "sh", "tee", "uname"];

/// The files, as they are put together.
pub(super) struct Root {
    directory: PathBuf,
}

impl Root {
    /// Puts them together anew. `executables` are test executables: their names there, and here.
    pub(super) fn build(executables: &[(&str, &Path)]) -> Result<Self> {
        let directory = workspace::target().join("vm/root");
        if directory.exists() {
            fs::remove_dir_all(&directory).with_context(|| directory.display().to_string())?;
        }
        let root = Self { directory };
        for below in ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "t/deps", "tmp"] {
            let path = root.directory.join(below);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        root.add_busybox()?;
        for program in PROGRAMS {
            let path = workspace::find_program(program)
                .with_context(|| format!("there is no {program} here: run `cargo xtask setup`"))?;
            root.add(&path)?;
        }
        for plugin in setup::cni_plugins()? {
            root.add(&plugin)?;
        }
        root.add_iptables_plugins()?;
        let debug = workspace::target().join("debug");
        for binary in ["sluice", "sluice-probe"] {
            root.add_ours(&debug.join(binary), &format!("t/{binary}"))?;
        }
        for (name, path) in executables {
            root.add_ours(path, &format!("t/deps/{name}"))?;
        }
        root.write("init", INIT)?;
        Ok(root)
    }

    fn add_busybox(&self) -> Result<()> {
        let busybox = workspace::find_program("busybox")
            .context("there is no busybox here: run `cargo xtask setup`")?;
        self.copy(&busybox, "bin/busybox")?;
        self.add_libraries(&busybox)?;
        let links = APPLETS.iter().map(|name| (format!("bin/{name}"), "busybox"));
        let modprobe = ("sbin/modprobe".to_owned(), "../bin/busybox");
        for (link, to) in links.chain([modprobe]) {
            symlink(to, self.directory.join(&link)).with_context(|| link.clone())?;
        }
        Ok(())
    }

    fn add_iptables_plugins(&self) -> Result<()> {
        let directory = format!("/usr/lib/{ARCH}-linux-gnu/{PLUGINS}");
        for plugin in fs::read_dir(&directory).with_context(|| directory.clone())? {
            self.add(&plugin?.path())?;
        }
        Ok(())
    }

    /// A program of this machine, in its place, and its libraries.
    fn add(&self, program: &Path) -> Result<()> {
        self.copy(program, program)?;
        self.add_libraries(program)
    }

    /// A program of ours, without what debuggers want, and its libraries.
    fn add_ours(&self, program: &Path, place: &str) -> Result<()> {
        let to = self.directory.join(place);
        let mut strip = process::command("strip");
        strip.arg("--strip-debug").arg("-o").arg(&to).arg(program);
        process::run(&mut strip)?;
        self.add_libraries(program)
    }

    /// The libraries that the dynamic linker would load; none where it would load nothing.
    fn add_libraries(&self, program: &Path) -> Result<()> {
        let output = process::command("ldd").arg(program).output().context("ldd")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            if !self.place(Path::new(library)).exists() && Path::new(library).is_file() {
                self.copy(Path::new(library), library)?;
            }
        }
        Ok(())
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.directory.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn copy(&self, from: &Path, to: impl AsRef<Path>) -> Result<()> {
        let to = self.place(to.as_ref());
        let parent = to.parent().context("a file has a directory")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::copy(from, &to).with_context(|| from.display().to_string())?;
        Ok(())
    }

    /// Writes a script.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .with_context(|| path.display().to_string())
    }

    /// Writes the archive for a kernel with these modules to `file`.
    pub(super) fn archive(&self, modules: &Path, file: &Path) -> Result<()> {
        let mut archive = File::create(file).with_context(|| file.display().to_string())?;
        // The kernel unpacks one after the other.
        for directory in [&self.directory, modules] {
            let mut pack = process::command("sh");
            pack.args(["-c", "find . | busybox cpio -o -H newc 2>/dev/null"])
                .current_dir(directory)
                .stdout(Stdio::piped());
            let mut child = pack.spawn().context("sh")?;
            let mut packed = child.stdout.take().context("no pipe")?;
            io::copy(&mut packed, &mut archive).with_context(|| file.display().to_string())?;
            if !child.wait()?.success() {
                bail!("{} could not be packed", directory.display());
            }
        }
        Ok(())
    }
}
