//! Commands of `sluice`, `cargo xtask` and `helm`: the subcommand exists, and takes these flags.
//!
//! The program itself is asked, by the same words and `--help`; nothing is done then.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lab::Sluice;

use crate::{chart, document};

/// Words that stand for something of the reader's.
const OPEN: char = '…';

#[test]
fn every_command_of_sluice_has_its_subcommand_and_flags() -> Result<()> {
    let mut asked = Asked::new(Sluice::of_workspace()?.program().to_owned());
    for document in document::all()? {
        for typed in document.typed()? {
            if let Some(words) = of_sluice(&typed.words) {
                asked.check(&words, &typed.at)?;
            }
        }
        for text in document.quoted("sluice ") {
            let words = shlex::split(&text).with_context(|| text.clone())?;
            asked.check(&words[1..], &format!("{}: `{text}`", document.name))?;
        }
    }
    ensure!(asked.count > 40, "only {} commands were found", asked.count);
    Ok(())
}

#[test]
fn every_command_of_cargo_xtask_has_its_subcommand_and_flags() -> Result<()> {
    let mut asked = Asked::new(xtask()?);
    for document in document::all()? {
        for typed in document.typed()? {
            match typed.words.as_slice() {
                [cargo, xtask, words @ ..] if cargo == "cargo" && xtask == "xtask" => {
                    check_xtask(&mut asked, words, &typed.at)?;
                }
                [cargo, ..] => ensure!(cargo != "cargo", "{}: only xtask is known here", typed.at),
                [] => {}
            }
        }
        for text in document.quoted("cargo xtask ") {
            let words = shlex::split(&text).with_context(|| text.clone())?;
            check_xtask(&mut asked, &words[2..], &format!("{}: `{text}`", document.name))?;
        }
    }
    ensure!(asked.count > 10, "only {} commands were found", asked.count);
    Ok(())
}

#[test]
fn every_command_of_helm_has_its_subcommand_and_flags() -> Result<()> {
    for document in document::all()? {
        for typed in document.typed()?.iter().filter(|typed| typed.words[0] == "helm") {
            let output = chart::helm()?.args(&typed.words[1..]).arg("--help").output()?;
            ensure!(
                output.status.success(),
                "{}: {}",
                typed.at,
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    Ok(())
}

/// Words of `cargo xtask`. `bench NAME` builds a program and hands it the rest, `--help` too, so that
/// only its name is asked about.
fn check_xtask(asked: &mut Asked, words: &[String], at: &str) -> Result<()> {
    match words {
        [bench, name, ..] if bench == "bench" && stands_for_others(name) => {
            asked.check(&words[..1], at)
        }
        [bench, name, ..] if bench == "bench" && !name.starts_with("--") => {
            asked.count += 1;
            let output = Command::new(&asked.program).args(["bench", "help", name]).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{at}: {said}");
            Ok(())
        }
        _ => asked.check(words, at),
    }
}

/// What `sluice` is given, where a command is it, or hands it over.
fn of_sluice(words: &[String]) -> Option<Vec<String>> {
    let after = |separator: &str| {
        let at = words.iter().position(|word| word == separator)?;
        let rest = words.get(at + 1..)?;
        (rest.first()? == "sluice").then(|| rest[1..].to_vec())
    };
    match words.first()?.as_str() {
        "sluice" => Some(words[1..].to_vec()),
        "kubectl" => after("--"),
        "nsenter" => {
            let at = words.iter().position(|word| word == "sluice")?;
            Some(words[at + 1..].to_vec())
        }
        _ => None,
    }
}

/// A program, and what it has said about its subcommands.
struct Asked {
    program: PathBuf,
    helps: BTreeMap<String, String>,
    count: usize,
}

impl Asked {
    fn new(program: PathBuf) -> Self {
        Self { program, helps: BTreeMap::new(), count: 0 }
    }

    fn check(&mut self, words: &[String], at: &str) -> Result<()> {
        self.count += 1;
        let Some(subcommand) = words.first().filter(|word| !stands_for_others(word)) else {
            return Ok(());
        };
        let words: Vec<&str> = words.iter().map(|word| word.trim_matches(['[', ']'])).collect();
        // `--flag` at the end stands for the flag with any value.
        let open = words.len() > 1 && words.last().is_some_and(|last| last.starts_with("--"));
        if !open && !words.iter().any(|word| word.contains(OPEN)) {
            let output = Command::new(&self.program).args(words).arg("--help").output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{at}: {said}");
            return Ok(());
        }
        // Values are left open: what is left are the names.
        let program = &self.program;
        if !self.helps.contains_key(subcommand) {
            let output = Command::new(program).args([subcommand, "--help"]).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{at}: {said}");
            let help = String::from_utf8(output.stdout)?;
            self.helps.insert(subcommand.clone(), help);
        }
        let help = &self.helps[subcommand];
        for word in words.iter().filter(|word| word.starts_with("--")) {
            let flag = word.split_once('=').map_or(*word, |(flag, _)| flag);
            let has = help.split(|c: char| c.is_whitespace() || "[]=,`".contains(c));
            ensure!(has.into_iter().any(|has| has == flag), "{at}: {subcommand} has no {flag}");
        }
        Ok(())
    }
}

/// `COMMAND` and `…`.
fn stands_for_others(word: &str) -> bool {
    word.contains(OPEN) || word.chars().all(|c| c.is_ascii_uppercase())
}

/// The program behind `cargo xtask`, as the run that made this test has made it too.
fn xtask() -> Result<PathBuf> {
    let test = env::current_exe()?;
    let directory = test.parent().and_then(Path::parent).context("no target directory")?;
    let program = directory.join("xtask");
    ensure!(program.exists(), "{}: run `cargo build --package xtask`", program.display());
    Ok(program)
}

#[test]
fn what_is_not_there_is_found() -> Result<()> {
    let mut asked = Asked::new(Sluice::of_workspace()?.program().to_owned());
    let mut check = |text: &str| {
        let words = shlex::split(text).context("no words")?;
        asked.check(&words, "here")
    };
    check("status -o json")?;
    check("explain --from … --to …")?;
    check("COMMAND --help")?;
    for wrong in ["state", "status --nothing", "agent --socket-lb-tcp some", "explain --nothing …"]
    {
        ensure!(check(wrong).is_err(), "{wrong} is taken for a command");
    }
    Ok(())
}
