//! What came of every layer: a table for people, and one plain line for whoever counts.

use std::time::Duration;

/// What came of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran.
    Ran {
        /// Tests that passed.
        passed: usize,
        /// Tests that failed.
        failed: usize,
        /// Tests that could not run on this kernel, each with its reason.
        skipped: Vec<String>,
    },
    /// It could not run here, and why.
    Missing(String),
}

impl Outcome {
    /// A check counts as one test.
    pub(super) fn check(success: bool) -> Self {
        Self::Ran {
            passed: usize::from(success),
            failed: usize::from(!success),
            skipped: Vec::new(),
        }
    }
}

/// Every layer so far.
#[derive(Default)]
pub(super) struct Summary {
    layers: Vec<(String, Outcome, Duration)>,
}

impl Summary {
    pub(super) fn add(&mut self, layer: &str, outcome: Outcome, took: Duration) {
        self.layers.push((layer.to_owned(), outcome, took));
    }

    fn sum(&self, count: impl Fn(&Outcome) -> usize) -> usize {
        self.layers.iter().map(|(_, outcome, _)| count(outcome)).sum()
    }

    fn passed(&self) -> usize {
        self.sum(|outcome| if let Outcome::Ran { passed, .. } = outcome { *passed } else { 0 })
    }

    pub(super) fn failed(&self) -> usize {
        self.sum(|outcome| if let Outcome::Ran { failed, .. } = outcome { *failed } else { 0 })
    }

    fn skipped(&self) -> usize {
        self.sum(
            |outcome| if let Outcome::Ran { skipped, .. } = outcome { skipped.len() } else { 0 },
        )
    }

    pub(super) fn missing(&self) -> usize {
        self.sum(|outcome| usize::from(matches!(outcome, Outcome::Missing(_))))
    }

    pub(super) fn print(&self) {
        println!("\n{:<28} {:>7} {:>7} {:>8}", "layer", "passed", "failed", "seconds");
        for (layer, outcome, took) in &self.layers {
            let seconds = took.as_secs_f32();
            match outcome {
                Outcome::Ran { passed, failed, skipped } => {
                    println!("{layer:<28} {passed:>7} {failed:>7} {seconds:>8.1}");
                    for test in skipped {
                        println!("{:<28} SKIPPED {test}", "");
                    }
                }
                Outcome::Missing(reason) => println!("{layer:<28} DID NOT RUN: {reason}"),
            }
        }
        let skipped = self.skipped();
        if skipped == 0 {
            println!("\n{} passed, {} failed", self.passed(), self.failed());
        } else {
            println!("\n{} passed, {} failed, {skipped} skipped", self.passed(), self.failed());
        }
    }
}
