//! Whatever happens, in whatever order, with whatever faults and restarts: no packet ever meets a
//! half-written Service, and in the end the maps are what a fresh start would make of the cluster.

mod support;

use std::{collections::BTreeMap, net::IpAddr};

use bytemuck::Zeroable;
use proptest::{collection::vec, prelude::*};
use proxy_agent::{
    desired::{FrontendKinds, NodePortAddresses},
    reconcile::{LiveFlows, Reconciler, Report, Settings},
    source::Event,
    store::{
        Capacity, Installed, MapStore,
        faulty::Fault,
        memory::MemoryStore,
        view::{Place, Seen, view},
    },
};
use proxy_common::{Algorithm, Config, Nanoseconds};

use support::{
    guard::Guard,
    universe::{NODE, NODE_IPS, World, addresses, event},
};

/// Longer than any grace period or delay before a retry.
const LONG_NS: u64 = 10_000_000_000;

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// The cluster changes, and the agent hears of it.
    Change(Vec<Event>),
    /// Time passes, and the agent writes; its operations fail as the list says, over and over.
    Reconcile { after_ms: u64, faults: Vec<Option<Fault>> },
    /// The node's addresses are these now.
    Addresses(Vec<IpAddr>),
    /// The flow tables are swept, and nothing is found.
    Sweep,
    /// The agent is killed and starts again.
    Restart,
}

fn faults() -> impl Strategy<Value = Vec<Option<Fault>>> {
    let fault = prop_oneof![Just(Fault::Full), Just(Fault::Errno(12))];
    prop_oneof![
        2 => Just(Vec::new()),
        2 => vec(proptest::option::weighted(0.3, fault), 1..12),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(event(), 1..4).prop_map(Step::Change),
        5 => (0..1_500u64, faults())
            .prop_map(|(after_ms, faults)| Step::Reconcile { after_ms, faults }),
        1 => addresses(NODE_IPS, 3).prop_map(Step::Addresses),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

fn settings() -> Settings {
    Settings {
        node_name: NODE.into(),
        frontend_kinds: FrontendKinds::ALL,
        node_port_addresses: NodePortAddresses::All,
        algorithm: Algorithm::Random,
        maglev_table_size: 13,
        config: Config { host_netns_cookie: 1, ..Config::zeroed() },
    }
}

fn start(installed: Installed, addresses: &[IpAddr]) -> Reconciler {
    let mut reconciler = Reconciler::new(settings(), installed);
    reconciler.node_addresses(addresses.to_vec());
    reconciler
}

/// What a fresh start makes of `world`.
fn fresh(world: &World) -> Installed {
    let mut store = MemoryStore::default();
    let mut reconciler = start(Installed::default(), &world.addresses);
    reconciler.apply(world.list());
    let report = reconciler.reconcile(&mut store, Nanoseconds::new(0));
    assert!(report.failures.is_empty(), "{report:?}");
    store.content().clone()
}

fn seen(installed: &Installed) -> BTreeMap<Place, Seen> {
    view(installed).unwrap_or_else(|violations| panic!("{violations:#?}"))
}

/// A history under way.
struct Play {
    world: World,
    reconciler: Reconciler,
    guard: Guard,
}

impl Play {
    fn new(capacity: Capacity) -> Self {
        let store = MemoryStore::with_capacity(capacity);
        let world = World::default();
        let mut reconciler = start(store.read().unwrap(), &world.addresses);
        reconciler.apply([Event::Synced]);
        Self { world, reconciler, guard: Guard::new(store) }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Change(events) => {
                for event in events {
                    self.world.apply(event);
                }
                self.reconciler.apply(events.clone());
            }
            Step::Reconcile { after_ms, faults } => {
                self.guard.now += after_ms * 1_000_000;
                self.reconcile(faults);
            }
            Step::Addresses(addresses) => {
                self.world.addresses.clone_from(addresses);
                self.reconciler.node_addresses(addresses.clone());
            }
            Step::Sweep => self.sweep(),
            Step::Restart => {
                self.reconciler = start(self.guard.read().unwrap(), &self.world.addresses);
                self.reconcile(&[]);
                self.reconciler.apply(self.world.list());
            }
        }
    }

    fn reconcile(&mut self, faults: &[Option<Fault>]) -> Report {
        let after = seen(&fresh(&self.world));
        self.guard.begin(faults, &after);
        let now = Nanoseconds::new(self.guard.now);
        self.reconciler.reconcile(&mut self.guard, now)
    }

    fn sweep(&mut self) {
        let since = Nanoseconds::new(self.guard.now);
        self.reconciler.live_flows(&LiveFlows { since, ..LiveFlows::default() });
    }

    /// Lets everything that waits come to its end.
    fn settle(&mut self) {
        for _ in 0..6 {
            self.guard.now += LONG_NS;
            let report = self.reconcile(&[]);
            assert!(report.failures.is_empty(), "{report:?}");
            self.sweep();
        }
        let report = self.reconcile(&[]);
        assert_eq!(report.applied, 0, "at rest nothing is written");
        assert_eq!(self.reconciler.needs_reconcile_at(), None, "at rest nothing waits");
    }
}

/// What has to be equal whatever ids were given.
fn assert_same(installed: &Installed, fresh: &Installed) {
    assert_eq!(seen(installed), seen(fresh));
    assert_eq!(installed.config, fresh.config);
    let words = |installed: &Installed| -> Vec<_> {
        let words = installed.filter.iter().copied().enumerate();
        words.filter(|(_, bits)| *bits != 0).collect()
    };
    assert_eq!(words(installed), words(fresh), "words of the filter");
    let names = |installed: &Installed| -> Vec<_> {
        let mut names: Vec<_> = installed.names.values().map(|name| format!("{name:?}")).collect();
        names.sort();
        names
    };
    assert_eq!(names(installed), names(fresh), "names");
    let backends = |installed: &Installed| -> Vec<String> {
        let v4 = installed.v4.backends.values().map(|backend| format!("{backend:?}"));
        let v6 = installed.v6.backends.values().map(|backend| format!("{backend:?}"));
        let mut backends: Vec<String> = v4.chain(v6).collect();
        backends.sort();
        backends
    };
    assert_eq!(backends(installed), backends(fresh), "backends");
    let others = |installed: &Installed| {
        let ranges = (installed.v4.ranges.len(), installed.v6.ranges.len());
        (ranges, installed.members.len(), installed.turns.len())
    };
    assert_eq!(others(installed), others(fresh), "source ranges, members and turns");
}

/// Histories are long: a quarter of the usual number of cases.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(4), failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_history_ends_where_a_fresh_start_does(steps in vec(step(), 1..25)) {
        let mut play = Play::new(Capacity::default());
        for step in &steps {
            play.step(step);
        }
        play.settle();
        assert_same(play.guard.store.content(), &fresh(&play.world));

        // A restart with nothing changed writes nothing, at once and later.
        let mut again = start(play.guard.read().unwrap(), &play.world.addresses);
        again.apply(play.world.list());
        let after = play.guard.view();
        for _ in 0..3 {
            play.guard.begin(&[], &after);
            let now = Nanoseconds::new(play.guard.now);
            let report = again.reconcile(&mut play.guard, now);
            prop_assert_eq!(report.applied, 0);
            again.live_flows(&LiveFlows {
                since: now,
                ..LiveFlows::default()
            });
            play.guard.now += LONG_NS;
        }
    }

    #[test]
    fn maps_that_are_too_small_never_show_half_a_service(
        steps in vec(step(), 1..25),
        frontends in 1..12u32,
        slots in 0..40u32,
        backends in 1..6u32,
        members in 0..6u32,
        ranges in 0..4u32,
    ) {
        let mut play = Play::new(Capacity {
            frontends,
            slots,
            backends_v4: backends,
            backends_v6: backends,
            members,
            ranges,
        });
        for step in &steps {
            play.step(step);
        }
    }

    #[test]
    fn nothing_is_taken_away_before_the_cluster_is_known(steps in vec(step(), 1..15)) {
        let mut play = Play::new(Capacity::default());
        for step in &steps {
            play.step(step);
        }
        play.settle();
        let before = play.guard.store.content().clone();
        let mut restarted = start(before.clone(), &play.world.addresses);
        let mut list = play.world.list();
        list.pop();
        let now = Nanoseconds::new(play.guard.now);
        for known in 0..=list.len() {
            restarted.apply(list.get(known).cloned());
            restarted.live_flows(&LiveFlows::default());
            let report = restarted.reconcile(&mut play.guard, now);
            prop_assert_eq!(report.applied, 0);
        }
        prop_assert_eq!(play.guard.store.content(), &before);
    }
}
