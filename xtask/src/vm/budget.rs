//! The committed table of what the verifier may count: rows of a kernel take the place of its old
//! ones. Called by [`super`]; `tests/src/verifier/budget.rs` reads it.

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace;

const FILE: &str = "tests/verifier-budget.txt";

const HEADER: &str = "\
# What the verifier of each kernel counted of each program, when this was written. Instructions and
# stack may grow by 10 %, and then tests/tests/verifier fails; time depends on the machine (most rows:
# QEMU without KVM) and is only recorded. Written by `cargo xtask vm all --update-budget`.
#
# full: the kernel has every helper; least: the programs are told that it has none of those that they
# know a substitute for. A kernel runs the variants that it can.
#
# kernel variant program     instructions  stack  microseconds
";

/// Puts `rows` in the place of those of the same kernels.
pub(super) fn update(rows: &[String]) -> Result<()> {
    let path = workspace::root().join(FILE);
    let old = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    fs::write(&path, merged(&old, rows)).with_context(|| path.display().to_string())?;
    println!("vm: {FILE}: {} rows were written", rows.len());
    Ok(())
}

fn merged(old: &str, rows: &[String]) -> String {
    let replaced: Vec<&str> = rows.iter().filter_map(|row| kernel(row)).collect();
    let keeps = |line: &&str| {
        !line.starts_with('#') && kernel(line).is_some_and(|kernel| !replaced.contains(&kernel))
    };
    let mut lines: Vec<&str> = old.lines().filter(keeps).collect();
    lines.extend(rows.iter().map(String::as_str));
    lines.sort_by_key(|line| {
        let mut words = line.split_whitespace();
        let version = words.next().unwrap_or_default();
        let numbers: Vec<u32> = version.split('.').filter_map(|word| word.parse().ok()).collect();
        (numbers, words.next().unwrap_or_default(), words.next().unwrap_or_default())
    });
    lines.iter().fold(HEADER.to_owned(), |text, line| text + line + "\n")
}

fn kernel(row: &str) -> Option<&str> {
    row.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::{HEADER, merged};

    #[test]
    fn rows_of_a_kernel_replace_its_old_ones_and_no_others() {
        let old = "# people\n6.12 full x 1 1 1\n6.1 full x 1 1 1\n6.1 full gone 1 1 1\n";
        let new = ["6.1 full x 2 2 2".to_owned(), "5.10 least x 3 3 3".to_owned()];
        let expected = "5.10 least x 3 3 3\n6.1 full x 2 2 2\n6.12 full x 1 1 1\n";
        assert_eq!(merged(old, &new), format!("{HEADER}{expected}"));
        assert_eq!(merged(&merged(old, &new), &new), format!("{HEADER}{expected}"));
    }
}
