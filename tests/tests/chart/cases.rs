//! Each case's objects are those that are written down. A change of the chart shows as a change of
//! these files; `SLUICE_CHART_WRITE=1` writes them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::helm;

/// A directory of `cases`, and the Kubernetes that it is rendered for.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kubernetes: &'static str,
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    Case { name: "defaults", kubernetes: "1.36.0" },
    Case { name: "every-flag", kubernetes: "1.36.0" },
    // AppArmor by annotations.
    Case { name: "locked-down", kubernetes: "1.29.0" },
    Case { name: "node-by-node", kubernetes: "1.36.0" },
    Case { name: "cleanup", kubernetes: "1.36.0" },
    Case { name: "monitored", kubernetes: "1.36.0" },
];

impl Case {
    pub(crate) fn directory(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/cases").join(self.name)
    }

    /// What helm makes of the values, and of more arguments.
    pub(crate) fn rendered(&self, arguments: &[&str]) -> Result<String> {
        let values = self.directory().join("values.yaml");
        let values = values.to_str().context("a path that isn't text")?;
        let arguments: Vec<_> = ["--values", values].iter().chain(arguments).copied().collect();
        helm::template(self.kubernetes, &arguments).with_context(|| format!("case {}", self.name))
    }

    /// The objects that are written down.
    pub(crate) fn expected(&self) -> PathBuf {
        self.directory().join("expected.yaml")
    }
}

#[test]
fn every_directory_of_cases_is_a_case() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/cases");
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut known: Vec<_> = CASES.iter().map(|case| case.name.to_owned()).collect();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn objects_are_those_that_are_written_down() -> Result<()> {
    let mut different = Vec::new();
    for case in CASES {
        let rendered = case.rendered(&[])?;
        if env::var_os("SLUICE_CHART_WRITE").is_some() {
            fs::write(case.expected(), rendered)?;
            continue;
        }
        let expected = fs::read_to_string(case.expected()).unwrap_or_default();
        if let Some(difference) = first_difference(&expected, &rendered) {
            different.push(format!("{}: {difference}", case.name));
        }
    }
    if !different.is_empty() {
        bail!(
            "{}\nIf the chart is right, write the files anew: SLUICE_CHART_WRITE=1 cargo xtask \
             test --layer tests/chart",
            different.join("\n")
        );
    }
    Ok(())
}

/// What `helm install` would say.
fn install(arguments: &[&str]) -> Result<String> {
    helm::helm("install", ["--dry-run=client"].into_iter().chain(arguments.iter().copied()))
}

#[test]
fn the_notes_say_how_to_leave() -> Result<()> {
    let serving = install(&[])?;
    for words in [
        "upgrade sluice CHART --reuse-values --set mode=cleanup --wait --timeout 15m",
        "every Linux node",
    ] {
        assert!(serving.contains(words), "{words}: {serving}");
    }
    let leaving = install(&["--set", "mode=cleanup"])?;
    for words in ["rollout status daemonset/sluice-cleanup", "uninstall sluice"] {
        assert!(leaving.contains(words), "{words}: {leaving}");
    }
    Ok(())
}

/// The first line that differs, as both texts have it.
fn first_difference(expected: &str, rendered: &str) -> Option<String> {
    let mut expected_lines = expected.lines();
    let mut rendered_lines = rendered.lines();
    for number in 1_usize.. {
        match (expected_lines.next(), rendered_lines.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let shown = |line: Option<&str>| line.map_or("(the end)", str::trim).to_owned();
                return Some(format!(
                    "line {number}: written down: {}; rendered: {}",
                    shown(one),
                    shown(other)
                ));
            }
        }
    }
    None
}
