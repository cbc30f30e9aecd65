//! What runc is told about a container: what a container runtime of Kubernetes would tell it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    archive::{self, strings},
    helm,
    machine::Machine,
    pod::{Container, Source},
};

/// Makes the bundle of `container` on `machine`: its root directory and `config.json`.
pub(crate) fn make(machine: &Machine<'_>, container: &Container) -> Result<PathBuf> {
    let bundle = machine.directory().join("bundles").join(&container.name);
    if bundle.exists() {
        fs::remove_dir_all(&bundle)?;
    }
    let archive = helm::place("SLUICE_IMAGE")?;
    let image = archive::unpack(&archive, &bundle.join("image"), &bundle.join("rootfs"))?;
    let security = &container.security;
    ensure!(security["privileged"] == false, "{}: privileged", container.name);
    let mut arguments = image.entrypoint;
    arguments.extend(container.arguments.clone());
    let mut environment = image.environment;
    environment.extend(container.environment.iter().map(|(name, value)| format!("{name}={value}")));
    let capabilities = capabilities(security);
    let namespaces = ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let configuration = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": security["runAsUser"], "gid": security["runAsGroup"] },
            "args": arguments,
            "env": environment,
            "cwd": "/",
            "noNewPrivileges": security["allowPrivilegeEscalation"] == false,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
        },
        "root": { "path": "rootfs", "readonly": security["readOnlyRootFilesystem"] },
        "hostname": machine.node.name(),
        "mounts": mounts(container, &bundle)?,
        "linux": {
            // No network namespace: hostNetwork.
            "namespaces": namespaces,
            "cgroupsPath": format!("/{}", container.name),
            "seccomp": seccomp(security)?,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&configuration)?)?;
    Ok(bundle)
}

/// Those that are added; all others are dropped.
fn capabilities(security: &Value) -> Vec<String> {
    assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
    let added = strings(&security["capabilities"]["add"]);
    added.iter().map(|name| format!("CAP_{name}")).collect()
}

/// The profile of the chart; `null` for the runtime's own, which lets through what the container
/// has capabilities for.
fn seccomp(security: &Value) -> Result<Value> {
    let profile = &security["seccompProfile"];
    if profile["type"] != "Localhost" {
        return Ok(Value::Null);
    }
    ensure!(profile["localhostProfile"] == "sluice.json", "{profile}");
    let text = fs::read(helm::chart().join("files/seccomp.json"))?;
    serde_json::from_slice(&text).context("files/seccomp.json")
}

fn mounts(container: &Container, bundle: &Path) -> Result<Vec<Value>> {
    let system = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        system("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    for mount in &container.mounts {
        let source = match &mount.source {
            Source::Host(path, is_made) => {
                if *is_made {
                    fs::create_dir_all(path).with_context(|| path.clone())?;
                }
                path.clone()
            }
            Source::Files(files) => {
                let directory = bundle.join("files").join(mount.path.trim_start_matches('/'));
                fs::create_dir_all(&directory)?;
                for (name, text) in files.as_object().into_iter().flatten() {
                    fs::write(directory.join(name), text.as_str().unwrap_or_default())?;
                }
                directory.display().to_string()
            }
        };
        let access = if mount.is_read_only { "ro" } else { "rw" };
        mounts.push(json!({
            "destination": mount.path, "type": "bind", "source": source,
            "options": ["rbind", "rprivate", access],
        }));
    }
    Ok(mounts)
}
