//! What kube-proxy's IPVS mode leaves is removed on request, and what is not its own stays.
//!
//! The mode is on its way out of kube-proxy, so its things are made here as it makes them: a device with
//! the Services' addresses, virtual servers, ipsets, and rules that look into them.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::{Lab, Node, Sluice, Wiring, skipped};
use serde_json::{Value, json};

/// ipvsadm's own words for virtual servers at the Services' addresses.
const SERVERS: [&str; 4] = [
    "-t 10.96.0.10:80",
    "-u 10.96.0.10:53",
    "--sctp-service 10.96.0.10:99",
    "-t [fd00:10:96::a]:80",
];
/// A NodePort's, or anybody's.
const OTHER_SERVER: &str = "-t 192.0.2.1:30080";
const SETS: [&str; 3] = [
    "KUBE-CLUSTER-IP hash:ip,port",
    "KUBE-6-CLUSTER-IP hash:ip,port family inet6",
    "KUBE-NODE-PORT-TCP bitmap:port range 0-65535",
];
const OTHER_SET: &str = "mine hash:ip";
const RULES: [&str; 6] = [
    "-N KUBE-SERVICES",
    "-N KUBE-MARK-MASQ",
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ",
    "-A PREROUTING -j KUBE-SERVICES",
    "-A OUTPUT -p tcp --dport 7 -j ACCEPT",
];

#[test]
fn what_the_ipvs_mode_leaves_is_removed_and_others_stay() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("node-a", Wiring::Ptp)?;
    if let Err(reason) = run(&node, "ipvsadm", "-L -n") {
        return skipped(&format!("no IPVS on this kernel: {reason}"));
    }
    node.namespace().ip("link add kube-ipvs0 type dummy
         address add 10.96.0.10/32 dev kube-ipvs0
         address add fd00:10:96::a/128 dev kube-ipvs0")?;
    for server in SERVERS {
        run(&node, "ipvsadm", &format!("-A {server} -s rr"))?;
    }
    run(&node, "ipvsadm", &format!("-a {} -r 10.244.0.2:8080 -m", SERVERS[0]))?;
    run(&node, "ipvsadm", &format!("-A {OTHER_SERVER} -s rr"))?;
    for set in SETS.iter().chain([&OTHER_SET]) {
        run(&node, "ipset", &format!("create {set}"))?;
    }
    for rule in RULES {
        run(&node, "iptables", &format!("-t nat {rule}"))?;
    }

    let report: Value = serde_json::from_str(&sluice(&node, "cleanup --kube-proxy -o json")?)?;
    println!("{report}");
    ensure!(report["devices"] == json!(["kube-ipvs0"]), "{report}");
    let count = |field: &str| report[field].as_array().map_or(0, Vec::len);
    ensure!(count("servers") == SERVERS.len() && count("sets") == SETS.len(), "{report}");
    ensure!(count("chains") == 2 && report["rules"] == 1, "{report}");
    // Nobody can tell whose it is.
    ensure!(count("left") == 1 && report["left"][0].to_string().contains("192.0.2.1:30080"));

    let servers = run(&node, "ipvsadm", "-S -n")?;
    ensure!(servers.trim() == format!("-A {OTHER_SERVER} -s rr"), "{servers}");
    ensure!(run(&node, "ipset", "list -name")?.trim() == "mine");
    let rules = run(&node, "iptables", "-t nat -S")?;
    ensure!(!rules.contains("KUBE-") && rules.contains("--dport 7 -j ACCEPT"), "{rules}");
    ensure!(node.namespace().ip("link show kube-ipvs0").is_err(), "the device is there");
    let again = sluice(&node, "cleanup --kube-proxy")?;
    ensure!(again.starts_with("Nothing of kube-proxy was there."), "{again}");
    Ok(())
}

fn sluice(node: &Node, arguments: &str) -> Result<String> {
    let program = Sluice::of_workspace()?.program().display().to_string();
    run(node, &program, arguments)
}

/// What `program` writes when it is run on `node` and succeeds.
fn run(node: &Node, program: &str, arguments: &str) -> Result<String> {
    let mut command: Command = node.command(program)?;
    let output = command.args(arguments.split_whitespace()).output().context(program.to_owned())?;
    ensure!(output.status.success(), "{program} {arguments}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}
