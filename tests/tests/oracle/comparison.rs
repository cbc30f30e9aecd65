//! The comparison itself.

use std::{
    collections::BTreeSet,
    env,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Addresses, Agent, AgentFlags, Family, Lab, Node, Wiring,
    control_plane::{ControlPlane, KubeProxy, Settings},
    manifest,
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, NODE_PORTS},
    compare::{Difference, answers, differences},
    differences::Tally,
    nft::KubeProxyRules,
    questions::{self, Questions},
    sentinel::Sentinel,
    sluice::SluiceMaps,
    verdict::Outcomes,
};

/// How many states are compared unless `SLUICE_ORACLE_STATES` says otherwise.
const STATES: usize = 60;
/// Prefixes with one of the node's addresses in them.
const NONE_OF_IPV6: &str = "172.18.0.0/24,2001:db8:ffff::/48";
/// How many states are compared where both are configured in another way.
const STATES_OF_VARIATIONS: usize = 6;
/// So many differences are no longer read.
const ENOUGH: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// Both proxies, and what they follow. Fields are dropped in order.
struct Stage {
    _agent: Agent,
    proxy: KubeProxy,
    plane: ControlPlane,
    node: Node,
    _lab: Lab,
    masquerade_all: bool,
    loopback: &'static [Family],
}

/// How both are configured.
#[derive(Debug, Default)]
struct Variation {
    masquerade_all: bool,
    node_port_addresses: Option<&'static str>,
}

impl Variation {
    fn flags(&self) -> AgentFlags {
        let mut flags = AgentFlags::new();
        if self.masquerade_all {
            flags = flags.with("--masquerade-all", "true");
        }
        if let Some(addresses) = self.node_port_addresses {
            flags = flags.with("--node-port-addresses", addresses);
        }
        flags
    }

    /// The families in which some address of the node serves NodePorts.
    fn loopback(&self) -> &'static [Family] {
        if self.node_port_addresses == Some(NONE_OF_IPV6) { &[Family::V4] } else { &Family::BOTH }
    }

    fn configuration(&self) -> Value {
        let mut configuration = json!({});
        if let Some(addresses) = self.node_port_addresses {
            configuration["nodePortAddresses"] = addresses.split(',').collect();
        }
        configuration["nftables"] = json!({
            "minSyncPeriod": "10ms", "syncPeriod": "30s", "masqueradeAll": self.masquerade_all,
        });
        configuration
    }
}

impl Stage {
    /// Starts everything; the Node's object is told too.
    fn set(variation: &Variation) -> Result<(Self, Value)> {
        let lab = Lab::new()?;
        let node = lab.node("node-a", Wiring::Ptp)?;
        let range = format!("{}-{}", NODE_PORTS.start(), NODE_PORTS.end());
        let flags_of_server = vec![format!("--service-node-port-range={range}")];
        let settings = Settings { flags: flags_of_server, ..Settings::default() };
        let plane = ControlPlane::start(&lab, settings)?;
        let mut object = manifest::node("node-a", &[]);
        plane.api().create(std::slice::from_ref(&object))?;
        let addresses = node.addresses().both();
        let addresses = addresses.map(|it| json!({ "type": "InternalIP", "address": it }));
        object["status"] = json!({ "addresses": addresses });
        plane.api().set_status(std::slice::from_ref(&object))?;
        let proxy = plane.start_kube_proxy(&node, &variation.configuration())?;
        let agent = node.start_agent(&variation.flags().kubeconfig(plane.agent()?))?;
        let &Variation { masquerade_all, .. } = variation;
        let loopback = variation.loopback();
        Ok((
            Self { _agent: agent, proxy, plane, node, _lab: lab, masquerade_all, loopback },
            object,
        ))
    }

    fn rules(&self) -> Result<KubeProxyRules> {
        let node: BTreeSet<IpAddr> = self.node.addresses().both().into();
        KubeProxyRules::read(&self.proxy.rules(Family::V4)?, &self.proxy.rules(Family::V6)?, node)
    }

    /// Waits until both have seen what `sentinel` tells.
    fn wait(&self, sentinel: Sentinel) -> Result<()> {
        let start = Instant::now();
        let seen = |ask: &dyn Fn(&_) -> Result<_>| -> Result<bool> {
            for (question, expected) in sentinel.questions() {
                if ask(&question)? != expected {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let sluice = SluiceMaps::open(&self.node)?;
        let (mut ours, mut theirs) = (false, false);
        while !(ours && theirs) {
            ours = ours || seen(&|question| sluice.answer(question))?;
            // It has no table before its first word.
            theirs = theirs
                || self
                    .rules()
                    .is_ok_and(|rules| seen(&|question| rules.answer(question)).unwrap_or(false));
            if start.elapsed() > PATIENCE {
                bail!(
                    "after {PATIENCE:?} {} not in step with the API server; kube-proxy's log:\n{}",
                    if ours { "kube-proxy is" } else { "sluice is" },
                    self.proxy.log()?
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

fn number(variable: &str, default: usize) -> Result<usize> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}: not a number")),
        Err(_) => Ok(default),
    }
}

/// What was asked about a state, and answered.
struct Asked {
    node: Addresses,
    masquerade_all: bool,
    services: Vec<Value>,
    questions: Questions,
    answers: Vec<Outcomes>,
    rules: KubeProxyRules,
}

impl Stage {
    /// Goes on to the next state of `cluster` and asks both about it.
    fn next(&self, cluster: &mut Cluster<'_>, state: usize) -> Result<Asked> {
        cluster.step()?;
        let sentinel = Sentinel::new(state, cluster.zone(), self.masquerade_all);
        sentinel.tell(self.plane.api(), state == 0)?;
        self.wait(sentinel)?;
        let services = self.plane.api().list("Service")?;
        let questions = questions::about(&services, self.node.addresses(), self.loopback)?;
        let answers = answers(&SluiceMaps::open(&self.node)?, &questions)?;
        Ok(Asked {
            node: self.node.addresses(),
            masquerade_all: self.masquerade_all,
            services,
            questions,
            answers,
            rules: self.rules()?,
        })
    }
}

impl Asked {
    /// Where these rules and Sluice's answers differ without a rule.
    fn differences(&self, rules: &KubeProxyRules, tally: &mut Tally) -> Result<Vec<Difference>> {
        let Self { questions, answers, node, masquerade_all, .. } = self;
        differences(rules, questions, answers, *node, *masquerade_all, tally)
    }
}

/// Compares a number of states, from a seed.
fn compare(variation: &Variation, seed: usize, states: usize) -> Result<()> {
    let (stage, node) = Stage::set(variation)?;
    let mut cluster = Cluster::new(stage.plane.api(), node, u64::try_from(seed)?);
    let mut tally = Tally::new();
    let (mut asked, mut found) = (0, Vec::new());
    for state in 0..states {
        let place = format!("{variation:?}, seed {seed}, state {state}");
        let now = stage.next(&mut cluster, state).with_context(|| place.clone())?;
        asked += now.questions.len();
        let differences = now.differences(&now.rules, &mut tally)?;
        found.extend(differences.iter().map(|it| format!("{place}: {}", it.describe())));
        let concerned: BTreeSet<&String> =
            differences.iter().filter_map(|it| it.service.as_ref()).collect();
        for name in concerned {
            let service = now.services.iter().find(|it| it["metadata"]["name"] == name.as_str());
            for object in service.into_iter().chain(cluster.slices_of(name)) {
                found.push(format!("{place}: {}", trimmed(object)));
            }
        }
        ensure!(found.len() < ENOUGH, "too many differences:\n{}", found.join("\n"));
        if (state + 1) % 100 == 0 {
            println!("{} states, {asked} questions, {} differences", state + 1, found.len());
        }
    }
    println!("{asked} questions about {states} states; answers differ by rule: {tally:?}");
    ensure!(found.is_empty(), "differences:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn sluice_does_what_kube_proxy_does_but_for_the_rules_by_which_it_differs() -> Result<()> {
    let states = number("SLUICE_ORACLE_STATES", STATES)?;
    compare(&Variation::default(), number("SLUICE_ORACLE_SEED", 1)?, states)
}

#[test]
fn so_it_does_when_all_is_masqueraded() -> Result<()> {
    let variation = Variation { masquerade_all: true, ..Variation::default() };
    compare(&variation, number("SLUICE_ORACLE_SEED", 2)?, STATES_OF_VARIATIONS)
}

#[test]
fn so_it_does_when_node_ports_are_served_on_some_addresses() -> Result<()> {
    for node_port_addresses in ["172.18.0.0/24", "primary", NONE_OF_IPV6] {
        let variation =
            Variation { node_port_addresses: Some(node_port_addresses), ..Variation::default() };
        compare(&variation, number("SLUICE_ORACLE_SEED", 3)?, STATES_OF_VARIATIONS)?;
    }
    Ok(())
}

#[test]
fn whatever_is_changed_in_kube_proxys_rules_is_noticed() -> Result<()> {
    let (stage, node) = Stage::set(&Variation::default())?;
    let mut cluster = Cluster::new(stage.plane.api(), node, 2);
    let now = stage.next(&mut cluster, 0)?;
    let mutations = now.rules.mutations();
    let mut unnoticed = Vec::new();
    for (what, changed) in &mutations {
        if now.differences(changed, &mut Tally::new())?.is_empty() {
            unnoticed.push(what.as_str());
        }
    }
    println!("{} changes", mutations.len());
    ensure!(unnoticed.is_empty(), "nobody notices {}", unnoticed.join("\n"));
    Ok(())
}

/// An object without what the server adds.
fn trimmed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| field == "name" || field == "labels");
    }
    object
}
