//! Samples as figures: minimum, median, maximum, and how many there were.

use serde::Serialize;

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

/// What is told of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
}

impl Samples {
    pub(crate) fn push(&mut self, sample: impl Into<Option<f64>>) {
        self.0.extend(sample.into());
    }

    /// None without samples.
    pub(crate) fn figures(&self) -> Option<Figures> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Figures { min, median: f64::midpoint(low, high), max, runs: sorted.len() })
    }
}
