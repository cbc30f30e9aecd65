//! What to try while the example stays: command lines to copy.

use std::path::Path;

use lab::{Family, Sluice};

use crate::{
    checks::Protocol,
    stage::{Entrance, Stage},
};

/// Prints them.
pub(crate) fn print(stage: &Stage, sluice: &Sluice) {
    let sluice = sluice.program().display();
    let pins = stage.node.pin_path();
    let pins = pins.display();
    let manifests = stage.lab.manifests();
    let manifests = manifests.display();
    let bpf = stage.node.map_pin("DST_FLOWS_V4");
    let bpf = bpf.display();
    let client = enter(stage.client.namespace().path(), stage.client.processes().path());
    let node = enter(stage.node.namespace().path(), stage.node.processes().path());
    let outside = stage.legacy.host();
    let outside = enter(outside.namespace().path(), outside.processes().path());
    let entrance = stage.entrance(Entrance::NodePort, Protocol::Tcp, Family::V4);
    println!(
        "
It stays until Ctrl-C. In another terminal, as root:

  # be a process of the pod `client`, of the node, and of the outside host
  client() {{ {client}; }}
  node() {{ {node}; }}
  outside() {{ {outside}; }}
  client curl http://10.96.0.10/
  client curl 'http://[fd00:10:96::10]/'
  node curl http://10.96.0.20/
  outside curl http://{entrance}/
  outside curl http://198.51.100.10/

  # what the datapath holds
  {sluice} services --pin-path {pins}
  {sluice} flows --pin-path {pins}
  {sluice} explain --pin-path {pins} --from outside --source 172.18.0.200 --to {entrance}/tcp
  bpftool map dump pinned {bpf}

  # change something; it is served within 100 ms
  $EDITOR {manifests}/greeter.yaml"
    );
}

/// A shell function's body that runs its arguments in a namespace and a cgroup.
fn enter(namespace: &Path, cgroup: &Path) -> String {
    format!(
        "sh -c 'echo $$ > {}/cgroup.procs && exec nsenter --net={} \"$@\"' - \"$@\"",
        cgroup.display(),
        namespace.display()
    )
}
