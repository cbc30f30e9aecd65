//! Kernels of Debian, unpacked into the cache: the image, and the modules that networks are made of.
//!
//! They are found through an apt configuration of our own, with suites that this machine doesn't use,
//! on the mirror that it does use. This machine's lists, sources and packages are not touched. Called
//! by `cargo xtask vm`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{super::progress, cache::Cache};
use crate::{process, workspace};

/// A kernel of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What people call it.
    pub(crate) name: &'static str,
    /// What its version begins with; nothing stands for the newest there is.
    series: Option<&'static str>,
}

/// The matrix, the oldest first.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", series: Some("5.10.") },
    Kernel { name: "6.1", series: Some("6.1.") },
    Kernel { name: "6.12", series: Some("6.12.") },
    Kernel { name: "newest", series: None },
];

/// Where they may be: repository, suite. Those that a mirror hasn't got are passed over.
const SUITES: &[(Repository, &str)] = &[
    (Repository::Main, "bullseye"),
    (Repository::Security, "bullseye-security"),
    (Repository::Main, "bookworm"),
    (Repository::Security, "bookworm-security"),
    (Repository::Main, "trixie"),
    (Repository::Security, "trixie-security"),
    (Repository::Main, "trixie-backports"),
    (Repository::Main, "sid"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repository {
    Main,
    Security,
}

/// Directories of modules that a test may want; drivers of hardware are none of them.
const MODULES: &[&str] = &["arch", "crypto", "drivers/net", "lib", "net"];

/// A kernel that can be booted.
pub(crate) struct Unpacked {
    /// Its image.
    pub(crate) image: PathBuf,
    /// Its modules, as a root file system has them.
    pub(crate) modules: PathBuf,
    /// Its release, as `uname -r` prints it.
    pub(crate) release: String,
}

/// Makes sure that the kernel is in the cache; needs no network when it is. With `refresh` a newer one
/// is looked for.
pub(crate) fn ensure(kernel: Kernel, refresh: bool) -> Result<Unpacked> {
    let cache = Cache::find()?;
    let name = format!("kernel-{}", kernel.name);
    if refresh {
        cache.forget(&name)?;
    }
    let place = cache.ensure(&name, |target| fetch(kernel, target))?;
    let release = fs::read_to_string(place.join("release"))
        .with_context(|| place.join("release").display().to_string())?;
    Ok(Unpacked { image: place.join("vmlinuz"), modules: place.join("root"), release })
}

fn fetch(kernel: Kernel, target: &Path) -> Result<()> {
    let apt = Apt::new(target)?;
    let release = newest(kernel, &apt.packages()?).with_context(|| {
        format!(
            "no suite of the mirror that apt uses has a Linux {} (looked in {})",
            kernel.series.unwrap_or("image"),
            SUITES.iter().map(|(_, suite)| *suite).collect::<Vec<_>>().join(", ")
        )
    })?;
    let unpacked = target.join("unpacked");
    apt.unpack(&release, &unpacked)?;
    let modules = ["usr/lib/modules", "lib/modules"]
        .map(|place| unpacked.join(place).join(&release))
        .into_iter()
        .find(|place| place.join("kernel").is_dir())
        .with_context(|| format!("the packages of {release} have no modules"))?;
    let image = [unpacked.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")]
        .into_iter()
        .find(|image| image.is_file())
        .with_context(|| format!("the packages of {release} have no image"))?;
    fs::copy(&image, target.join("vmlinuz")).with_context(|| image.display().to_string())?;
    take_modules(&modules, target, &release)?;
    fs::write(target.join("release"), &release).context("release")?;
    for scratch in [unpacked, target.join("apt")] {
        fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    }
    Ok(())
}

/// Copies the modules that tests may want, uncompressed, and lists what depends on what.
fn take_modules(from: &Path, target: &Path, release: &str) -> Result<()> {
    let root = target.join("root");
    let kernel = root.join("lib/modules").join(release).join("kernel");
    for directory in MODULES {
        let to = kernel.join(directory);
        let parent = to.parent().context("a directory of modules")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        process::run(
            process::command("cp").arg("-r").arg(from.join("kernel").join(directory)).arg(to),
        )?;
    }
    process::run(
        process::command("find")
            .arg(&kernel)
            .args(["-name", "*.ko.xz", "-exec", "busybox", "unxz", "{}", "+"]),
    )?;
    process::run(process::command("busybox").args(["depmod", "-b"]).arg(&root).arg(release))
}

/// The newest release of a series among names of packages.
fn newest(kernel: Kernel, packages: &str) -> Option<String> {
    let release = |package: &str| {
        let release = package.trim().strip_prefix("linux-image-")?;
        let version = release.strip_suffix("-cloud-amd64")?;
        let wanted = kernel.series.is_none_or(|series| version.starts_with(series));
        let begins_with_numbers = version.split('.').next()?.parse::<u32>().is_ok();
        // Without an ABI or a patch level in it: a name that stands for another package.
        let is_real = version.matches('.').count() >= 2;
        (wanted && begins_with_numbers && is_real).then(|| (numbers(version), release.to_owned()))
    };
    packages.lines().filter_map(release).max().map(|(_, release)| release)
}

/// The numbers of a version, in order, to compare it by.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// apt with a configuration of its own.
struct Apt {
    configuration: PathBuf,
}

impl Apt {
    /// Makes the configuration below `target`, and reads the lists.
    fn new(target: &Path) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if workspace::find_program(program).is_none() {
                bail!("kernels are taken from Debian's packages, and there is no {program} here");
            }
        }
        let directory = target.join("apt");
        for below in ["lists/partial", "archives/partial", "parts"] {
            let path = directory.join(below);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let write = |name: &str, content: String| {
            let path = directory.join(name);
            fs::write(&path, content).with_context(|| path.display().to_string())
        };
        write("status", String::new())?;
        write("sources.list", sources(&mirrors()?)?)?;
        let place = directory.display();
        write(
            "apt.conf",
            format!(
                "Dir::State \"{place}\";\nDir::State::status \"{place}/status\";\n\
                 Dir::Cache \"{place}\";\nDir::Etc::sourcelist \"{place}/sources.list\";\n\
                 Dir::Etc::sourceparts \"{place}/parts\";\nAPT::Architecture \"amd64\";\n\
                 APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
                 Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
            ),
        )?;
        let apt = Self { configuration: directory.join("apt.conf") };
        // A suite that the mirror hasn't got is an error to apt, and none to us: what is missing is
        // said when a kernel is not found.
        let mut update = apt.command("apt-get");
        update.args(["--quiet", "update"]);
        let _ = progress::step("reading which kernels Debian has", update);
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = process::command(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }

    /// The names of all packages of kernels.
    fn packages(&self) -> Result<String> {
        let names = process::output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        Ok(String::from_utf8_lossy(&names).into_owned())
    }

    /// Downloads the packages of a release and unpacks them into `target`.
    fn unpack(&self, release: &str, target: &Path) -> Result<()> {
        let names = self.packages()?;
        let has = |name: &str| names.lines().any(|line| line.trim() == name);
        // Newer ones are split, and the package of the old name is empty.
        let parts = [format!("linux-binary-{release}"), format!("linux-modules-{release}")];
        let packages = match parts.iter().all(|part| has(part)) {
            true => parts.to_vec(),
            false => vec![format!("linux-image-{release}")],
        };
        fs::create_dir_all(target).with_context(|| target.display().to_string())?;
        let mut download = self.command("apt-get");
        download.current_dir(target).args(["--quiet", "download"]).args(&packages);
        progress::step(&format!("downloading Debian's Linux {release}"), download)?;
        for entry in fs::read_dir(target)? {
            let archive = entry?.path();
            if archive.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = process::command("dpkg-deb");
                unpack.arg("--extract").arg(&archive).arg(target);
                progress::step(&format!("unpacking Linux {release}"), unpack)?;
                fs::remove_file(&archive).with_context(|| archive.display().to_string())?;
            }
        }
        Ok(())
    }
}

/// The mirrors of Debian that this machine's apt uses, as `LABEL|URI` lines.
fn mirrors() -> Result<String> {
    let mut targets = process::command("apt-get");
    targets.args(["indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"]);
    Ok(String::from_utf8_lossy(&process::output(&mut targets)?).into_owned())
}

/// Our suites, on those mirrors.
fn sources(mirrors: &str) -> Result<String> {
    let mirror = |label: &str| {
        let line = mirrors.lines().filter_map(|line| line.split_once('|'));
        line.filter(|(named, _)| *named == label).map(|(_, uri)| uri).next()
    };
    let main = mirror("Debian").context("apt has no mirror of Debian among its sources")?;
    let security = mirror("Debian-Security")
        .map_or_else(|| format!("{}-security", main.trim_end_matches('/')), str::to_owned);
    let line = |(repository, suite): &(Repository, &str)| {
        let uri = if *repository == Repository::Main { main } else { security.as_str() };
        format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n")
    };
    Ok(SUITES.iter().map(line).collect())
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[cfg(test)]
mod tests {
    use super::{KERNELS, newest, sources};

    const PACKAGES: &str = "linux-image-5.10.0-9-cloud-amd64\nlinux-image-5.10.0-46-cloud-amd64\n\
                            linux-image-5.10.0-46-cloud-amd64-dbg\nlinux-image-6.12-cloud-amd64\n\
                            linux-image-6.12.9+deb13-cloud-amd64\nlinux-image-cloud-amd64\n\
                            linux-image-6.12.118+deb13-cloud-amd64\nlinux-image-6.12.200+deb13-amd64\n\
                            linux-image-7.3.4+deb13-cloud-amd64\n";

    #[test]
    fn the_newest_release_of_a_series_is_found_by_its_numbers() {
        let found = KERNELS.map(|kernel| newest(kernel, PACKAGES));
        assert_eq!(found[0].as_deref(), Some("5.10.0-46-cloud-amd64"));
        assert_eq!(found[1], None);
        assert_eq!(found[2].as_deref(), Some("6.12.118+deb13-cloud-amd64"));
        assert_eq!(found[3].as_deref(), Some("7.3.4+deb13-cloud-amd64"));
    }

    #[test]
    fn suites_are_looked_for_on_the_mirror_that_apt_uses() {
        let mirrors = "Other|http://other/x\nDebian|http://mirror/debian/\n";
        let found = sources(mirrors).unwrap();
        assert!(found.contains(" http://mirror/debian/ bullseye main\n"), "{found}");
        assert!(
            found.contains(" http://mirror/debian-security bullseye-security main\n"),
            "{found}"
        );
        assert!(sources("Other|http://other/x\n").is_err());
    }
}
