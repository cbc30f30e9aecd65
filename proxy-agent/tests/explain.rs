//! `sluice explain`, asked and answered: manifests and questions in, answers out. One behaviour a
//! file, in `explain/`.
//!
//! A file begins with what it shows, in words, up to the first line that begins with `===`. Sections
//! follow:
//!
//! - `=== flags FLAGS` flags of every question from here on;
//! - `=== manifests` what the directory says;
//! - `=== ask ENTRY SOURCE DESTINATION [FLAGS]` a question, and the answer: the JSON document, on fewer
//!   lines than it is printed on, then what goes to standard error, then the exit status if it isn't 0.
//!
//! With `EXPLAIN=write` in the environment the answers are written anew; read the difference before
//! you keep it. The example of `docs/explain.md` is asked here too.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use support::written;

/// The fields of an answer.
const FIELDS: [&str; 6] = ["verdict", "reason", "service", "frontend", "endpoints", "steps"];
/// The name of the node that is asked about.
const NODE: &str = "here";

#[test]
fn questions_are_answered() {
    written::compare("explain", "EXPLAIN", answer);
}

#[test]
fn the_example_of_the_manual_is_what_is_printed() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/explain.md");
    let manual = fs::read_to_string(manual).unwrap();
    let block = |language: &str| {
        let (_, rest) = manual.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("web.yaml"), block("yaml")).unwrap();
    let console = block("console");
    let mut lines = console.lines();
    let command = lines.next().unwrap().strip_prefix("$ sluice explain ").unwrap();
    let flags: Vec<&str> = command.split_whitespace().collect();
    let run = |more: &[&str]| {
        let output = sluice(directory.path(), &[flags.as_slice(), more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    assert_eq!(run(&[]), text);
    assert_eq!(run(&["-o", "json"]), block("json"));
}

fn sluice(directory: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("explain")
        .args(flags)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// The file as it would be if every answer in it were right.
fn answer(written: &str) -> String {
    let mut answered = String::new();
    let directory = tempfile::tempdir().unwrap();
    let mut flags = Vec::new();
    for (head, body) in written::sections(written) {
        match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => answered.push_str(body),
            ["flags", given @ ..] => {
                flags = given.to_vec();
                answered.push_str(&format!("=== {head}\n"));
            }
            ["manifests"] => {
                fs::write(directory.path().join("manifests.yaml"), body).unwrap();
                answered.push_str(&format!("=== {head}\n{body}"));
            }
            ["ask", entry, source, to, more @ ..] => {
                let question = ["--from", entry, "--source", source, "--to", to, "-o", "json"];
                let over = ["--manifests", ".", "--node", NODE];
                let output =
                    sluice(directory.path(), &[&over[..], &flags, more, &question].concat());
                answered.push_str(&format!("=== {head}\n{}", shown(&output)));
            }
            _ => panic!("unknown section {head:?}"),
        }
    }
    answered
}

fn shown(output: &Output) -> String {
    let mut shown = String::new();
    if !output.stdout.is_empty() {
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer.as_object().unwrap().len(), FIELDS.len(), "{answer}");
        for field in FIELDS {
            match &answer[field] {
                Value::Array(items) => {
                    let items = items.iter().map(|item| format!("  {item}\n"));
                    shown.push_str(&format!("{field}:\n{}", items.collect::<String>()));
                }
                value => shown.push_str(&format!("{field}: {value}\n")),
            }
        }
    }
    shown.push_str(&String::from_utf8(output.stderr.clone()).unwrap());
    if !output.status.success() {
        shown.push_str(&format!("exit status {}\n", output.status.code().unwrap()));
    }
    shown
}
