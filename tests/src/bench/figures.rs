//! Samples as figures: minimum, median, maximum, and how many there were.

use serde::Serialize;

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

/// What is told of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// The least.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The most.
    pub max: f64,
    /// How many there are.
    pub runs: usize,
}

impl Samples {
    /// Takes a sample in, if there is one.
    pub fn push(&mut self, sample: impl Into<Option<f64>>) {
        self.0.extend(sample.into());
    }

    /// None without samples.
    pub fn figures(&self) -> Option<Figures> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Figures { min, median: f64::midpoint(low, high), max, runs: sorted.len() })
    }
}
