//! docs/reference/chart.md: every value of the chart, of the comments and defaults of values.yaml and
//! the kinds of its schema. What `config` may have is on the page of flags.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use crate::page;

const VALUES: &str = "helm/sluice/values.yaml";
const SCHEMA: &str = "helm/sluice/values.schema.json";

#[test]
fn every_value_of_the_chart_is_on_its_page() {
    let yaml = page::read(VALUES);
    let values: Value = serde_saphyr::from_str(&yaml).unwrap();
    let schema: Value = serde_json::from_str(&page::read(SCHEMA)).unwrap();
    let page = Page { comments: comments(&yaml), schema: &schema };
    let mut text = String::from("| value | kind | default | what it is |\n|---|---|---|---|\n");
    page.rows("", &values, &schema, &mut text);
    page::check("docs/reference/chart.md", &text);
}

struct Page<'a> {
    comments: BTreeMap<String, String>,
    schema: &'a Value,
}

impl Page<'_> {
    fn rows(&self, path: &str, values: &Value, schema: &Value, text: &mut String) {
        let properties = schema["properties"].as_object().expect("an object's properties");
        for (name, kind) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.row(&path, values.get(name), self.resolved(kind), text);
        }
    }

    fn row(&self, path: &str, value: Option<&Value>, schema: &Value, text: &mut String) {
        let comment = self.comments.get(path).map(String::as_str);
        let nested = path != "config" && schema["properties"].is_object();
        if nested {
            if let Some(comment) = comment {
                writeln!(text, "| **`{path}`** | | | {} |", page::cell(comment)).unwrap();
            }
            return self.rows(path, value.unwrap_or(&Value::Null), schema, text);
        }
        let default = match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(empty)) if empty.is_empty() => "`\"\"`".to_owned(),
            Some(Value::String(string)) => format!("`{string}`"),
            Some(value) => format!("`{value}`"),
        };
        let said = comment.or_else(|| schema["description"].as_str()).unwrap_or_default();
        let outer = path.match_indices('.').map(|(end, _)| &path[..end]);
        let explained =
            !said.is_empty() || outer.into_iter().any(|outer| self.comments.contains_key(outer));
        assert!(explained, "{VALUES}: {path} has no comment above it");
        let (kind, said) = (page::cell(&kind(schema)), page::cell(said));
        writeln!(text, "| `{path}` | {kind} | {default} | {said} |").unwrap();
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.schema.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        }
    }
}

fn kind(schema: &Value) -> String {
    let words = |list: &[Value]| -> Vec<String> {
        list.iter().map(|word| word.as_str().map_or(word.to_string(), str::to_owned)).collect()
    };
    if let Some(list) = schema["enum"].as_array() {
        return words(list).iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    match &schema["type"] {
        Value::Array(list) => words(list).join(" or "),
        Value::String(word) => word.clone(),
        _ => String::new(),
    }
}

/// The comments that stand right above a value, by its path. An example, to its end, stays there.
fn comments(yaml: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut above = Vec::new();
    let mut keys: Vec<(usize, &str)> = Vec::new();
    for line in yaml.lines() {
        let bare = line.trim_start();
        if let Some(comment) = bare.strip_prefix('#') {
            above.push(comment.trim());
            continue;
        }
        let indent = line.len() - bare.len();
        let key = bare.split_once(':').map(|(key, _)| key).filter(|_| !bare.starts_with('-'));
        if let Some(key) = key {
            keys.retain(|(outer, _)| *outer < indent);
            keys.push((indent, key));
            let path: Vec<&str> = keys.iter().map(|(_, key)| *key).collect();
            let said: Vec<&str> =
                above.iter().copied().take_while(|line| *line != "Example:").collect();
            if !said.is_empty() {
                found.insert(path.join("."), said.join(" "));
            }
        }
        above.clear();
    }
    found
}

#[test]
fn a_comment_belongs_to_the_value_below_it() {
    let found = comments(
        "# The file.\n\na:\n  # One\n  # two.\n  b: 1\n  c: 2\n# D.\n# Example:\n#   d: 1\nd: 3\n",
    );
    let expected = [("a.b", "One two."), ("d", "D.")];
    assert_eq!(
        found,
        expected.map(|(path, said)| (path.to_owned(), said.to_owned())).into_iter().collect()
    );
}
