//! What the chart renders, as far as a kubelet would read it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{archive::strings, helm, machine::Machine};

/// A pod of one of the chart's DaemonSets.
pub(crate) struct Pod {
    spec: Value,
    files: BTreeMap<String, Value>,
}

/// A container of a pod.
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) security: Value,
    pub(crate) mounts: Vec<Mount>,
}

/// Something that is mounted into a container.
pub(crate) struct Mount {
    pub(crate) path: String,
    pub(crate) source: Source,
    pub(crate) is_read_only: bool,
}

/// Where it comes from.
pub(crate) enum Source {
    /// A path on the host, and whether it is made when it is missing.
    Host(String, bool),
    /// Files.
    Files(Value),
}

impl Pod {
    /// The pod that the chart makes of the values for `machine`: objects come from a directory.
    pub(crate) fn render(machine: &Machine<'_>, manifests: &str, more: &[&str]) -> Result<Self> {
        let directory = machine.directory().display();
        let values = json!({
            "config": { "manifests": "/etc/manifests" },
            "host": {
                "runDirectory": format!("{directory}/run"),
                "stateDirectory": format!("{directory}/state"),
            },
            "security": {
                "seccompProfile": { "type": "Localhost", "localhostProfile": "sluice.json" },
            },
            "extraVolumes": [{ "name": "manifests", "hostPath": { "path": manifests } }],
            "extraVolumeMounts": [{ "name": "manifests", "mountPath": "/etc/manifests" }],
        });
        let file = machine.directory().join("values.json");
        std::fs::write(&file, serde_json::to_vec(&values)?)?;
        let file = file.to_str().context("a path that isn't text")?;
        let arguments: Vec<_> = ["--values", file].iter().chain(more).copied().collect();
        let objects = serde_saphyr::from_multiple::<Value>(&helm::template("1.36.0", &arguments)?)?;
        let mut daemon_set = None;
        let mut files = BTreeMap::new();
        for object in objects {
            match object["kind"].as_str() {
                Some("DaemonSet") => daemon_set = Some(object),
                Some("ConfigMap") => {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    files.insert(name.to_owned(), object["data"].clone());
                }
                _ => {}
            }
        }
        let daemon_set = daemon_set.context("the chart renders no DaemonSet")?;
        Ok(Self { spec: daemon_set["spec"]["template"]["spec"].clone(), files })
    }

    /// The container `name`, on the node `node` whose process 1 has its namespaces at `namespaces`.
    pub(crate) fn container(&self, name: &str, machine: &Machine<'_>) -> Result<Container> {
        let containers = ["initContainers", "containers"];
        let spec = containers
            .iter()
            .filter_map(|field| self.spec[field].as_array())
            .flatten()
            .find(|container| container["name"] == name)
            .with_context(|| format!("the pod has no container {name}"))?;
        let variables = spec["env"].as_array().into_iter().flatten();
        let environment: Vec<_> = variables
            .map(|variable| {
                let name = variable["name"].as_str().unwrap_or_default().to_owned();
                let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                    Some("spec.nodeName") => machine.node.name().to_owned(),
                    _ => variable["value"].as_str().unwrap_or_default().to_owned(),
                };
                (name, value)
            })
            .collect();
        let expand = |argument: String| {
            environment.iter().fold(argument, |argument, (name, value)| {
                argument.replace(&format!("$({name})"), value)
            })
        };
        let mounts = spec["volumeMounts"].as_array().into_iter().flatten();
        Ok(Container {
            name: name.to_owned(),
            arguments: strings(&spec["args"]).into_iter().map(expand).collect(),
            security: spec["securityContext"].clone(),
            mounts: mounts.map(|mount| self.mount(mount, machine)).collect::<Result<_>>()?,
            environment,
        })
    }

    fn mount(&self, mount: &Value, machine: &Machine<'_>) -> Result<Mount> {
        let name = &mount["name"];
        let volume = self.spec["volumes"].as_array().into_iter().flatten();
        let volume = volume
            .clone()
            .find(|volume| volume["name"] == *name)
            .with_context(|| format!("the pod has no volume {name}"))?;
        let source = if let Some(path) = volume["hostPath"]["path"].as_str() {
            // This machine's process 1.
            let path = path.replace("/proc/1/ns", &machine.namespaces().display().to_string());
            Source::Host(path, volume["hostPath"]["type"] == "DirectoryOrCreate")
        } else {
            let name = volume["configMap"]["name"].as_str().context("a volume of another kind")?;
            Source::Files(self.files.get(name).context("no such ConfigMap")?.clone())
        };
        Ok(Mount {
            path: mount["mountPath"].as_str().context("no mountPath")?.to_owned(),
            source,
            is_read_only: mount["readOnly"] == true,
        })
    }
}
