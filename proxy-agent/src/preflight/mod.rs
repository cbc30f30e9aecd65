//! What this kernel and node offer, what is in the way, and what will be used instead.
//!
//! [`gather`] looks and judges nothing; [`judge`] makes [`Finding`]s of [`Facts`] and is pure; both
//! change nothing on the machine. Called by [`crate::cli`] (`sluice preflight`) and by
//! [`crate::agent`], which looks at everything but the verifier while it starts.
//!
//! | file | what |
//! |---|---|
//! | `facts.rs` | what was found, as plain data |
//! | `gather/` | the edges: `/proc`, bpf(2), netlink |
//! | `judge/` | facts and options to findings, one subject a file |

pub mod facts;
pub mod gather;
pub mod judge;

use serde::{Deserialize, Serialize};

pub use self::facts::Facts;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth to know; nothing is lacking.
    Note,
    /// Something isn't served, or may collide.
    Warning,
    /// The agent can't do its work.
    Problem,
}

impl Level {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: a name that stays (docs/preflight.md).
    pub check: String,
    /// How much it matters.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What will be used instead, or what to do; null where there is nothing to say.
    pub then: Option<String>,
}

impl Finding {
    fn new(check: &str, level: Level, found: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level, found: found.into(), then: None }
    }

    fn ok(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found)
    }

    fn note(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Note, found)
    }

    fn warning(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Warning, found)
    }

    fn problem(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Problem, found)
    }

    fn then(mut self, then: impl Into<String>) -> Self {
        self.then = Some(then.into());
        self
    }

    /// Both in one line.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.then {
            Some(then) => format!("{}: {then}", self.found),
            None => self.found.clone(),
        }
    }
}

/// What comes of all findings together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is in the way.
    Ready,
    /// It works, without something that a warning names.
    Restricted,
    /// The agent can't do its work.
    Unable,
}

/// Every finding, and what comes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What comes of them.
    pub verdict: Verdict,
    /// Each of them.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of these findings.
    #[must_use]
    pub fn new(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.level).max();
        let verdict = match worst {
            Some(Level::Problem) => Verdict::Unable,
            Some(Level::Warning) => Verdict::Restricted,
            _ => Verdict::Ready,
        };
        Self { verdict, findings }
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, Report, Verdict};

    #[test]
    fn the_worst_finding_decides() {
        let (ok, note) = (Finding::ok("a", "x"), Finding::note("a", "x"));
        let (warning, problem) = (Finding::warning("a", "x"), Finding::problem("a", "x"));
        let verdict = |findings: &[&Finding]| {
            Report::new(findings.iter().map(|&finding| finding.clone()).collect()).verdict
        };
        assert_eq!(verdict(&[&ok, &note]), Verdict::Ready);
        assert_eq!(verdict(&[&warning, &ok]), Verdict::Restricted);
        assert_eq!(verdict(&[&problem, &warning]), Verdict::Unable);
    }
}
