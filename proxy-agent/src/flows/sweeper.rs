//! The thread that sweeps the flow tables: every few seconds, and at once when a UDP endpoint has
//! stopped serving.
//!
//! A walk through full tables takes longer than a change of a Service may wait, so it has a thread
//! of its own. Started by [`crate::agent`]; ends when the agent drops its [`Sweeper`].

use std::{
    io,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use proxy_common::{V4, V6};
use tokio::sync::mpsc as channel;

use super::{
    Timeouts,
    serving::Serving,
    sweep::{Rules, Swept, sweep},
};
use crate::{
    datapath::{map::MapError, tables::Flows},
    host::clock,
    reconcile::{LiveFlows, UdpServing},
};

/// The agent's end of the sweeper.
#[derive(Debug)]
pub struct Sweeper {
    commands: mpsc::Sender<Vec<UdpServing>>,
}

/// Why flows can't be swept.
#[derive(Debug, thiserror::Error)]
pub enum SweeperError {
    /// A flow table.
    #[error(transparent)]
    Map(#[from] MapError),
    /// No thread.
    #[error("starting the thread that sweeps flows: {0}")]
    Thread(#[source] io::Error),
}

struct Tables {
    v4: Flows<V4>,
    v6: Flows<V6>,
}

impl Sweeper {
    /// Starts sweeping the tables pinned in `maps` every `interval`. What lives is sent to `live`
    /// after each walk.
    ///
    /// # Errors
    /// See [`SweeperError`].
    pub fn start(
        maps: &Path,
        timeouts: Timeouts,
        interval: Duration,
        live: channel::Sender<LiveFlows>,
    ) -> Result<Self, SweeperError> {
        let tables = Tables { v4: Flows::open(maps)?, v6: Flows::open(maps)? };
        let (commands, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("flow-sweeper".into())
            .spawn(move || run(&tables, &timeouts, interval, &receiver, &live))
            .map_err(SweeperError::Thread)?;
        Ok(Self { commands })
    }

    /// Tells which endpoints serve UDP Service ports now; flows to others are removed at once.
    pub fn udp_serving(&self, serving: Vec<UdpServing>) {
        // The thread ends with the agent and not before, unless it has panicked, which is logged.
        let _ = self.commands.send(serving);
    }
}

fn run(
    tables: &Tables,
    timeouts: &Timeouts,
    interval: Duration,
    commands: &mpsc::Receiver<Vec<UdpServing>>,
    live: &channel::Sender<LiveFlows>,
) {
    let mut serving = Serving::default();
    let mut next = Instant::now() + interval;
    loop {
        match commands.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(first) => {
                for ports in std::iter::once(first).chain(commands.try_iter()) {
                    for UdpServing { service, endpoints } in ports {
                        serving.set(service, endpoints);
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => next = Instant::now() + interval,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        match walk(tables, timeouts, &serving) {
            Ok((swept, found)) => {
                report(&swept);
                if live.blocking_send(found).is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(map = error.map, %error, "flows could not be swept"),
        }
    }
}

fn walk(
    tables: &Tables,
    timeouts: &Timeouts,
    serving: &Serving,
) -> Result<(Swept, LiveFlows), MapError> {
    let now = clock::now();
    let mut live = LiveFlows { since: now, ..LiveFlows::default() };
    let rules = Rules { timeouts, serving, now };
    let v4 = sweep(&tables.v4, &rules, &mut live)?;
    let v6 = sweep(&tables.v6, &rules, &mut live)?;
    Ok((v4.plus(v6), live))
}

fn report(swept: &Swept) {
    let Swept { live, expired, stale, orphans } = *swept;
    if expired + stale + orphans > 0 {
        tracing::debug!(live, expired, stale, orphans, "flows swept");
    }
}
