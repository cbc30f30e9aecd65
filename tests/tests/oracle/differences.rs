//! Where Sluice is meant to answer otherwise than kube-proxy: each a rule that says what becomes of
//! kube-proxy's answer. What no rule accounts for is a failure.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;

use crate::{
    questions::{About, Kind, is_here},
    verdict::{Outcome, Outcomes, Place, Question, Transport},
};

/// A rule by which answers differ (SEMANTICS names the section it is from).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// §1: a Service with the label of what no proxy serves isn't served; kube-proxy looks at
    /// EndpointSlices only.
    LabelledHeadless,
    /// §2, better: NodePorts serve processes of the node on 127.0.0.1 and ::1 too.
    NodePortsOnLoopback,
    /// §5: a process of the node connects to the endpoint as the kernel routes it; what kube-proxy
    /// has to masquerade comes out with an address of the node all the same.
    NodeAsRouted,
    /// §5, better: an endpoint on this node sees an outside client's address.
    LocalEndpointsSeeTheClient,
    /// §5, better: an endpoint sees the address of a pod of this node, but for its own.
    PodsKeepTheirAddress,
    /// A limit of the packet path: an SCTP packet's checksum covers its ports, and only the address
    /// is rewritten. What would go to an endpoint of another port is dropped, and the agent says so.
    SctpKeepsItsPort,
    /// A limit of the socket path: the kernel has no hook for the SCTP of its own processes.
    NoSctpForTheNode,
}

/// Asks kube-proxy.
type Ask<'a> = dyn Fn(&Question) -> Result<Outcomes> + 'a;

/// What Sluice should answer, by what kube-proxy answers and the rules, and which rules made a
/// difference.
pub(crate) fn expected(
    question: &Question,
    about: &About,
    node: IpAddr,
    masquerade_all: bool,
    ask: &Ask<'_>,
) -> Result<(Outcomes, Vec<Rule>)> {
    let mut answer = ask(question)?;
    let mut rules = Vec::new();
    let mut now = |rule: Rule, changed: Outcomes, answer: &mut Outcomes| {
        if changed != *answer {
            rules.push(rule);
            *answer = changed;
        }
    };
    if question.transport == Transport::Sctp && question.place == Place::Node {
        now(Rule::NoSctpForTheNode, Outcomes::from([Outcome::Untouched]), &mut answer);
        return Ok((answer, rules));
    }
    if about.labelled_headless {
        let unserved = match about.kind {
            Kind::ClusterIp => Outcome::Dropped,
            Kind::External | Kind::NodePort | Kind::Loopback => Outcome::Untouched,
        };
        now(Rule::LabelledHeadless, Outcomes::from([unserved]), &mut answer);
        return Ok((answer, rules));
    }
    if about.kind == Kind::Loopback {
        let mut at_node = *question;
        at_node.to.set_ip(node);
        at_node.source = node;
        now(Rule::NodePortsOnLoopback, ask(&at_node)?, &mut answer);
    }
    let kept = |answer: &Outcomes, keeps: &dyn Fn(IpAddr) -> bool| -> Outcomes {
        let outcomes = answer.iter().map(|outcome| match *outcome {
            Outcome::Endpoint { address, .. } if keeps(address.ip()) => {
                Outcome::Endpoint { address, masqueraded: false }
            }
            other => other,
        });
        outcomes.collect()
    };
    match question.place {
        Place::Node => now(Rule::NodeAsRouted, kept(&answer, &|_| true), &mut answer),
        Place::Outside if !(masquerade_all && about.kind == Kind::ClusterIp) => {
            now(Rule::LocalEndpointsSeeTheClient, kept(&answer, &is_here), &mut answer);
        }
        Place::Pod if about.kind != Kind::ClusterIp => {
            let other = |endpoint| endpoint != question.source;
            now(Rule::PodsKeepTheirAddress, kept(&answer, &other), &mut answer);
        }
        Place::Outside | Place::Pod => {}
    }
    if question.transport == Transport::Sctp {
        let reached = |outcome: &Outcome| match outcome {
            Outcome::Endpoint { address, .. } => address.port() == question.to.port(),
            _ => true,
        };
        let mut left: Outcomes = answer.iter().copied().filter(reached).collect();
        if left.is_empty() {
            left.insert(Outcome::Dropped);
        }
        now(Rule::SctpKeepsItsPort, left, &mut answer);
    }
    Ok((answer, rules))
}

/// How often each rule made a difference.
pub(crate) type Tally = BTreeMap<Rule, usize>;
