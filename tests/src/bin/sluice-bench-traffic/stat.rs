//! How much CPU others took while something was measured: what the machine was busy with, without
//! what the lab took.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

pub(crate) struct Watch {
    started: Instant,
    busy: f64,
    lab: Duration,
}

impl Watch {
    /// `lab` is what the lab has taken so far.
    pub(crate) fn start(lab: Duration) -> Result<Self> {
        Ok(Self { started: Instant::now(), busy: busy()?, lab })
    }

    /// CPUs that others kept busy meanwhile.
    pub(crate) fn others(&self, lab: Duration) -> Result<f64> {
        let lab = lab.saturating_sub(self.lab).as_secs_f64();
        let others = busy()? - self.busy - lab;
        Ok((others / self.started.elapsed().as_secs_f64()).max(0.0))
    }
}

/// Seconds that CPUs were busy or taken by a hypervisor.
fn busy() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks =
        line.split_whitespace().skip(1).map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&field| ticks.get(field)).sum();
    let hertz = f64::from(u32::try_from(rustix::param::clock_ticks_per_second())?);
    Ok(busy / hertz)
}
