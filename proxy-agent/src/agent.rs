//! `sluice agent`: installs the datapath, then keeps it in step with the cluster and the devices.
//!
//! Everything is decided elsewhere; here is the order in which it happens:
//!
//! 1. Look at the machine: bpffs, cgroup, network namespace; take the lock on the pin path.
//! 2. Load the programs, create or adopt the maps, write `CONFIG`.
//! 3. After a restart the maps are full: the new programs take the place of the old ones at once.
//!    Otherwise nothing is attached before the first complete list has been written.
//! 4. Follow sources, devices and flows, until a signal comes. Then leave; what is pinned goes on.
//!
//! **Architecture invariant:** each map has one writer: [`writer`] those of Services, [`installer`]
//! `DEVICES`, [`crate::flows::sweeper`] the flow tables. Called by [`crate::cli`].

mod growth;
mod inspection;
mod installer;
pub mod introspect;
mod telemetry;
mod writer;

use std::{
    convert::Infallible,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

use self::{
    growth::Growth,
    installer::{Installer, Parts, SocketPrograms},
    introspect::State,
    telemetry::{Outlets, Telemetry},
    writer::{Inputs, Writer},
};
use crate::{
    datapath::{
        Datapath, DatapathError,
        kernel::{Finding, Kernel},
        map::MapError,
        netns_cookie::{self, NetnsCookieError},
        object::Rejected,
        pins::Pins,
    },
    devices::{self, attach::Attacher, attach::PruneError},
    events::Notices,
    flows::sweeper::{Gate, SweepOptions, Sweeper, SweeperError},
    health::{self, Health, service_servers::Wanted},
    host::{
        bpffs::{self, BpffsError, Outcome},
        cgroup::{self, CgroupError},
        lock::{self, LockError},
        netns,
    },
    metrics::Metrics,
    options::{Options, SourceOption},
    reconcile::Reconciler,
    source::{self, Outlet},
    store::{MapStore, StoreError, bpf::BpfStore},
};

/// Batches of events that may wait for the writer; a source that is faster has to wait.
const EVENTS: usize = 64;

/// Why the agent can't run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The network namespace's cookie isn't known.
    #[error("this kernel has no SO_NETNS_COOKIE, and the node can't be told from its pods: {0}")]
    Netns(#[from] NetnsCookieError),
    /// The BPF file system.
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    /// The cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The datapath.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The kernel took none of the programs.
    #[error(
        "the kernel refused every program of the datapath; run with --log-level debug to see why"
    )]
    NoPrograms,
    /// A shadow where an agent has served.
    #[error(
        "--shadow: programs are attached under --pin-path {}, and would go on with what a shadow \
         writes: run `sluice cleanup` first, or give the shadow a --pin-path of its own",
        .0.display()
    )]
    Shadow(PathBuf),
    /// A map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What is installed can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What an earlier agent attached can't be looked through.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// No thread.
    #[error("starting the thread that attaches programs: {0}")]
    Thread(#[source] std::io::Error),
    /// No thread.
    #[error("starting the thread that looks at the node: {0}")]
    Inspection(#[source] std::io::Error),
    /// The sweeper.
    #[error(transparent)]
    Sweeper(#[from] SweeperError),
    /// The manifest directory.
    #[error("--manifests: {0}")]
    Manifests(#[from] source::manifests::ManifestsError),
    /// The cluster.
    #[error("--kubeconfig: {0}")]
    Kubernetes(#[from] source::kubernetes::KubernetesError),
    /// The devices.
    #[error(transparent)]
    Devices(#[from] devices::watch::WatchError),
    /// A task has panicked.
    #[error("a task of the agent ended: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// No signal handler.
    #[error("handling signals: {0}")]
    Signal(#[source] std::io::Error),
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// See [`AgentError`]. What was attached before stays attached.
pub async fn run(options: Options) -> Result<(), AgentError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signal)?;
    let pins = Pins::new(&options.pin_path);
    let wanted = match options.shadow {
        true => SocketPrograms::NONE,
        false => SocketPrograms {
            socket_path: options.services.has_socket_path(),
            bind_protection: options.bind_protection,
        },
    };
    let cgroup = open_cgroup(&options, wanted)?;
    let cookie = netns_cookie(&options, cgroup.as_ref())?;
    mount_bpffs(&pins)?;
    let lock = lock::take(pins.root())?;
    let kernel = Kernel::probe();
    report_kernel(&kernel);

    let datapath = Datapath::load(pins.clone(), options.device_hook, options.sizes, &kernel)?;
    report_rejected(&datapath)?;
    let store = BpfStore::open(&pins.maps())?;
    let installed = store.read()?;
    let restart = datapath.goes_on()?;
    if options.shadow {
        if datapath.is_attached()? {
            return Err(AgentError::Shadow(options.pin_path));
        }
        tracing::info!("a shadow: the maps are written, and nothing is attached");
    }
    if installed.config.as_ref().is_some_and(|config| config.host_netns_cookie != cookie) {
        // The same numbers mean other devices there.
        tracing::info!("pins of another network namespace are adopted; its devices are let go");
        datapath.detach_devices()?;
    }
    let node_name: Arc<str> = options.node_name.as_str().into();
    let settings = options.services.settings(node_name.clone(), cookie);
    let reconciler = Reconciler::new(settings, installed);

    let (events_in, events) = source::channel(EVENTS);
    let metrics = Metrics::new();
    let health = Health::new(events.waiting(), options.surface.max_lag);
    let (notifier, notices) = crate::events::channel(metrics.clone());
    let (checks, checks_wanted) = watch::channel(Wanted::default());
    let (snapshots_in, snapshots) = mpsc::channel(1);
    let (found_in, found) = mpsc::channel(1);
    let (progress_in, progress) = mpsc::unbounded_channel();
    let state = State::default();
    state.update(|live| {
        live.kernel = kernel.findings();
        live.rejected = datapath.rejected().to_vec();
        live.timeouts = Some(options.timeouts);
    });
    inspection::start(options.clone(), &datapath, state.clone()).map_err(AgentError::Inspection)?;
    let introspection = introspect::serve(pins.root(), state.clone());
    let sweep = SweepOptions {
        timeouts: options.timeouts,
        interval: options.sweep_interval,
        destroy_sockets: options.destroy_stale_sockets && !options.shadow,
        foreign: options.services.foreign_ports().filter(|_| !options.shadow),
    };
    let gate = Gate::default();
    let sweeper = Sweeper::start(&pins.maps(), sweep, gate.clone(), found_in)?;
    let attacher = Attacher::open(&pins.maps())?;
    let shadow = options.shadow;
    let parts = Parts { datapath, attacher, cgroup, wanted, shadow, gate, state: state.clone() };
    let installer = Installer::start(parts, progress_in).map_err(AgentError::Thread)?;
    let expects_node = matches!(options.source, SourceOption::Kubernetes(_));
    let selection = options.services.node_port_addresses.clone();
    let outlets = Outlets { metrics: metrics.clone(), health: health.clone(), notifier, checks };
    let telemetry = Telemetry::new(outlets, node_name.clone(), selection, expects_node);
    let mut writer = Writer::new(
        reconciler,
        (store, pins.maps()),
        Growth::new(options.sizes.limit),
        installer,
        sweeper,
        state,
        telemetry,
    );
    writer.start(restart);

    let mut devices = tokio::spawn(devices::watch::run(options.devices, snapshots_in));
    // Dropped, and with it everything that listens, when the agent ends.
    let mut surface = JoinSet::new();
    if let Some(address) = options.surface.healthz {
        surface.spawn(health::servers::health(address, health.clone(), metrics.clone()));
    }
    if let Some(address) = options.surface.metrics {
        let (health, metrics) = (health.clone(), metrics.clone());
        surface.spawn(health::servers::metrics(address, health, metrics, pins.clone()));
    }
    // Another proxy answers on these ports.
    if !shadow {
        surface.spawn(health::service_servers::run(checks_wanted, health, metrics.clone()));
    }
    let mut objects = tokio::spawn(follow(options.source, node_name, events_in, metrics, notices));
    let mut inputs = Inputs { events, snapshots, found, progress };
    let result = tokio::select! {
        biased;
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        ended = &mut objects => match ended? {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
        ended = &mut devices => match ended? {
            Ok(never) => match never {},
            Err(error) => Err(error.into()),
        },
        error = writer.run(&mut inputs) => Err(error),
    };
    objects.abort();
    devices.abort();
    introspection.abort();
    // A thread may be at work until the process ends, and until then the pins are taken.
    std::mem::forget(lock);
    let signal = result?;
    tracing::info!(signal, "stopped; the datapath stays in force");
    Ok(())
}

/// Sends the events of the source for ever.
async fn follow(
    source: SourceOption,
    node_name: Arc<str>,
    events: Outlet,
    metrics: Metrics,
    notices: Notices,
) -> Result<Infallible, AgentError> {
    match source {
        SourceOption::Manifests(directory) => {
            tracing::info!(directory = %directory.display(), "serving manifests");
            Ok(source::manifests::run(directory, events).await?)
        }
        SourceOption::Kubernetes(cluster) => {
            tracing::info!("serving a cluster");
            Ok(source::kubernetes::run(cluster, node_name, events, metrics, notices).await?)
        }
    }
}

/// The cgroup to attach to; `None` when the operator wants nothing there. Bind protection alone is no
/// reason not to start.
fn open_cgroup(options: &Options, wanted: SocketPrograms) -> Result<Option<OwnedFd>, CgroupError> {
    let open = || {
        let path = options.cgroup_root.clone().map_or_else(cgroup::find, Ok)?;
        Ok((cgroup::open(&path)?, path))
    };
    let (cgroup, path) = match open() {
        _ if wanted == SocketPrograms::NONE => return Ok(None),
        Ok(found) => found,
        Err(error) if !wanted.socket_path => {
            tracing::warn!("NodePorts are not protected from being bound: {error}");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if wanted.socket_path && !cgroup::is_root(&cgroup) {
        tracing::info!(
            cgroup = %path.display(),
            "the socket path serves the processes of this cgroup only: others of the node reach no \
             Service",
        );
    }
    tracing::info!(cgroup = %path.display(), "cgroup of the socket path");
    Ok(Some(cgroup))
}

/// The cookie of this network namespace: from the kernel, where it tells, else from a program at the
/// cgroup, which is looked for also where nothing else is wanted there.
fn netns_cookie(options: &Options, cgroup: Option<&OwnedFd>) -> Result<u64, AgentError> {
    if let Ok(cookie) = netns::cookie() {
        return Ok(cookie);
    }
    Ok(match cgroup {
        Some(cgroup) => netns_cookie::learn(cgroup.as_fd())?,
        None => {
            let path = options.cgroup_root.clone().map_or_else(cgroup::find, Ok)?;
            netns_cookie::learn(cgroup::open(&path)?.as_fd())?
        }
    })
}

fn mount_bpffs(pins: &Pins) -> Result<(), BpffsError> {
    if let Outcome::Mounted { at, private } = bpffs::ensure(pins.root())? {
        tracing::info!(at = %at.display(), "bpffs mounted");
        if private {
            tracing::warn!(
                at = %at.display(),
                "bpffs was mounted in a mount namespace of this process' own, and every pin goes \
                 with it: the datapath will not outlive the agent. Don't start it by `ip netns \
                 exec` (use `nsenter --net=/run/netns/NAME`), or mount bpffs outside beforehand"
            );
        }
    }
    bpffs::make_directory(pins.root())
}

/// Says what this kernel lacks, and which way is taken instead.
fn report_kernel(kernel: &Kernel) {
    for Finding { feature, since, way, .. } in
        kernel.findings().into_iter().filter(|finding| !finding.present)
    {
        tracing::info!(feature, "this kernel lacks what Linux {since} has: {way}");
    }
}

/// Says which programs are missing. Only when all are, there is nothing to run.
fn report_rejected(datapath: &Datapath) -> Result<(), AgentError> {
    datapath.rejected().iter().for_each(Rejected::log);
    if datapath.is_refused() { Err(AgentError::NoPrograms) } else { Ok(()) }
}
