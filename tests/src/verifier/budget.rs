//! What the verifier may count: the committed table, and what exceeds it. Pure.
//!
//! A line is a kernel, a variant, a program, and what was counted: instructions, bytes of stack,
//! microseconds. Time depends on the machine, so it is recorded and never compared. Called by
//! `tests/tests/verifier`, which compares; `cargo xtask vm --update-budget` writes.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result, bail};

use super::{Effort, Variant};

/// By how many per cent a number may have grown.
const GROWTH: u32 = 10;

/// What was counted of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The kernel's version, its first two numbers.
    pub kernel: String,
    /// What the program was told.
    pub variant: Variant,
    /// The program's name.
    pub program: String,
    /// What was counted.
    pub effort: Effort,
}

/// As a line of the table.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, variant, program, effort } = self;
        let Effort { instructions, stack, microseconds } = effort;
        write!(f, "{kernel:<7}{variant:<6} {program:<13} {instructions:>8} {stack:>6}")?;
        write!(f, " {microseconds:>9}")
    }
}

/// A number that has grown too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    row: Row,
    what: &'static str,
    budget: u32,
    counted: u32,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row: Row { kernel, variant, program, .. }, what, budget, counted } = self;
        write!(f, "{program} ({variant}) on Linux {kernel}: {counted} {what}, more than ")?;
        write!(f, "{GROWTH}% above its budget of {budget}")
    }
}

/// The committed table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    rows: BTreeMap<(String, String, String), Effort>,
}

impl Budget {
    /// Reads the table; lines that begin with `#` are for people.
    ///
    /// # Errors
    /// Names the line that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rows = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<_> = line.split_whitespace().collect();
            let [kernel, variant, program, instructions, stack, microseconds] = words[..] else {
                bail!("a line of the budget has not six words: {line:?}");
            };
            let number = |word: &str| word.parse().with_context(|| format!("{word}: {line:?}"));
            let effort = Effort {
                instructions: number(instructions)?,
                stack: number(stack)?,
                microseconds: number(microseconds)?.into(),
            };
            rows.insert((kernel.into(), variant.into(), program.into()), effort);
        }
        Ok(Self { rows })
    }

    /// Whether anything is known of a kernel.
    #[must_use]
    pub fn knows(&self, kernel: &str) -> bool {
        self.rows.keys().any(|(known, ..)| known == kernel)
    }

    /// What of a row exceeds its budget.
    ///
    /// # Errors
    /// When the program has no budget: it was not there when the table was written.
    pub fn excesses(&self, row: &Row) -> Result<Vec<Excess>> {
        let Row { kernel, variant, program, effort } = row;
        let key = (kernel.clone(), variant.to_string(), program.clone());
        let budget = self.rows.get(&key).with_context(|| {
            format!(
                "{program} ({variant}) has no budget on Linux {kernel}: run `cargo xtask vm all \
                 --update-budget`"
            )
        })?;
        let excess = |what, budget: u32, counted: u32| {
            let may = u64::from(budget) * u64::from(100 + GROWTH) / 100;
            (u64::from(counted) > may).then(|| Excess { row: row.clone(), what, budget, counted })
        };
        let instructions = excess("instructions", budget.instructions, effort.instructions);
        let stack = excess("bytes of stack", budget.stack, effort.stack);
        Ok(instructions.into_iter().chain(stack).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Effort, Row, Variant};

    fn row(instructions: u32, stack: u32) -> Row {
        let effort = Effort { instructions, stack, microseconds: 7 };
        Row { kernel: "6.1".into(), variant: Variant::Least, program: "connect4".into(), effort }
    }

    #[test]
    fn a_tenth_more_is_within_the_budget_and_not_a_bit_more() {
        let budget = Budget::parse(&format!("# people\n\n{}\n", row(1000, 100))).unwrap();
        assert_eq!(budget.excesses(&row(1100, 110)).unwrap(), []);
        assert_eq!(budget.excesses(&row(1, 1)).unwrap(), []);
        let excesses = budget.excesses(&row(1101, 111)).unwrap();
        assert_eq!(excesses.len(), 2);
        assert!(excesses[0].to_string().contains("1101 instructions"), "{}", excesses[0]);
    }

    #[test]
    fn a_program_or_kernel_without_a_budget_is_named() {
        let budget = Budget::parse(&row(1000, 100).to_string()).unwrap();
        assert!(budget.knows("6.1") && !budget.knows("6"));
        let other = Row { program: "bind4".into(), ..row(1, 1) };
        assert!(budget.excesses(&other).unwrap_err().to_string().contains("bind4 (least)"));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error = Budget::parse("6.1 full connect4 1 2").unwrap_err();
        assert!(error.to_string().contains("6.1 full connect4 1 2"), "{error}");
        assert!(Budget::parse("6.1 full connect4 1 2 many").is_err());
    }
}
