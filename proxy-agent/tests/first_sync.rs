//! A first sync of many Services writes every element of every map once, and the next run writes
//! nothing.

mod support;

use std::collections::BTreeMap;

use proxy_agent::store::{
    Capacity, Failed, FamilyOp, Installed, MapStore, Op, StoreError, memory::MemoryStore,
};
use proxy_common::Address;

use support::agent::Agent;

const SERVICES: u32 = 120;
const ENDPOINTS: u32 = 10;

/// Counts how often each element is written or deleted.
#[derive(Default)]
struct Counting {
    inner: MemoryStore,
    elements: BTreeMap<String, usize>,
    calls: usize,
}

impl MapStore for Counting {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        self.calls += 1;
        for op in ops {
            for element in elements(op) {
                *self.elements.entry(element).or_default() += 1;
            }
        }
        self.inner.apply(ops)
    }

    fn read(&self) -> Result<Installed, StoreError> {
        self.inner.read()
    }
}

/// The elements that an operation writes or deletes.
fn elements(op: &Op) -> Vec<String> {
    let map = op.map();
    match op {
        Op::PutConfig(_) => vec![map.to_owned()],
        Op::PutFilter { word, .. } => vec![format!("{map} {word}")],
        Op::PutSlots { base, backends } => {
            (*base..).zip(backends).map(|(slot, _)| format!("{map} {slot}")).collect()
        }
        Op::PutName { id, .. }
        | Op::DeleteName { id }
        | Op::PutTurn { id }
        | Op::DeleteTurn { id } => {
            vec![format!("{map} {}", id.get())]
        }
        Op::PutMember { member, .. } | Op::DeleteMember { member } => {
            vec![format!("{map} {} {}", member.service.get(), member.backend.get())]
        }
        Op::V4(op) => vec![format!("{map} {}", of_family(op))],
        Op::V6(op) => vec![format!("{map} {}", of_family(op))],
    }
}

fn of_family<A: Address>(op: &FamilyOp<A>) -> String {
    match op {
        FamilyOp::PutBackend { id, .. } | FamilyOp::ClearBackend { id } => id.get().to_string(),
        FamilyOp::PutFrontend { frontend, .. } | FamilyOp::DeleteFrontend { frontend } => {
            format!("{}:{} {:?}", frontend.address, frontend.port, frontend.protocol)
        }
        FamilyOp::PutRange { range } | FamilyOp::DeleteRange { range } => {
            format!("{}/{} of {}", range.data.address, range.prefix_len, range.data.service.get())
        }
    }
}

#[test]
fn no_element_is_written_twice_and_the_next_run_writes_nothing() {
    let capacity = Capacity::default();
    let store = Counting { inner: MemoryStore::with_capacity(capacity), ..Counting::default() };
    let mut agent = Agent::new(store);
    agent.reconciler.node_addresses(vec!["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
    agent.manifests(&(0..SERVICES).map(manifests).collect::<String>());
    let report = agent.reconcile();
    assert!(report.failures.is_empty(), "{report:?}");
    let counting = &agent.store.inner;
    let twice: Vec<_> = counting.elements.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{} elements, {twice:?}", counting.elements.len());
    let least = SERVICES * ENDPOINTS * 2;
    assert!(
        counting.elements.len() > usize::try_from(least).unwrap(),
        "{}",
        counting.elements.len()
    );
    // What is asked of the kernel doesn't grow with the number of Services.
    assert!(counting.calls < 40, "{} calls", counting.calls);
    let calls = counting.calls;

    agent.manifests(&(0..SERVICES).map(manifests).collect::<String>());
    let report = agent.reconcile();
    assert_eq!((report.applied, agent.store.inner.calls), (0, calls), "{report:?}");
}

/// A Service of every kind in turn, dual-stack, with endpoints that no other has.
fn manifests(number: u32) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    let kind = ["ClusterIP", "NodePort", "LoadBalancer"][(number % 3) as usize];
    let node_port = if number.is_multiple_of(3) {
        String::new()
    } else {
        format!(", nodePort: {}", 30000 + number)
    };
    let more = if number % 3 == 2 {
        format!(
            ", loadBalancerSourceRanges: [203.0.113.0/24], sessionAffinity: ClientIP, externalTrafficPolicy: Local}}\nstatus: {{loadBalancer: {{ingress: [{{ip: 198.51.{high}.{low}}}]}}"
        )
    } else {
        String::new()
    };
    let slice = |family: &str, address: &dyn Fn(u32) -> String| {
        let endpoints: Vec<String> = (0..ENDPOINTS)
            .map(|it| format!("{{addresses: [\"{}\"], nodeName: here}}", address(it)))
            .collect();
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{number}-{family}, labels: {{kubernetes.io/service-name: s{number}}}}}\naddressType: {family}\nports: [{{port: 8080}}]\nendpoints: [{}]\n",
            endpoints.join(", ")
        )
    };
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{type: {kind}, clusterIP: 10.96.{high}.{low}, clusterIPs: [10.96.{high}.{low}, \"fd00:96::{number:x}\"], ipFamilies: [IPv4, IPv6], ports: [{{port: 80{node_port}}}]{more}}}\n"
    );
    service
        + &slice("IPv4", &|it| format!("10.{}.{high}.{low}", 128 + it))
        + &slice("IPv6", &|it| format!("fd00:{:x}::{number:x}", 0x1000 + it))
}
