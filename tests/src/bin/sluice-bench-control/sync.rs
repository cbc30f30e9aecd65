//! A full sync: from the start of a proxy that finds nothing to all of it being served.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Agent, AgentFlags, Node};

use crate::{
    proxy::{Kind, Running},
    world::World,
};

/// The first answer may take kube-proxy minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a full sync took.
pub(crate) struct Sample {
    /// Seconds from the start to the first connection that is answered. kube-proxy writes all rules
    /// at once, so all Services are.
    pub(crate) first_answer: f64,
    /// Seconds until the agent has said that everything is in place.
    pub(crate) ready: Option<f64>,
    /// CPU seconds until it was idle, with programs that it ran.
    pub(crate) cpu: f64,
    /// Resident memory in MiB when it was idle.
    pub(crate) memory: f64,
    /// And at most.
    pub(crate) peak: f64,
    /// Elements of maps that were written.
    pub(crate) writes: Option<f64>,
}

/// A proxy that is in step, and what that took.
pub(crate) struct Started {
    pub(crate) running: Running,
    pub(crate) sample: Sample,
}

pub(crate) fn measure(world: &World, kind: Kind) -> Result<Started> {
    let prober = world.prober(kind)?;
    let mut running = kind.start(world)?;
    // Fails at once where the agent has ended.
    let ready = running.until_ready()?;
    let answered: Instant = prober.until(world.server(), PATIENCE)?;
    drop(prober);
    running.until_idle()?;
    let cpu = running.cpu()?;
    let (memory, peak) = running.memory()?;
    let writes = running.metrics(world, ["sluice_map_writes_total"])?;
    let sample = Sample {
        first_answer: answered.saturating_duration_since(running.started).as_secs_f64(),
        ready: ready.map(|ready| ready.as_secs_f64()),
        cpu: cpu.as_secs_f64(),
        memory,
        peak,
        writes: writes.map(|[writes]| writes),
    };
    Ok(Started { running, sample })
}

/// An agent on `node`, where nothing is installed, once everything is in place.
pub(crate) fn start_fresh(world: &World, node: &Node) -> Result<Agent> {
    let flags = AgentFlags::new().kubeconfig(world.plane.agent()?);
    Agent::start_by(&world.sluice, node, &flags)
}
