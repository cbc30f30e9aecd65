//! From Kubernetes' OpenAPI document to the JSON Schemas that kubeconform reads: one for each kind
//! of object, in which a field that isn't described is an error.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

const REFERENCE: &str = "#/definitions/";

/// Writes a schema for every kind of object in `document`, as `<kind>-<group>-<version>.json`.
pub(crate) fn write_schemas(document: &Path, directory: &Path) -> Result<()> {
    let text = fs::read(document).with_context(|| document.display().to_string())?;
    let mut document: Value = serde_json::from_slice(&text)?;
    let Value::Object(definitions) = document["definitions"].take() else {
        bail!("no definitions");
    };
    let strict: BTreeMap<String, Value> =
        definitions.into_iter().map(|(name, schema)| (name, strict(schema))).collect();
    for (name, schema) in &strict {
        for kind in schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let mut parts = Map::new();
            parts.insert(name.clone(), schema.clone());
            gather(schema, &strict, &mut parts);
            let whole = json!({"$ref": format!("{REFERENCE}{name}"), "definitions": parts});
            fs::write(directory.join(file(kind)), serde_json::to_vec(&whole)?)?;
        }
    }
    Ok(())
}

/// What kubeconform calls it: the kind in lower case, the group up to its first dot, the version.
fn file(kind: &Value) -> String {
    let text = |field: &str| kind[field].as_str().unwrap_or_default().to_lowercase();
    let group = text("group");
    let group = group.split('.').next().filter(|group| !group.is_empty());
    let group = group.map(|group| format!("-{group}")).unwrap_or_default();
    format!("{}{group}-{}.json", text("kind"), text("version"))
}

/// The schema, in which objects have the fields that are described and no other.
fn strict(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        Value::Array(items) => return Value::Array(items.into_iter().map(strict).collect()),
        other => return other,
    };
    // What Kubernetes takes as text or as a number.
    let quantity = schema.get("description").and_then(Value::as_str);
    let quantity = quantity.is_some_and(|text| text.starts_with("Quantity is a fixed-point"));
    if quantity || schema.get("format").is_some_and(|format| format == "int-or-string") {
        return json!({"type": ["string", "number"]});
    }
    let described = schema.contains_key("properties") && schema.get("type").is_some_and(is_object);
    if described && !schema.contains_key("additionalProperties") {
        schema.insert("additionalProperties".into(), false.into());
    }
    Value::Object(schema.into_iter().map(|(name, value)| (name, strict(value))).collect())
}

fn is_object(kind: &Value) -> bool {
    kind == "object"
}

/// Collects what `schema` refers to, and what that refers to.
fn gather(schema: &Value, all: &BTreeMap<String, Value>, parts: &mut Map<String, Value>) {
    match schema {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|name| name.strip_prefix(REFERENCE))
                && let Some(part) = all.get(name)
                && parts.insert(name.into(), part.clone()).is_none()
            {
                gather(part, all, parts);
            }
            fields.values().for_each(|value| gather(value, all, parts));
        }
        Value::Array(items) => items.iter().for_each(|value| gather(value, all, parts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{file, strict};

    #[test]
    fn a_kind_is_filed_under_its_group_and_version() {
        let kind = |group: &str, kind: &str| json!({"group": group, "version": "v1", "kind": kind});
        assert_eq!(file(&kind("", "ConfigMap")), "configmap-v1.json");
        assert_eq!(
            file(&kind("rbac.authorization.k8s.io", "ClusterRole")),
            "clusterrole-rbac-v1.json"
        );
    }

    #[test]
    fn a_field_that_is_not_described_is_an_error() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        assert_eq!(strict(schema)["additionalProperties"], json!(false));
        let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
        assert_eq!(strict(map.clone()), map);
    }
}
