//! An agent without a kernel, and the words for what it writes.

use std::path::Path;

use bytemuck::Zeroable;
use proxy_agent::{
    desired::{FrontendKinds, NodePortAddresses},
    reconcile::{LiveFlows, Reconciler, Report, Settings},
    source::{
        Event,
        manifests::{Catalog, Writer},
    },
    store::{Failed, FamilyOp, Installed, MapStore, Op, StoreError},
};
use proxy_common::{Address, Algorithm, Config, Nanoseconds, SourceRangeKey};

/// In nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// An agent without a kernel: manifests in, operations out.
pub(crate) struct Agent<S> {
    catalog: Catalog,
    pub(crate) reconciler: Reconciler,
    pub(crate) store: Recorder<S>,
    pub(crate) now: u64,
}

/// Keeps what was applied, in words.
pub(crate) struct Recorder<S> {
    pub(crate) inner: S,
    pub(crate) words: Vec<String>,
}

impl<S: MapStore> MapStore for Recorder<S> {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        self.words.extend(ops.iter().map(word));
        self.inner.apply(ops)
    }

    fn read(&self) -> Result<Installed, StoreError> {
        self.inner.read()
    }
}

fn said<A: Address>(range: &SourceRangeKey<A>) -> String {
    let client = range.data;
    format!("{}:{}/{}", client.service.get(), client.address, range.prefix_len - 32)
}

fn word(op: &Op) -> String {
    match op {
        Op::PutConfig(_) => "config".to_owned(),
        Op::PutFilter { .. } => "filter".to_owned(),
        Op::PutSlots { base, backends } => {
            format!("slots {base}..{}", *base as usize + backends.len())
        }
        Op::PutName { id, .. } => format!("name {}", id.get()),
        Op::DeleteName { id } => format!("-name {}", id.get()),
        Op::V4(FamilyOp::PutBackend { id, backend }) => {
            format!("backend {} {}:{}", id.get(), backend.address, backend.port)
        }
        Op::V4(FamilyOp::ClearBackend { id }) => format!("-backend {}", id.get()),
        Op::V4(FamilyOp::PutFrontend { frontend, service }) => format!(
            "frontend {}:{} cluster {}+{} local {}+{}",
            frontend.address,
            frontend.port,
            service.cluster.base,
            service.cluster.count,
            service.local.base,
            service.local.count,
        ),
        Op::V4(FamilyOp::DeleteFrontend { frontend }) => {
            format!("-frontend {}:{}", frontend.address, frontend.port)
        }
        Op::V4(FamilyOp::PutRange { range }) => format!("range {}", said(range)),
        Op::V4(FamilyOp::DeleteRange { range }) => format!("-range {}", said(range)),
        Op::PutMember { member, .. } => {
            format!("member {}:{}", member.service.get(), member.backend.get())
        }
        Op::DeleteMember { member } => {
            format!("-member {}:{}", member.service.get(), member.backend.get())
        }
        Op::PutTurn { id } => format!("turn {}", id.get()),
        Op::DeleteTurn { id } => format!("-turn {}", id.get()),
        Op::V6(of_family) => format!("{of_family:?}"),
    }
}

/// An agent's settings.
pub(crate) fn settings() -> Settings {
    Settings {
        node_name: "here".into(),
        frontend_kinds: FrontendKinds::ALL,
        node_port_addresses: NodePortAddresses::All,
        algorithm: Algorithm::Random,
        maglev_table_size: 4093,
        config: Config { host_netns_cookie: 1, ..Config::zeroed() },
    }
}

/// A Service with one port, 80, at `10.96.0.<last>`.
pub(crate) fn service(name: &str, last: u8) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.{last}, ports: [{{port: 80}}]}}\n"
    )
}

/// An EndpointSlice of `service` with port 8080.
pub(crate) fn slice(service: &str, addresses: &[&str]) -> String {
    let endpoints: Vec<String> =
        addresses.iter().map(|address| format!("{{addresses: [{address}]}}")).collect();
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

impl<S: MapStore> Agent<S> {
    pub(crate) fn new(store: S) -> Self {
        let reconciler = Reconciler::new(settings(), store.read().unwrap());
        let store = Recorder { inner: store, words: Vec::new() };
        Self { catalog: Catalog::default(), reconciler, store, now: 100 * SECOND }
    }

    /// The manifests say `text` now.
    pub(crate) fn manifests(&mut self, text: &str) {
        self.reconciler.apply(self.catalog.read(Path::new("f"), text, Writer::Gone));
        self.reconciler.apply([Event::Synced]);
    }

    pub(crate) fn reconcile(&mut self) -> Report {
        self.reconciler.reconcile(&mut self.store, Nanoseconds::new(self.now))
    }

    /// What is written, filter words aside: which words addresses share is no matter here.
    pub(crate) fn written(&mut self) -> Vec<String> {
        let report = self.reconcile();
        assert!(report.failures.is_empty(), "{report:?}");
        let mut words = std::mem::take(&mut self.store.words);
        words.retain(|word| word != "filter");
        words
    }

    pub(crate) fn sweep(&mut self) {
        let since = Nanoseconds::new(self.now);
        self.reconciler.live_flows(&LiveFlows { since, ..LiveFlows::default() });
    }
}
