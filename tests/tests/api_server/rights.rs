//! Each right of the agent's role is needed: without it something is refused, and the agent says what.
//! That it needs no other is [`crate::follows`]' business.
//!
//! On a server that can't stream lists: elsewhere a list is a watch, and the right to list is only
//! needed for the uid that an Event carries.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use lab::{
    Addresses, Agent, AgentFlags, Sluice,
    control_plane::{AGENT, AGENT_NAMESPACE, Api, Etcd, Settings, agent_role},
    manifest::{Protocol, service},
};
use serde_json::{Value, json};

use crate::site::{PATIENCE, Site, eventually};

/// A verb on a resource of an API group.
struct Right {
    group: String,
    resource: String,
    verb: String,
}

#[test]
fn each_right_that_is_taken_away_breaks_something_and_is_told() -> Result<()> {
    let site = Site::new(Settings { etcd: Etcd::Old, ..Settings::default() })?;
    let api = site.plane.api();
    // Something that an owner has to be told.
    for number in [11, 12] {
        let object = service(&format!("claims-{number}"), Addresses::cluster_ips(number))
            .external_ips(Addresses::external_ips(11))
            .with("ipFamilyPolicy", "RequireDualStack")
            .port("http", 80, Protocol::Tcp);
        api.create(&[object.object()])?;
        // Who was first is known by the second.
        thread::sleep(Duration::from_millis(1100));
    }
    let rights = rights()?;
    ensure!(rights.len() > 5, "a role of {} rights", rights.len());
    let sluice = Sluice::of_workspace()?;
    let flags = AgentFlags::new().kubeconfig(site.plane.agent()?);
    for right in &rights {
        let Right { group, resource, verb } = right;
        api.apply(&[without(right)?])?;
        eventually(&format!("{verb} {resource} is forbidden"), || {
            for other in &rights {
                let same = std::ptr::eq(right, other);
                if is_allowed(api, other)? == same {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        let mut agent = Agent::launch(&sluice, &site.a, &flags)?;
        // In the server's words.
        let told = format!("cannot {verb} resource \"{resource}\" in API group \"{group}\"");
        agent.wait_for_log(PATIENCE, |line| line.replace('\\', "").contains(&told))?;
        agent.kill()?;
    }
    Ok(())
}

fn rights() -> Result<Vec<Right>> {
    let role = agent_role();
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().context("a role has rules")? {
        let texts = |field: &str| -> Vec<String> {
            let values = rule[field].as_array().into_iter().flatten();
            values.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        };
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                for verb in texts("verbs") {
                    let (group, resource) = (group.clone(), resource.clone());
                    rights.push(Right { group, resource, verb });
                }
            }
        }
    }
    Ok(rights)
}

/// The role without one of its rights.
fn without(right: &Right) -> Result<Value> {
    let mut role = agent_role();
    let rules = role["rules"].as_array_mut().context("a role has rules")?;
    for rule in rules.iter_mut() {
        if rule["apiGroups"] == json!([right.group]) && rule["resources"] == json!([right.resource])
        {
            let verbs = rule["verbs"].as_array_mut().context("a rule has verbs")?;
            verbs.retain(|verb| *verb != right.verb.as_str());
        }
    }
    // A rule without verbs would be refused.
    rules.retain(|rule| rule["verbs"] != json!([]));
    Ok(role)
}

/// Whether the server allows it to the agent: a change of a role takes it a moment.
fn is_allowed(api: &Api, right: &Right) -> Result<bool> {
    let Right { group, resource, verb } = right;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:{AGENT_NAMESPACE}:{AGENT}"),
            "resourceAttributes": { "group": group, "resource": resource, "verb": verb },
        },
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = api.request(Method::POST, path, "application/json", &review)?;
    answer["status"]["allowed"].as_bool().context("no verdict")
}
