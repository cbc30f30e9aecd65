//! `sluice explain` beside what really happens: over the maps of a running node, and over the
//! manifests that they were made of.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Bpftool, Family, Host, Sluice, Wiring, manifest::Protocol, probe::Answer};
use serde_json::Value;

use crate::cluster::{Cluster, Exposed, Kind, Path, Shape, tally};

/// The packet path alone serves pods, the socket path alone the node.
fn flags() -> AgentFlags {
    AgentFlags::new().socket_lb_tcp("host").socket_lb_udp("host")
}

/// A cluster whose Service `web` has every kind of frontend and one endpoint on each node.
fn exposed(policy: &str) -> Result<(Cluster, Exposed, lab::Agent)> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let endpoints = [&cluster.near, &cluster.far];
    let web = cluster
        .expose("web", 10, &endpoints, |service| service.with("externalTrafficPolicy", policy))?;
    let agent = cluster.a.start_agent(&flags())?;
    Ok((cluster, web, agent))
}

/// The question, as flags.
fn question(from: &str, source: &Host, family: Family, to: &str) -> Vec<String> {
    let source = source.address(family).to_string();
    ["--from", from, "--source", &source, "--to", to].map(str::to_owned).to_vec()
}

/// The answer over the maps of node `a`.
fn live(cluster: &Cluster, question: &[String]) -> Result<Value> {
    let flags: Vec<&str> = question.iter().map(String::as_str).collect();
    Sluice::of_workspace()?.json(&cluster.a, &[&["explain"], flags.as_slice()].concat())
}

/// The answer over its manifests.
fn computed(cluster: &Cluster, question: &[String]) -> Result<Value> {
    let addresses = cluster.a.addresses().both().map(|address| address.to_string()).join(",");
    let output = cluster
        .a
        .command(Sluice::of_workspace()?.program())?
        .args(["explain", "--node", "node-a", "--node-addresses", &addresses, "-o", "json"])
        .args(["--socket-lb-tcp", "host", "--socket-lb-udp", "host", "--manifests"])
        .arg(cluster.a.manifests())
        .args(question)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Every kind of frontend by every protocol; nobody has SCTP.
fn asked() -> impl Iterator<Item = (Kind, (Protocol, &'static str))> {
    let protocols = [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp"), (Protocol::Tcp, "sctp")];
    Kind::ALL.into_iter().flat_map(move |kind| protocols.map(|protocol| (kind, protocol)))
}

/// Endpoints, and whether each is masqueraded to.
fn endpoints(answer: &Value) -> BTreeSet<(String, bool)> {
    let endpoints = answer["endpoints"].as_array().into_iter().flatten();
    let text = |it: &Value| it["address"].as_str().unwrap_or_default().to_owned();
    endpoints.map(|it| (text(it), it["masquerade"] == true)).collect()
}

#[test]
fn the_maps_of_a_node_explain_the_same_as_its_manifests() -> Result<()> {
    for policy in ["Cluster", "Local"] {
        let (cluster, web, _agent) = exposed(policy)?;
        let counters = Bpftool::dump(&cluster.a.map_pin("COUNTERS"))?;
        for family in Family::BOTH {
            for (from, source) in
                [("pod", &cluster.client), ("outside", &*cluster.b), ("node", &*cluster.a)]
            {
                for (kind, (protocol, name)) in asked() {
                    let to = format!("{}/{name}", web.at(kind, family, protocol));
                    let question = question(from, source, family, &to);
                    let (live, computed) =
                        (live(&cluster, &question)?, computed(&cluster, &question)?);
                    assert_eq!(live, computed, "{policy}: {}", question.join(" "));
                }
            }
        }
        assert_eq!(counters, Bpftool::dump(&cluster.a.map_pin("COUNTERS"))?, "nothing is written");
        let flows = Sluice::of_workspace()?.json(&cluster.a, &["flows"])?;
        assert_eq!(flows, Value::Array(Vec::new()), "nothing is written");
    }
    Ok(())
}

#[test]
fn connections_go_where_explain_says() -> Result<()> {
    for policy in ["Cluster", "Local"] {
        let (cluster, web, _agent) = exposed(policy)?;
        for family in Family::BOTH {
            for (from, client) in
                [("pod", &cluster.client), ("outside", &*cluster.b), ("node", &*cluster.a)]
            {
                // The other node has no route to ClusterIPs.
                let kinds = if from == "outside" { &[Kind::NodePort][..] } else { &Kind::ALL };
                for kind in kinds {
                    let to = web.at(*kind, family, Protocol::Tcp);
                    let question = question(from, client, family, &format!("{to}/tcp"));
                    let answer = live(&cluster, &question)?;
                    let said = endpoints(&answer);
                    let seen = |answer: &Answer| {
                        let kept = answer.client_seen.ip() == client.address(family);
                        (answer.endpoint.to_string(), !kept && from != "node")
                    };
                    let mut went = BTreeSet::new();
                    tally(
                        || {
                            let answer = client.tcp(to).ask()?;
                            went.insert(seen(&answer));
                            Ok(answer)
                        },
                        |_| Ok(()),
                    )
                    .with_context(|| format!("{policy} {from} {kind:?} {family:?}"))?;
                    assert_eq!(went, said, "{policy} {from} {kind:?} {family:?}: {answer:#}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_client_that_stays_with_its_endpoint_is_known() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.expose("web", 10, &cluster.all(), |service| service.affinity(600))?;
    let _agent = cluster.a.start_agent(&flags())?;
    for family in Family::BOTH {
        let to = web.at(Kind::ClusterIp, family, Protocol::Tcp);
        let question = question("pod", &cluster.client, family, &format!("{to}/tcp"));
        let before = live(&cluster, &question)?;
        assert_eq!((&before["reason"], endpoints(&before).len()), (&"cluster-set".into(), 3));
        let went = cluster.client.tcp(to).ask()?.endpoint.to_string();
        let after = live(&cluster, &question)?;
        assert_eq!(after["reason"], "affinity", "{after:#}");
        assert_eq!(endpoints(&after), BTreeSet::from([(went, false)]), "{after:#}");
    }
    Ok(())
}

#[test]
fn a_flow_that_exists_is_told_beside_what_a_new_one_would_do() -> Result<()> {
    let shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    for family in Family::BOTH {
        let to = web.http(family);
        let (conversation, answer) = cluster.client.tcp(to).open()?;
        let to = format!("{to}/tcp");
        let source = answer.local.to_string();
        let question = ["--from", "pod", "--source", &source, "--to", &to].map(str::to_owned);
        let said = live(&cluster, &question)?;
        let steps = said["steps"].to_string();
        let told = format!("exists and leads to {}", answer.endpoint);
        assert!(steps.contains(&told), "{told:?} is not in {said:#}");
        assert_eq!(endpoints(&said).len(), 3, "{said:#}");
        drop(conversation);
    }
    Ok(())
}
