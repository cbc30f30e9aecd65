//! The kernel takes every program in every variant that it can run, at no more effort than the
//! committed table says. `cargo xtask vm` runs this on the kernels of the matrix.
//!
//! `SLUICE_VERIFIER_ROWS` names a file that the rows are written to.

use std::{env, fs::OpenOptions, io::Write as _};

use anyhow::{Context as _, Result};
use lab::{
    skipped,
    verifier::{Budget, Row, Variant, verify},
};
use proxy_agent::datapath::kernel::Kernel;

const BUDGET: &str = include_str!("../../verifier-budget.txt");
const ROWS: &str = "SLUICE_VERIFIER_ROWS";

/// The first two numbers of the running kernel's version.
fn kernel() -> String {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

/// Every program, verified; a refusal fails the test that asked.
fn verified() -> Result<Vec<Row>> {
    let kernel = kernel();
    let mut rows = Vec::new();
    let mut refusals = Vec::new();
    for variant in Variant::of(&Kernel::probe()) {
        for (program, effort) in verify(variant)? {
            match effort {
                Ok(effort) => {
                    rows.push(Row { kernel: kernel.clone(), variant, program, effort });
                }
                Err(error) => refusals.push(format!("{program} ({variant}): {error:#}")),
            }
        }
    }
    assert!(refusals.is_empty(), "Linux {kernel} refuses:\n{}", refusals.join("\n\n"));
    Ok(rows)
}

#[test]
fn every_program_is_accepted_within_its_budget() {
    let rows = verified().unwrap();
    for row in &rows {
        println!("{row}");
    }
    if let Some(file) = env::var_os(ROWS) {
        // Whoever wants them may be about to raise the budgets.
        record(&file, &rows).unwrap();
        return;
    }
    let budget = Budget::parse(BUDGET).unwrap();
    let kernel = kernel();
    if !budget.knows(&kernel) {
        skipped(&format!(
            "every program is accepted, but tests/verifier-budget.txt has no budgets for Linux \
             {kernel}: `cargo xtask vm --update-budget` writes them"
        ))
        .unwrap();
        return;
    }
    let excesses: Vec<_> = rows.iter().flat_map(|row| budget.excesses(row).unwrap()).collect();
    let lines: Vec<_> = excesses.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{}\nWhere it is worth that: `cargo xtask vm all --update-budget`",
        lines.join("\n")
    );
}

fn record(file: &std::ffi::OsStr, rows: &[Row]) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file).context(ROWS)?;
    for row in rows {
        writeln!(file, "{row}").context(ROWS)?;
    }
    Ok(())
}
