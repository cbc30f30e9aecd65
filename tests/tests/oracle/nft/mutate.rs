//! Changes to a table, one at a time, each of which changes what becomes of some packet: what shows
//! that a comparison would notice.
//!
//! Left out is what changes nothing (a ClusterIP whose ports are all refused anyway), and SCTP, of
//! which much is the same by rule.

use std::collections::HashMap;

use super::{
    expression::Data,
    rules::{Rules, Statement, Target, Verdict},
};

/// How many elements of a map, rules of a chain and so on are changed, each for itself.
const EACH: usize = 4;

/// The changed tables, with what was changed.
pub(super) fn every(rules: &Rules) -> Vec<(String, Rules)> {
    let mut changed = Vec::new();
    elements(rules, &mut changed);
    verdicts(rules, &mut changed);
    statements(rules, &mut changed);
    changed
}

/// Without an element of a map or set.
fn elements(rules: &Rules, changed: &mut Vec<(String, Rules)>) {
    for (name, map) in &rules.verdict_maps {
        for key in keys(map, |key| name != "no-endpoint-services" || !is_cluster_ip(rules, key)) {
            let mut less = rules.clone();
            less.verdict_maps.entry(name.clone()).or_default().remove(key);
            changed.push((format!("without {key:?} in {name}"), less));
        }
    }
    for name in ["cluster-ips"] {
        let mut elements: Vec<&Data> = rules.sets.get(name).into_iter().flatten().collect();
        elements.sort();
        for element in spread(&elements) {
            let mut less = rules.clone();
            less.sets.entry(name.to_owned()).or_default().remove(element);
            changed.push((format!("without {element:?} in {name}"), less));
        }
    }
}

/// With another verdict for an element.
fn verdicts(rules: &Rules, changed: &mut Vec<(String, Rules)>) {
    for (name, map) in &rules.verdict_maps {
        for key in keys(map, |_| true) {
            let other = if map[key] == Verdict::Drop { Verdict::Reject } else { Verdict::Drop };
            let mut wrong = rules.clone();
            wrong.verdict_maps.entry(name.clone()).or_default().insert(key.clone(), other);
            changed.push((format!("another verdict for {key:?} in {name}"), wrong));
        }
    }
}

/// With another endpoint, or without masquerade for ClusterIPs. (For others much of it is ruled out,
/// see `differences`.)
fn statements(rules: &Rules, changed: &mut Vec<(String, Rules)>) {
    let mut places: Vec<(&String, usize, usize)> = Vec::new();
    for (chain, content) in rules.chains.iter().filter(|(chain, _)| !chain.contains("/sctp/")) {
        for (index, rule) in content.iter().enumerate() {
            for (at, statement) in rule.iter().enumerate() {
                let marks = matches!(statement, Statement::SetMark(_)) && chain == "services";
                if marks || matches!(statement, Statement::Destination(_)) {
                    places.push((chain, index, at));
                }
            }
        }
    }
    places.sort();
    for (chain, index, at) in spread(&places) {
        let mut wrong = rules.clone();
        let Some(rule) = wrong.chains.get_mut(chain).and_then(|rules| rules.get_mut(index)) else {
            continue;
        };
        match &mut rule[at] {
            Statement::Destination(Target::Fixed(data)) => next_port(data),
            Statement::Destination(Target::Picked { data, .. }) => {
                data.values_mut().take(1).for_each(next_port);
            }
            statement => *statement = Statement::Nothing,
        }
        changed.push((format!("statement {at} of rule {index} of {chain}"), wrong));
    }
}

/// Some keys of a map, but for SCTP and what isn't `wanted`.
fn keys(map: &HashMap<Data, Verdict>, wanted: impl Fn(&Data) -> bool) -> Vec<&Data> {
    let mut keys: Vec<&Data> = map.keys().filter(|key| !is_sctp(key) && wanted(key)).collect();
    keys.sort();
    spread(&keys).collect()
}

fn is_sctp(key: &Data) -> bool {
    matches!(key, Data::List(parts) if parts.contains(&Data::Word("sctp".to_owned())))
}

fn is_cluster_ip(rules: &Rules, key: &Data) -> bool {
    matches!(key, Data::List(parts) if rules.sets["cluster-ips"].contains(&parts[0]))
}

fn next_port(endpoint: &mut Data) {
    if let Data::List(parts) = endpoint
        && let Some(Data::Number(port)) = parts.last_mut()
    {
        *port += 1;
    }
}

/// Some of many, from all over.
fn spread<T: Clone>(all: &[T]) -> impl Iterator<Item = T> {
    all.iter().step_by(all.len().div_ceil(EACH).max(1)).cloned()
}
