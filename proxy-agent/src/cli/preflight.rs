//! `sluice preflight`: what this kernel and node offer, what is in the way, and what to do.
//!
//! Takes the agent's flags and its file, since what is in the way depends on what is wanted. JSON: a
//! [`Report`]. Exit status: 0 when the agent can do its work, 2 when it can't, and with `--strict` 1
//! when it works with restrictions.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    CliError,
    output::{Format, show},
};
use crate::{
    options::Flags,
    preflight::{
        Level, Report, Verdict,
        gather::{self, Verifier},
        judge,
    },
};

#[derive(Debug, Args)]
pub(super) struct PreflightArgs {
    /// Exit status 1 if something isn't served, or may collide
    #[arg(long)]
    strict: bool,
    /// How to show it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// YAML file with the agent's flags, as for `sluice agent`; a flag wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Flags of the agent that is meant")]
    flags: Flags,
}

pub(super) fn run(args: PreflightArgs) -> Result<ExitCode, CliError> {
    let file = match &args.config {
        Some(path) => Flags::from_file(path)?,
        None => Flags::default(),
    };
    let options = args.flags.or(file).resolve()?;
    let facts = gather::look(&options, Verifier::Ask);
    let report = Report::new(judge::judge(&facts, &options));
    show(args.output, &report, text)?;
    Ok(match report.verdict {
        Verdict::Unable => ExitCode::from(2),
        Verdict::Restricted if args.strict => ExitCode::from(1),
        Verdict::Restricted | Verdict::Ready => ExitCode::SUCCESS,
    })
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let (level, check) = (finding.level.name(), finding.check.as_str());
        text.push_str(&format!("{level:<8} {check:<18} {}\n", indented(&finding.found)));
        if let Some(then) = &finding.then {
            text.push_str(&format!("{:<27} → {}\n", "", indented(then)));
        }
    }
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count();
    let (warnings, problems) = (count(Level::Warning), count(Level::Problem));
    text.push('\n');
    text.push_str(&match report.verdict {
        Verdict::Ready => "Ready.".to_owned(),
        Verdict::Restricted => format!("It works, with restrictions (warnings: {warnings})."),
        Verdict::Unable => format!("It can't run (problems: {problems}, warnings: {warnings})."),
    });
    text
}

/// Text of several lines, under its first one.
fn indented(text: &str) -> String {
    text.replace('\n', &format!("\n{:<28}", ""))
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::preflight::{Finding, Level, Report};

    #[test]
    fn a_person_reads_level_check_and_what_to_do() {
        let finding = |level, then: Option<&str>| Finding {
            check: "cgroup".into(),
            level,
            found: "a thing".into(),
            then: then.map(str::to_owned),
        };
        let report =
            Report::new(vec![finding(Level::Ok, None), finding(Level::Warning, Some("a cure"))]);
        let text = text(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok       cgroup             a thing");
        assert_eq!(lines[1], "warning  cgroup             a thing");
        assert_eq!(lines[2].trim_start(), "→ a cure");
        assert_eq!(*lines.last().unwrap(), "It works, with restrictions (warnings: 1).");
    }
}
