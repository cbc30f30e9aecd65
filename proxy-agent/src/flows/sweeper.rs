//! The thread that sweeps the flow tables: every few seconds, and at once when a UDP endpoint has
//! stopped serving.
//!
//! A walk through full tables takes longer than a change of a Service may wait, so it has a thread
//! of its own. Started by [`crate::agent`]; ends when the agent drops its [`Sweeper`]. What there is
//! to do in a walk is [`super::walk`]'s business.

use std::{
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc as channel;

use super::{
    Timeouts, foreign,
    serving::Serving,
    walk::{Found, Walker},
};
use crate::{datapath::map::MapError, reconcile::UdpServing};

/// Walks that were not due take this part of the time at most: endpoints may come and go by the
/// second.
const PART: u32 = 4;

/// How flows are swept.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    /// How long flows may be idle.
    pub timeouts: Timeouts,
    /// How long to wait between walks.
    pub interval: Duration,
    /// Whether sockets are destroyed whose endpoint has stopped serving.
    pub destroy_sockets: bool,
    /// Masquerade ports, the first and the last, that another proxy may have given to connections which
    /// go on; `None` where they don't.
    pub foreign: Option<(u16, u16)>,
}

/// Keeps the sweeper out of the tables while their content is moved: it would take the first half of
/// a flow that arrives for one that has lost the other.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<()>>);

impl Gate {
    /// Waits for the end of a walk, and keeps the next one from beginning until the guard is dropped.
    pub fn close(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent's end of the sweeper.
#[derive(Debug)]
pub struct Sweeper {
    commands: mpsc::Sender<Command>,
}

/// Why flows can't be swept.
#[derive(Debug, thiserror::Error)]
pub enum SweeperError {
    /// A table.
    #[error(transparent)]
    Map(#[from] MapError),
    /// No thread.
    #[error("starting the thread that sweeps flows: {0}")]
    Thread(#[source] io::Error),
}

#[derive(Debug)]
enum Command {
    UdpServing(Vec<UdpServing>),
    ServicesChanged,
    Attached,
    MapsReplaced,
}

impl Sweeper {
    /// Starts sweeping the tables pinned in `maps`. What was found is sent to `found` after each
    /// walk; none begins while `gate` is closed.
    ///
    /// # Errors
    /// See [`SweeperError`].
    pub fn start(
        maps: &Path,
        options: SweepOptions,
        gate: Gate,
        found: channel::Sender<Found>,
    ) -> Result<Self, SweeperError> {
        let mut walker = Walker::open(maps, &options)?;
        let newcomer = Newcomer::new(maps, options.foreign);
        newcomer.look();
        let (commands, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("flow-sweeper".into())
            .spawn(move || {
                run(&mut walker, &newcomer, (options.interval, &gate), &receiver, &found);
            })
            .map_err(SweeperError::Thread)?;
        Ok(Self { commands })
    }

    /// Tells which endpoints serve UDP Service ports now; flows to others are removed at once.
    pub fn udp_serving(&self, serving: Vec<UdpServing>) {
        self.tell(Command::UdpServing(serving));
    }

    /// Tells that the maps of Services have changed.
    pub fn services_changed(&self) {
        self.tell(Command::ServicesChanged);
    }

    /// Tells that programs are attached: from now on nobody else opens connections.
    pub fn attached(&self) {
        self.tell(Command::Attached);
    }

    /// Tells that other maps are pinned under the names of those that are swept.
    pub fn maps_replaced(&self) {
        self.tell(Command::MapsReplaced);
    }

    fn tell(&self, command: Command) {
        // The thread ends with the agent and not before, unless it has panicked, which is logged.
        let _ = self.commands.send(command);
    }
}

/// Looks for connections of another proxy in an agent's first minute: some open until the programs
/// are attached.
#[derive(Debug)]
struct Newcomer {
    maps: PathBuf,
    ports: Option<RangeInclusive<u16>>,
    since: Instant,
}

impl Newcomer {
    const FOR: Duration = Duration::from_secs(60);

    fn new(maps: &Path, ports: Option<(u16, u16)>) -> Self {
        let ports = ports.map(|(first, last)| first..=last);
        Self { maps: maps.into(), ports, since: Instant::now() }
    }

    fn look(&self) {
        let Some(ports) = self.ports.as_ref().filter(|_| self.since.elapsed() < Self::FOR) else {
            return;
        };
        match foreign::adopt(&self.maps, ports) {
            Ok(0) => {}
            Ok(connections) => tracing::info!(
                connections,
                "netfilter masquerades connections: their ports are left to them"
            ),
            Err(error) => tracing::warn!(
                "connections that netfilter masquerades are not known, and one of their ports may be \
                 given to another: {error}"
            ),
        }
    }
}

fn run(
    walker: &mut Walker,
    newcomer: &Newcomer,
    (interval, gate): (Duration, &Gate),
    commands: &mpsc::Receiver<Command>,
    found: &channel::Sender<Found>,
) {
    let mut serving = Serving::default();
    let mut next = Instant::now() + interval;
    // When the next walk may begin that isn't due.
    let mut early = Instant::now();
    loop {
        match commands.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(first) => {
                for command in std::iter::once(first).chain(commands.try_iter()) {
                    match command {
                        Command::ServicesChanged => walker.forget_services(),
                        Command::Attached => {
                            let _closed = gate.close();
                            newcomer.look();
                        }
                        Command::MapsReplaced => {
                            if let Err(error) = walker.open_again() {
                                tracing::warn!(map = error.map, %error, "maps not opened again");
                            }
                        }
                        Command::UdpServing(ports) => {
                            for UdpServing { service, endpoints } in ports {
                                serving.set(service, endpoints);
                            }
                            next = next.min(early);
                        }
                    }
                }
                if next > Instant::now() {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let closed = gate.close();
        let start = Instant::now();
        newcomer.look();
        let result = walker.walk(&serving);
        drop(closed);
        let end = Instant::now();
        (next, early) = (end + interval, end + (end - start) * PART);
        match result {
            Ok(all) => {
                if found.blocking_send(all).is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(map = error.map, %error, "flows could not be swept"),
        }
    }
}
