//! One endpoint changes: from the API call to a connection that reaches the new endpoint, and, for
//! the agent, from the event to the maps.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{proxy::Running, world::World};

/// A change of kube-proxy takes part of a second, or seconds where there is much.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two changes: nothing of the one before is left to do. The second part varies.
const PAUSE: (Duration, u32) = (Duration::from_millis(150), 50);
const SERIES: [&str; 2] =
    ["sluice_programming_duration_seconds_sum", "sluice_programming_duration_seconds_count"];

/// What a change took, in milliseconds.
pub(crate) enum Sample {
    /// From before the API call to the end of the first connection that reached the new endpoint.
    Traffic(f64),
    /// CPU time of the proxy, on average over a run.
    Cpu(f64),
    /// From the event's arrival at the agent to the maps.
    Kernel(f64),
}

pub(crate) fn measure(
    world: &mut World,
    running: &Running,
    count: usize,
    mut note: impl FnMut(Sample),
) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let prober = world.prober(running.kind)?;
    prober.until(world.server(), PATIENCE)?;
    let mut spent = Duration::ZERO;
    for index in 0..count {
        let before = running.cpu()?;
        let (slice, server) = world.swap();
        let called = Instant::now();
        world.plane.api().replace(&[slice])?;
        let answered = prober.until(server, PATIENCE)?;
        note(Sample::Traffic(milliseconds(answered.saturating_duration_since(called))));
        pause(index);
        spent += running.cpu()?.saturating_sub(before);
    }
    let count_f64 = u32::try_from(count).map_or(f64::INFINITY, f64::from);
    note(Sample::Cpu(milliseconds(spent) / count_f64));
    drop(prober);

    // Once more without a client that takes CPU time, and with questions in between.
    let Some(mut before) = running.metrics(world, SERIES)? else { return Ok(()) };
    for index in 0..count {
        let (slice, _) = world.swap();
        world.plane.api().replace(&[slice])?;
        pause(index);
        let Some(now) = running.metrics(world, SERIES)? else { break };
        // Another event of these 150 ms would be averaged with it; there is none.
        let events = now[1] - before[1];
        if events >= 1.0 {
            note(Sample::Kernel((now[0] - before[0]) / events * 1e3));
        }
        before = now;
    }
    Ok(())
}

fn pause(index: usize) {
    // Not in step with anybody's timer.
    let step = u32::try_from(index * 17).unwrap_or_default() % PAUSE.1;
    thread::sleep(PAUSE.0 + Duration::from_millis(step.into()));
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
