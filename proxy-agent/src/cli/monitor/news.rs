//! What has happened between two looks at the maps. Pure: two snapshots in, news out.

use std::collections::BTreeMap;

use serde::Serialize;

pub(super) use super::super::flows::Row as Flow;
use crate::cli::{shown::End, status::Count};

/// What tells flows apart: protocol, client, and where the client sent to or what answers.
pub(super) type FlowKey = (String, End, Option<End>, End);

impl Flow {
    pub(super) fn key(flow: &Self) -> FlowKey {
        (flow.protocol.clone(), flow.client, flow.frontend, flow.endpoint)
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) flows: BTreeMap<FlowKey, Flow>,
    /// Always all of them, in one order.
    pub(super) counts: Vec<Count>,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum News {
    /// A flow was opened.
    Opened(Flow),
    /// A flow is in another state.
    Changed(Flow),
    /// A flow is over; it is shown as it was last seen.
    Ended(Flow),
    /// Something was counted.
    Counted {
        /// `event`, `reject` or `drop`.
        kind: &'static str,
        /// The counter.
        name: &'static str,
        /// How often since the last look.
        more: u64,
        /// How often in all.
        count: u64,
    },
}

impl News {
    /// The flow that it is about, if it is about one.
    pub(super) fn flow(&self) -> Option<&Flow> {
        match self {
            Self::Opened(flow) | Self::Changed(flow) | Self::Ended(flow) => Some(flow),
            Self::Counted { .. } => None,
        }
    }
}

/// What happened from `before` to `now`: what ended, what changed, what was opened, what was counted;
/// each in the order of addresses.
pub(super) fn between(before: &Snapshot, now: &Snapshot) -> Vec<News> {
    let mut news = Vec::new();
    for (key, flow) in &before.flows {
        if now.flows.get(key).is_none_or(|later| is_another(flow, later)) {
            news.push(News::Ended(flow.clone()));
        }
    }
    for (key, flow) in &now.flows {
        match before.flows.get(key) {
            Some(earlier) if is_another(earlier, flow) => news.push(News::Opened(flow.clone())),
            Some(earlier) if earlier.state != flow.state => news.push(News::Changed(flow.clone())),
            Some(_) => {}
            None => news.push(News::Opened(flow.clone())),
        }
    }
    for (earlier, count) in before.counts.iter().zip(&now.counts) {
        let more = count.count.wrapping_sub(earlier.count);
        if more > 0 {
            let Count { kind, name, count } = *count;
            news.push(News::Counted { kind, name, more, count });
        }
    }
    news
}

/// Whether `later` is a flow of its own that has the ends of `earlier`: a flow never forgets packets.
fn is_another(earlier: &Flow, later: &Flow) -> bool {
    later.age_seconds < earlier.age_seconds || later.packets.forward < earlier.packets.forward
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::{Flow, News, Snapshot, between};
    use crate::{
        cli::{flows::Ways, shown::End, status::Count},
        flows::pair::State,
    };

    fn end(text: &str) -> End {
        let address: std::net::SocketAddr = text.parse().unwrap();
        End { address: address.ip(), port: address.port() }
    }

    fn flow(client: &str, state: State, age: u32, packets: u64) -> Flow {
        let ways = Ways { forward: packets, reply: packets };
        Flow {
            protocol: "tcp".into(),
            kind: "service",
            service: None,
            service_id: 7,
            client: end(client),
            frontend: Some(end("10.96.0.10:80")),
            endpoint: end("10.1.0.2:8080"),
            source: None,
            masquerade: None,
            state,
            settled: true,
            age_seconds: age,
            idle_seconds: 0,
            expires_seconds: None,
            packets: ways,
            bytes: ways,
        }
    }

    fn snapshot(flows: &[Flow], drops: u64) -> Snapshot {
        Snapshot {
            flows: flows.iter().map(|flow| (Flow::key(flow), flow.clone())).collect(),
            counts: vec![
                Count { kind: "event", name: "flow-opened", count: 3 },
                Count { kind: "drop", name: "source-range", count: drops },
            ],
        }
    }

    #[test]
    fn what_is_as_it_was_is_no_news() {
        let same = flow("10.1.0.1:1000", State::Established, 5, 9);
        let later = flow("10.1.0.1:1000", State::Established, 6, 12);
        assert_eq!(between(&snapshot(&[same], 0), &snapshot(&[later], 0)), []);
    }

    #[test]
    fn flows_end_change_and_open_in_this_order() {
        let old = flow("10.1.0.1:1000", State::Established, 5, 9);
        let [was, is] =
            [State::Established, State::TimeWait].map(|state| flow("10.1.0.1:2000", state, 5, 9));
        let new = flow("10.1.0.1:3000", State::SynReceived, 0, 1);
        let news =
            between(&snapshot(&[old.clone(), was], 0), &snapshot(&[is.clone(), new.clone()], 0));
        assert_eq!(news, [News::Ended(old), News::Changed(is), News::Opened(new)]);
    }

    #[test]
    fn a_port_that_is_used_again_is_another_flow() {
        let first = flow("10.1.0.1:1000", State::Reset, 5, 9);
        for second in [(1, 20), (5, 2)] {
            let second = flow("10.1.0.1:1000", State::Established, second.0, second.1);
            let [before, now] = [&first, &second].map(|flow| snapshot(from_ref(flow), 0));
            let news = between(&before, &now);
            assert_eq!(news, [News::Ended(first.clone()), News::Opened(second)]);
        }
    }

    #[test]
    fn counters_that_moved_say_by_how_much() {
        let news = between(&snapshot(&[], 2), &snapshot(&[], 5));
        let counted = News::Counted { kind: "drop", name: "source-range", more: 3, count: 5 };
        assert_eq!(news, [counted]);
    }
}
