//! What the benches wrote down: `target/bench/*.json`, a list of `rows` with a figure each.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

/// A file that a bench writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Bench {
    Packets,
    Traffic,
    ControlPlane,
}

impl Bench {
    pub(super) const ALL: [Self; 3] = [Self::Packets, Self::Traffic, Self::ControlPlane];

    /// The name of its file.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Packets => "packets.json",
            Self::Traffic => "traffic.json",
            Self::ControlPlane => "control-plane.json",
        }
    }
}

/// The rows that a bench wrote.
pub(super) struct Rows(Vec<Value>);

impl Rows {
    #[cfg(test)]
    pub(super) fn new(rows: Vec<Value>) -> Self {
        Self(rows)
    }

    /// No rows where the bench wrote nothing.
    pub(super) fn of(bench: Bench, directory: &Path) -> Result<Self> {
        let path = directory.join(bench.file());
        if !path.exists() {
            return Ok(Self(Vec::new()));
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let report: Value =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let rows = report["rows"].as_array();
        Ok(Self(rows.with_context(|| format!("{} has no rows", path.display()))?.clone()))
    }

    /// The rows whose fields have these values.
    pub(super) fn with<'a>(
        &'a self,
        fields: &'a [(&str, Value)],
    ) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |row| fields.iter().all(|(name, value)| row[*name] == *value))
    }

    /// The numbers of Services in the rows that have these values.
    pub(super) fn sizes(&self, fields: &[(&str, Value)]) -> Vec<u64> {
        let mut sizes: Vec<u64> =
            self.with(fields).filter_map(|row| row["services"].as_u64()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}
