//! `cargo xtask tidy`: the rules of the code base that no compiler checks. Also a test, so that
//! `cargo test` knows them too.
//!
//! A rule is a file here with its table at the top; to allow an exception, add a row with the
//! reason. It reads text, not syntax trees: what it can't see, reviewers must.

mod banned;
mod decisions;
mod layers;
mod links;
mod shape;
mod source;
mod unsafe_code;

use std::{fmt, path::Path};

use anyhow::{Result, bail};

use crate::workspace;
use source::Source;

/// A rule that is broken somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    line: usize,
    rule: &'static str,
    /// What is wrong, and what to do.
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, message } = self;
        write!(f, "{file}:{line}: {rule}: {message}")
    }
}

impl Source {
    /// A violation in this file; lines count from 1.
    fn violation(&self, line: usize, rule: &'static str, message: String) -> Violation {
        Violation { file: self.path.clone(), line, rule, message }
    }
}

/// The command.
pub(crate) fn run() -> Result<()> {
    let violations = check(&workspace::root())?;
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        println!("tidy: all rules hold");
        return Ok(());
    }
    bail!("{} violations of the rules of the code base", violations.len())
}

fn check(root: &Path) -> Result<Vec<Violation>> {
    let sources = source::read_all(root)?;
    let mut violations = Vec::new();
    for source in &sources {
        shape::check(source, &mut violations);
        layers::check(source, &mut violations);
        unsafe_code::check(source, &mut violations);
        banned::check(source, &mut violations);
    }
    unsafe_code::check_table(&sources, &mut violations);
    shape::check_table(&sources, &mut violations);
    links::check(root, &mut violations)?;
    decisions::check(root, &mut violations)?;
    violations.sort();
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::{Source, Violation, check};
    use crate::workspace;

    /// No violation.
    pub(super) const NOWHERE: [usize; 0] = [];

    /// The lines in which `rule` finds something, in a file with this path and text.
    pub(super) fn found(
        rule: fn(&Source, &mut Vec<Violation>),
        path: &str,
        text: &str,
    ) -> Vec<usize> {
        let mut violations = Vec::new();
        rule(&Source::new(path, text), &mut violations);
        violations.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn the_workspace_is_tidy() {
        let violations = check(&workspace::root()).unwrap();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
    }
}
