//! Draining: a node that goes back to another proxy takes no new connections, and serves those that
//! the packet path has until they are over.
//!
//! Frontends are taken away and flows stay: a flow outlives its Service anyway. What then opens a
//! connection to a Service's address goes on untouched, to the proxy that stands behind. Called by
//! [`crate::cli::cleanup`], with the lock of the pin path and without an agent; the rest of a
//! cleanup follows.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use proxy_common::{V4, V6};
use tokio::sync::mpsc;

use super::{
    Timeouts, foreign,
    sweeper::{Gate, SweepOptions, Sweeper, SweeperError},
};
use crate::datapath::{
    map::MapError,
    tables::{self, Family, Flows, Services},
};

/// How often flows are swept and counted.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a connection is kept that both ends have closed: the last packets may be sent again.
const OVER: Duration = Duration::from_secs(10);
/// How often ports of ours are reserved again: a connection of the other proxy's that had one may have
/// ended.
const RESERVE: Duration = Duration::from_secs(2);
/// How often the time is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Takes every frontend of the maps in `maps` away, and waits until no flow is left, at most for
/// `patience`. How many are left then. `count` is told how many there are, whenever that changes.
///
/// # Errors
/// See [`SweeperError`].
pub fn drain(
    maps: &Path,
    patience: Duration,
    mut count: impl FnMut(usize),
) -> Result<usize, SweeperError> {
    let start = Instant::now();
    // Once more afterwards: some open meanwhile.
    reserve(maps, patience);
    forget_service_cidrs(maps)?;
    forget_frontends::<V4>(maps)?;
    forget_frontends::<V6>(maps)?;
    reserve(maps, patience);
    foreign::release(&Flows::<V4>::open(maps)?)?;
    foreign::release(&Flows::<V6>::open(maps)?)?;
    let options = SweepOptions {
        timeouts: timeouts(),
        interval: SWEEP,
        destroy_sockets: false,
        foreign: None,
    };
    let (found_in, mut found) = mpsc::channel(1);
    let _sweeper = Sweeper::start(maps, options, Gate::default(), found_in)?;
    let mut left = usize::MAX;
    let mut reserved = Instant::now();
    while start.elapsed() < patience {
        thread::sleep(TICK);
        if reserved.elapsed() >= RESERVE {
            reserve(maps, patience);
            reserved = Instant::now();
        }
        let Ok(now) = found.try_recv() else { continue };
        if now.flows != left {
            left = now.flows;
            count(left);
        }
        if left == 0 {
            break;
        }
    }
    Ok(if left == usize::MAX { 0 } else { left })
}

/// The proxy that follows is not to give ports of ours away. Without that, some of its connections may
/// have to be tried again.
fn reserve(maps: &Path, time: Duration) {
    if let Err(error) = foreign::reserve(maps, time) {
        tracing::warn!("netfilter doesn't know which masquerade ports are in use: {error}");
    }
}

/// Connections that are over needn't be waited for as long as in service: their ports are given to
/// nobody else.
fn timeouts() -> Timeouts {
    Timeouts { tcp_time_wait: OVER, tcp_reset: OVER, ..Timeouts::default() }
}

/// Addresses that nobody owns are not ours to drop any more.
fn forget_service_cidrs(maps: &Path) -> Result<(), MapError> {
    let map = tables::config(maps)?;
    if let Some(mut config) = map.get(&0)? {
        (config.service_cidr_count_v4, config.service_cidr_count_v6) = (0, 0);
        map.put(&0, &config)?;
    }
    Ok(())
}

fn forget_frontends<A: Family>(maps: &Path) -> Result<(), MapError> {
    let frontends = Services::<A>::open(maps)?.frontends;
    let (markers, others): (Vec<_>, Vec<_>) =
        frontends.entries()?.into_iter().map(|(key, _)| key).partition(|key| key.is_marker());
    // A ClusterIP's marker goes first: without the frontends and with it, packets would be refused.
    frontends.delete_all(&markers)?;
    frontends.delete_all(&others)?;
    Ok(())
}
