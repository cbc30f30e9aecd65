//! A lab: the fabric, nodes and outside hosts on it, and everything that has to go with it.
//!
//! Dropping the lab removes every trace, also when the test panics; when the whole process is
//! killed, a janitor does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ChildStdin, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, mount};

use crate::{
    Addresses, Cgroup, Host, NetNs, Node, Process, Uplink, Wire, Wiring,
    fabric::{AddressChange, Fabric, silence_duplicate_address_detection},
    identity::Identity,
    leftovers,
    martians::KernelLog,
    probe::ProbeProgram,
};

const FIRST_NODE: u8 = 10;
const FIRST_OUTSIDE: u8 = 200;

/// A small cluster on this kernel.
pub struct Lab {
    shared: Arc<Shared>,
    janitor: Option<(Process, ChildStdin)>,
    log: KernelLog,
}

/// What hosts of a lab need of it.
pub(crate) struct Shared {
    identity: Identity,
    directory: PathBuf,
    cgroup: Cgroup,
    pub(crate) fabric: Fabric,
    pub(crate) probe: ProbeProgram,
    nodes: AtomicU8,
    outside: AtomicU8,
}

impl Lab {
    /// A lab without hosts, for a test.
    pub fn new() -> Result<Self> {
        Self::with_uplinks(Uplink::Ethernet)
    }

    /// A lab whose hosts will have uplinks of this kind.
    pub fn with_uplinks(uplink: Uplink) -> Result<Self> {
        Self::build(ProbeProgram::beside_test()?, uplink)
    }

    /// A lab without hosts, for a program that brings the probe along.
    pub fn with_probe(probe: ProbeProgram) -> Result<Self> {
        Self::build(probe, Uplink::Ethernet)
    }

    fn build(probe: ProbeProgram, uplink: Uplink) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the lab makes network namespaces, cgroups and BPF programs: run it as root");
        }
        static SWEPT: OnceLock<()> = OnceLock::new();
        if SWEPT.set(()).is_ok() {
            leftovers::remove_leftovers().context("leftovers of an earlier lab")?;
        }
        let identity = Identity::next()?;
        let janitor = Some(start_janitor(&probe, &identity)?);
        let log = KernelLog::from_now()?;
        let made = Self::make(identity.clone(), probe, uplink);
        if made.is_err() {
            leftovers::remove(&identity)?;
        }
        Ok(Self { shared: Arc::new(made?), janitor, log })
    }

    fn make(identity: Identity, probe: ProbeProgram, uplink: Uplink) -> Result<Shared> {
        let directory = identity.directory();
        let namespaces = directory.join("netns");
        let bpffs = directory.join(leftovers::BPFFS);
        for path in [&directory, &namespaces, &bpffs, &directory.join("manifests")] {
            fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        mount("bpf", &bpffs, "bpf", MountFlags::empty(), None)
            .with_context(|| format!("cannot mount bpffs at {}", bpffs.display()))?;
        let cgroup = Cgroup::root()?.create(&identity.name())?;
        let fabric = Fabric::create(&namespaces, uplink)?;
        let (nodes, outside) = (AtomicU8::new(1), AtomicU8::new(0));
        Ok(Shared { identity, directory, cgroup, fabric, probe, nodes, outside })
    }

    /// Adds a node whose pods are wired by `wiring`.
    pub fn node(&self, name: &str, wiring: Wiring) -> Result<Node> {
        let number = self.shared.nodes.fetch_add(1, Ordering::Relaxed);
        let addresses = Addresses::on_fabric(FIRST_NODE + number);
        Node::create(&self.shared, name, number, addresses, wiring)
    }

    /// Adds a host outside the cluster. It has routes to nodes and pods, none to Services.
    pub fn outside(&self, name: &str) -> Result<Host> {
        let number = self.shared.outside.fetch_add(1, Ordering::Relaxed);
        let addresses = Addresses::on_fabric(FIRST_OUTSIDE + number);
        let host = Host::create(&self.shared, name, self.shared.cgroup.create(name)?)?;
        silence_duplicate_address_detection(host.namespace())?;
        self.shared.fabric.join(&host.namespace_handle(), name, addresses, None)?;
        Ok(host.with_addresses(addresses))
    }

    /// Routes `prefixes` to `node`, from every outside host there is.
    pub fn route(&self, prefixes: &[&str], node: &Node) -> Result<()> {
        self.shared.fabric.route(prefixes, node.name())
    }

    /// Gives `host`, a node or an outside host, more addresses on the fabric.
    pub fn give_addresses(&self, addresses: Addresses, host: &Host) -> Result<()> {
        self.shared.fabric.change_addresses(AddressChange::Give, addresses, host.name())
    }

    /// Takes them away again.
    pub fn take_addresses(&self, addresses: Addresses, host: &Host) -> Result<()> {
        self.shared.fabric.change_addresses(AddressChange::Take, addresses, host.name())
    }

    /// Watches what leaves the device `uplink` of `host`, from the other side.
    pub fn watch_fabric(&self, host: &str) -> Result<Wire> {
        Wire::open(self.fabric(), host)
    }

    /// The namespace of the fabric.
    #[must_use]
    pub fn fabric(&self) -> &NetNs {
        self.shared.fabric.namespace()
    }

    /// The lab's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The directory of the manifests that all agents of the lab read.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.shared.manifests()
    }

    /// The lab's cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.shared.cgroup
    }
}

impl Shared {
    /// A path in the lab's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the symbolic link to the namespace of the host `name` is.
    pub(crate) fn namespace_path(&self, name: &str) -> PathBuf {
        self.directory.join("netns").join(name)
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.directory.join("manifests")
    }

    /// Where the agent of the node `name` pins.
    pub(crate) fn pin_path(&self, name: &str) -> PathBuf {
        self.directory.join(leftovers::BPFFS).join(name)
    }

    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl Lab {
    /// What the kernels of nodes and outside hosts took for a packet with an impossible source: martians are logged, and
    /// the reverse path filter is strict, on every device of every node.
    fn suspicions(&mut self) -> Result<Vec<String>> {
        self.log.suspicions(&self.shared.fabric.hosts())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let suspicions = self.suspicions();
        if let Err(error) = leftovers::remove(&self.shared.identity) {
            eprintln!("{} was not removed: {error:#}", self.shared.identity.name());
            if !std::thread::panicking() {
                panic!("the lab left something behind");
            }
        }
        if let Some((mut process, stdin)) = self.janitor.take() {
            drop(stdin);
            // It finds nothing left to do; if it hangs, dropping it kills it.
            let _ = process.wait(Duration::from_secs(5));
        }
        match suspicions {
            Ok(suspicions) if suspicions.is_empty() => {}
            // A test that has failed already says so too.
            other if std::thread::panicking() => eprintln!("packets that can't be: {other:#?}"),
            other => panic!("packets that can't be: {other:#?}"),
        }
    }
}

/// Starts a process that outlives this one by the moment it takes to remove the lab.
fn start_janitor(probe: &ProbeProgram, identity: &Identity) -> Result<(Process, ChildStdin)> {
    let mut command = probe.command();
    command.args(["janitor", &identity.name()]).stdin(Stdio::piped());
    let mut process = Process::start("janitor", &mut command)?;
    let stdin = process.stdin();
    Ok((process, stdin))
}
