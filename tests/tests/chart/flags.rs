//! The chart and the agent's flags: every flag is a value, and what the chart writes is what the
//! agent reads.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use clap::{Args as _, Command};
use proxy_agent::options::Flags;
use serde_json::Value;

use crate::{cases::CASES, helm};

/// Flags that are no values, and why.
const NO_VALUES: &[(&str, &str)] = &[("node-name", "it is the Node's name, from the pod")];

fn flags_of_the_agent() -> BTreeSet<String> {
    Flags::augment_args(Command::new("agent"))
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

fn fields_of_the_schema() -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(helm::chart().join("values.schema.json"))?;
    let schema: Value = serde_json::from_str(&text)?;
    let config = schema["properties"]["config"]["properties"]
        .as_object()
        .context("values.schema.json: no properties of config")?;
    Ok(config.keys().cloned().collect())
}

/// The agent's configuration out of the rendered ConfigMap.
fn configuration(rendered: &str) -> Option<String> {
    let (_, after) = rendered.split_once("  sluice.yaml: |\n")?;
    let lines: Vec<_> = after.lines().map_while(|line| line.strip_prefix("    ")).collect();
    Some(lines.join("\n"))
}

#[test]
fn every_flag_of_the_agent_is_a_value_and_no_value_is_no_flag() -> Result<()> {
    let mut flags = flags_of_the_agent();
    for (name, why) in NO_VALUES {
        assert!(flags.remove(*name), "--{name} is no flag any more ({why})");
    }
    let fields = fields_of_the_schema()?;
    let missing: Vec<_> = flags.difference(&fields).collect();
    assert!(missing.is_empty(), "not in values.schema.json, properties of config: {missing:?}");
    let unknown: Vec<_> = fields.difference(&flags).collect();
    assert!(unknown.is_empty(), "no flags of `sluice agent`: {unknown:?}");
    Ok(())
}

#[test]
fn the_case_of_every_flag_has_every_flag() -> Result<()> {
    let case = CASES.iter().find(|case| case.name == "every-flag").context("no such case")?;
    let configuration = configuration(&case.rendered(&[])?).context("no configuration")?;
    let given: BTreeSet<String> = configuration
        .lines()
        .filter_map(|line| line.split_once(':').map(|(name, _)| name.to_owned()))
        .filter(|name| !name.starts_with([' ', '-']))
        .collect();
    assert_eq!(given, fields_of_the_schema()?);
    Ok(())
}

#[test]
fn the_agent_reads_what_the_chart_writes() -> Result<()> {
    for case in CASES {
        let Some(text) = configuration(&case.rendered(&[])?) else {
            assert_eq!(case.name, "cleanup", "no configuration");
            continue;
        };
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), &text)?;
        let flags = Flags::from_file(file.path()).with_context(|| text.clone())?;
        // What the chart itself knows.
        assert!(flags.cgroup_root.is_some_and(|root| root.starts_with("/run/sluice/cgroup")));
    }
    Ok(())
}
