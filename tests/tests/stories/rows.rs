//! Rows of the tables of what a Service does, each a function of a world that several rows share.
//!
//! A cluster with an agent takes a second to set up, a row milliseconds. So a test sets up one world
//! and checks all rows in it; each row is named after what it shows, and a row that fails doesn't
//! hide the others.

pub(crate) mod bulk;
pub(crate) mod cluster_ip;
pub(crate) mod frontends;
pub(crate) mod never;
pub(crate) mod paths;
pub(crate) mod policies;
pub(crate) mod ranges;
pub(crate) mod sources;
pub(crate) mod verdicts;

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use anyhow::{Result, anyhow, bail};

/// Names the rows to check, by a part of their name; without it all are checked.
const FILTER: &str = "SLUICE_LAB_ROW";

/// A row and its name.
pub(crate) type Row<W> = (&'static str, fn(&W) -> Result<()>);

/// Declares the rows of a module, for a kind of world.
macro_rules! rows {
    ($world:ty: $($row:ident),* $(,)?) => {
        pub(crate) const ROWS: &[$crate::rows::Row<$world>] = &[$((stringify!($row), $row)),*];
    };
}
pub(crate) use rows;

/// Checks every row, also behind one that fails.
pub(crate) fn check<W>(world: &W, groups: &[&[Row<W>]]) -> Result<()> {
    let filter = env::var(FILTER).unwrap_or_default();
    let rows = groups.iter().copied().flatten().filter(|(name, _)| name.contains(&filter));
    let mut failures = Vec::new();
    for (name, row) in rows {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| row(world)))
            .unwrap_or_else(|_| Err(anyhow!("it panicked, see above")));
        let took = start.elapsed().as_millis();
        match outcome {
            Ok(()) => println!("row {name}: ok, {took} ms"),
            Err(error) => {
                println!("row {name}: FAILED, {took} ms: {error:#}");
                failures.push(*name);
            }
        }
    }
    if !failures.is_empty() {
        bail!("rows that don't hold: {}", failures.join(", "));
    }
    Ok(())
}
