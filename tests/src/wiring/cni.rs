//! Wiring by a real CNI plugin, called as a container runtime calls it (CNI specification 1.0.0,
//! "Section 2: Execution Protocol").

use std::{
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use super::POD_DEVICE;
use crate::{Addresses, Host, Node};

/// Where distributions install plugins.
const PLUGIN_DIRECTORIES: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Runs `plugin` with `ADD` for `pod`.
pub(super) fn add(node: &Node, pod: &Host, plugin: &str) -> Result<Addresses> {
    let program = find(plugin)?;
    let [v4, v6] = node.pod_cidrs();
    let configuration = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "type": plugin,
        "ipMasq": false,
        "bridge": "cni0",
        "isGateway": true,
        "hairpinMode": true,
        "mtu": node.pod_mtu(),
        "ipam": {
            "type": "host-local",
            "dataDir": node.file("-ipam"),
            "ranges": [[{ "subnet": v4 }], [{ "subnet": v6 }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    });
    let mut child = node
        .command(&program)?
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", pod.name())
        .env("CNI_NETNS", pod.namespace().path())
        .env("CNI_IFNAME", POD_DEVICE)
        .env("CNI_PATH", PLUGIN_DIRECTORIES.join(":"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(&serde_json::to_vec(&configuration)?)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let result: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{plugin}: {}", String::from_utf8_lossy(&output.stderr)))?;
    if !output.status.success() {
        bail!("{plugin}: {result}");
    }
    addresses(&result).with_context(|| format!("{plugin} answered {result}"))
}

fn find(plugin: &str) -> Result<PathBuf> {
    PLUGIN_DIRECTORIES.iter().map(|directory| Path::new(directory).join(plugin)).find(|path| path.exists()).ok_or_else(|| {
        anyhow!(
            "no CNI plugin {plugin} in {}: install containernetworking-plugins, or run cargo xtask setup",
            PLUGIN_DIRECTORIES.join(" or ")
        )
    })
}

/// The addresses in a plugin's answer.
fn addresses(result: &Value) -> Result<Addresses> {
    let (mut v4, mut v6) = (None, None);
    for entry in result["ips"].as_array().context("no list `ips`")? {
        let text = entry["address"].as_str().context("an element of `ips` has no `address`")?;
        let (address, _) = text.split_once('/').context("`address` has no prefix length")?;
        match address.parse::<IpAddr>()? {
            IpAddr::V4(address) => v4 = Some(address),
            IpAddr::V6(address) => v6 = Some(address),
        }
    }
    Ok(Addresses { v4: v4.context("no IPv4 address")?, v6: v6.context("no IPv6 address")? })
}
