//! Metrics that are read when somebody asks for them: the kernel's counters, how full maps are,
//! what the process takes.
//!
//! Blocks. Called by [`crate::health::servers`], away from everything else.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use proxy_common::{Counter, DropReason, RejectReason};

use crate::{
    datapath::{
        inspect,
        map::{MapError, PerCpuArray},
        pins::Pins,
        tables,
    },
    health::Health,
};

use super::{Metrics, number, process};

/// Counting the elements of large maps takes a moment: it is done no more often than this.
const FILLS: Duration = Duration::from_secs(60);

/// What is remembered between two scrapes. One scrape is done at a time.
#[derive(Debug, Default)]
pub(super) struct Scraper {
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    counters: Option<PerCpuArray<u64>>,
    filled: Option<Instant>,
    troubled: bool,
}

/// Why a part of the metrics is missing.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    /// The counters.
    #[error(transparent)]
    Counters(#[from] MapError),
    /// The maps.
    #[error(transparent)]
    Maps(#[from] io::Error),
}

impl Metrics {
    /// All metrics as of now, as text.
    #[must_use]
    pub fn scrape(&self, pins: &Pins, health: &Health) -> String {
        let mut last = self.all.scraper.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.lag.set(health.lag(Instant::now()).as_secs_f64());
        if let Ok(usage) = process::usage() {
            self.all.memory.set(i64::try_from(usage.memory).unwrap_or(i64::MAX));
            self.all.files.set(number(usage.files));
            self.all.cpu.inc_by((usage.cpu.as_secs_f64() - self.all.cpu.get()).max(0.0));
        }
        if let Err(error) = self.kernel(pins, &mut last)
            && !std::mem::replace(&mut last.troubled, true)
        {
            tracing::warn!("metrics of the maps can't be read: {error}");
        }
        self.text().unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn kernel(&self, pins: &Pins, last: &mut Last) -> Result<(), ScrapeError> {
        if last.counters.is_none() {
            let counters = tables::counters(&pins.maps())?;
            last.counters = Some(counters);
        }
        if let Some(counters) = &last.counters {
            self.counters(counters)?;
        }
        if last.filled.is_none_or(|filled| filled.elapsed() >= FILLS) {
            for fill in inspect::fills(pins)? {
                let capacity = i64::from(fill.max_entries);
                self.all.map_capacity.with_label_values(&[fill.map]).set(capacity);
                if let Some(used) = fill.used {
                    self.all.map_entries.with_label_values(&[fill.map]).set(number(used));
                }
            }
            last.filled = Some(Instant::now());
        }
        Ok(())
    }

    fn counters(&self, counters: &PerCpuArray<u64>) -> Result<(), MapError> {
        let events = Counter::EVENTS.iter().map(|event| (&self.all.datapath_events, *event));
        let rejects = RejectReason::ALL.iter().map(|r| (&self.all.rejected, Counter::Reject(*r)));
        let drops = DropReason::ALL.iter().map(|r| (&self.all.dropped, Counter::Drop(*r)));
        for (family, counter) in events.chain(rejects).chain(drops) {
            let total = counters.sum(counter.index())?;
            let series = family.with_label_values(&[counter.name()]);
            // The kernel's numbers outlive the agent, and only grow.
            series.inc_by(total.saturating_sub(series.get()));
        }
        Ok(())
    }
}
