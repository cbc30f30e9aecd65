//! Commands that no test runs, and why. What they carry of Sluice is looked at all the same: see
//! [`crate::syntax`] and [`crate::chart`].

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::document;

/// By program.
pub(crate) const EXCEPTED: &[(&str, &str)] = &[
    ("alias", "of the shell; what it stands for is looked at"),
    ("apt-get", "installs packages"),
    ("cd", "goes to the clone"),
    ("git", "clones from where the project is published"),
    ("iptables", "a rule for one CNI's nodes"),
    ("kind", "makes a cluster of containers, from images on the net"),
    ("kubectl", "asks a cluster; tests/tests/api_server has a control plane without nodes"),
    ("nsenter", "enters a namespace of the reader's"),
    ("sysctl", "shows settings of the reader's host"),
];

/// Programs whose commands are run, or whose syntax is asked.
pub(crate) const LOOKED_AT: &[&str] = &["bpftool", "cargo", "helm", "sluice"];

#[test]
fn every_command_is_looked_at_or_excepted_and_no_exception_is_for_nothing() -> Result<()> {
    let mut programs = BTreeSet::new();
    for typed in document::all()?.iter().map(document::Document::typed) {
        for typed in typed? {
            let program = typed.words.first().map_or("", String::as_str).to_owned();
            let known = LOOKED_AT.contains(&program.as_str())
                || EXCEPTED.iter().any(|(name, _)| *name == program);
            ensure!(
                known,
                "{}: nothing runs `{}`: run it in tests/tests/docs, or say in EXCEPTED why not",
                typed.at,
                typed.words.join(" ")
            );
            programs.insert(program);
        }
    }
    let unused: Vec<_> = EXCEPTED.iter().filter(|(name, _)| !programs.contains(*name)).collect();
    ensure!(unused.is_empty(), "no document has these any more: {unused:?}");
    Ok(())
}
