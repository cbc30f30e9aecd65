//! A storm: so many endpoints change a second, for so long.
//!
//! They are written into etcd, past kube-apiserver's handlers: two CPUs would not do for those and a
//! proxy. kube-apiserver tells of them as of any other.

use std::{
    collections::BTreeMap,
    slice, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::bench::Progress;
use serde_json::Value;

use crate::{
    Plan,
    proxy::{Kind, Running},
    sync,
    world::World,
};

/// How often a piece of the storm comes.
const PERIOD: Duration = Duration::from_millis(50);
/// Changes in one transaction. With one in each, etcd and kube-apiserver come to some 700 a second on two
/// CPUs; with many, kube-apiserver ends watches that can't take so many at once.
const TOGETHER: usize = 4;
/// How often the agent is asked how far it lags behind.
const LOOK: Duration = Duration::from_secs(1);
/// What is left to do afterwards may take kube-proxy long.
const PATIENCE: Duration = Duration::from_secs(600);

/// How a storm went.
pub(crate) struct Sample {
    /// Changes a second that were made.
    pub(crate) rate: f64,
    /// CPUs that the proxy took meanwhile.
    pub(crate) cpus: f64,
    /// Seconds from the last change to the API server's having read it back from etcd, behind all that
    /// the storm had written: no watcher is told before.
    pub(crate) server: f64,
    /// Seconds from the last change to its being served.
    pub(crate) behind: f64,
    /// The largest lag that the agent told of, in seconds.
    pub(crate) lag: Option<f64>,
    /// Resident memory at most, in MiB.
    pub(crate) peak: f64,
    /// Whether the maps say afterwards what they say after a fresh start.
    pub(crate) equal: Option<bool>,
}

pub(crate) fn measure(
    world: &mut World,
    running: &Running,
    plan: &Plan,
    progress: &Progress,
) -> Result<Sample> {
    let piece = (plan.rate / 20).max(1);
    let prober = world.prober(running.kind)?;
    let (started, cpu) = (Instant::now(), running.cpu()?);
    let duration = Duration::from_secs(plan.storm);
    let (mut made, mut lag, mut looked) = (0_u32, None, Instant::now());
    // A generator that is late catches up: the rate holds on average.
    while started.elapsed() < duration {
        let slices: Vec<Value> = (made..made + piece)
            .map(|change| {
                // Every Service has its turn; which one is next can't be guessed by a cache.
                let number = change.wrapping_mul(2_654_435_761) % world.size;
                world.seed.slice(number, change + 1)
            })
            .collect();
        world.plane.store_together(&slices, TOGETHER)?;
        made += piece;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if let Some([now]) = running.metrics(world, ["sluice_lag_seconds"])? {
                lag = Some(now.max(lag.unwrap_or_default()));
            }
        }
        let due = started + PERIOD * (made / piece);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let (took, spent) = (started.elapsed(), running.cpu()?.saturating_sub(cpu));
    progress.step(&format!("{}: until the storm is over", running.kind));
    let (change, answering) = world.swap();
    let called = Instant::now();
    world.plane.api().replace(slice::from_ref(&change))?;
    world.plane.api().until_watched(&change, PATIENCE)?;
    let server = called.elapsed();
    let behind = prober.until(answering, PATIENCE)?.saturating_duration_since(called);
    drop(prober);
    running.until_idle()?;
    let equal = match running.kind {
        Kind::Sluice => Some(as_after_a_fresh_start(world, running)?),
        Kind::Nftables | Kind::Iptables => None,
    };
    Ok(Sample {
        rate: f64::from(made) / took.as_secs_f64(),
        cpus: spent.as_secs_f64() / took.as_secs_f64(),
        server: server.as_secs_f64(),
        behind: behind.as_secs_f64(),
        lag,
        peak: running.memory()?.1,
        equal,
    })
}

/// Whether an agent that starts now, with nothing installed, comes to the same.
fn as_after_a_fresh_start(world: &World, running: &Running) -> Result<bool> {
    let node = &world.place(running.kind)?.node;
    let after = running.services(node)?.context("the agent tells")?;
    let fresh = world.fresh_node();
    let started = sync::start_fresh(world, fresh)?;
    let expected = started.json(fresh, &["services"])?;
    started.kill()?;
    Kind::Sluice.clean_up(world, fresh)?;
    let (after, expected) = (plain(&after)?, plain(&expected)?);
    ensure!(after.len() > usize::try_from(world.size)?, "only {} frontends", after.len());
    let changed = after.iter().filter(|(key, it)| expected.get(*key) != Some(it));
    if let Some((frontend, endpoints)) = changed.clone().next() {
        eprintln!(
            "{} frontends are not as after a fresh start; {frontend}: {endpoints:?}, not {:?}",
            changed.count(),
            expected.get(frontend)
        );
    }
    Ok(after == expected)
}

/// Frontends and their endpoints, without the numbers that an agent gives them.
fn plain(services: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let services = services.as_array().context("services are a list")?;
    let plain = services.iter().map(|service| {
        let endpoints = ["endpoints", "local_endpoints"].into_iter().flat_map(|set| {
            let endpoints = service[set].as_array().into_iter().flatten();
            endpoints
                .map(move |it| format!("{set} {} {} {}", it["address"], it["port"], it["slots"]))
        });
        let mut endpoints: Vec<String> = endpoints.collect();
        endpoints.sort();
        (
            format!("{} {} {}", service["service"], service["frontend"], service["protocol"]),
            endpoints,
        )
    });
    Ok(plain.collect())
}
