//! docs/reference/flags.md: every flag of the agent, of its help text and the chart's schema.

use std::fmt::Write as _;

use clap::{Arg, Args as _, Command};
use proxy_agent::options::Flags;
use serde_json::Value;

use crate::page;

const SCHEMA: &str = "helm/sluice/values.schema.json";

#[test]
fn every_flag_of_the_agent_is_on_its_page() {
    let schema: Value = serde_json::from_str(&page::read(SCHEMA)).unwrap();
    let values = &schema["properties"]["config"]["properties"];
    let mut text = String::from("| flag | default | chart | what it says |\n|---|---|---|---|\n");
    for argument in Flags::augment_args(Command::new("agent")).get_arguments() {
        row(argument, values, &mut text);
    }
    page::check("docs/reference/flags.md", &text);
}

fn row(argument: &Arg, values: &Value, text: &mut String) {
    let name = argument.get_long().expect("the agent's flags are long");
    let help = argument.get_help().unwrap_or_else(|| panic!("--{name} has no help")).to_string();
    let (what, default) = split(&help);
    let chart = match values.get(name) {
        Some(_) => format!("`config.{name}`"),
        // tests/tests/chart holds that there is no other.
        None => "set by the chart".to_owned(),
    };
    let long = argument.get_long_help().map(ToString::to_string).unwrap_or_default();
    let more = long.strip_prefix(&help).unwrap_or_default().trim();
    let more = if more.is_empty() { String::new() } else { format!(" {}", page::cell(more)) };
    let value = page::cell(&value(argument));
    let what = page::cell(what);
    writeln!(text, "| `--{name} {value}` | {default} | {chart} | {what}.{more} |").unwrap();
}

/// What is given to the flag: one of a few words, or what the help text calls it.
fn value(argument: &Arg) -> String {
    let words: Vec<String> =
        argument.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
    if !words.is_empty() {
        return words.join("|");
    }
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect()
}

/// A help text without its default, and that as a cell.
fn split(help: &str) -> (&str, String) {
    let Some((what, rest)) = help.split_once(" [default: ") else {
        return (help, String::new());
    };
    let default = rest.trim_end_matches(']');
    let literal = !default.contains(' ') && default != "found";
    (what, if literal { format!("`{default}`") } else { page::cell(default) })
}

#[test]
fn a_default_is_taken_out_of_the_help_text() {
    assert_eq!(split("What is it [default: 60s]"), ("What is it", "`60s`".to_owned()));
    assert_eq!(split("What is it [default: found]"), ("What is it", "found".to_owned()));
    assert_eq!(split("What is it"), ("What is it", String::new()));
}
