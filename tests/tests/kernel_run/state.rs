//! Everything that a packet may change in the maps, read from either machine, times left out: what is
//! read after every packet, and what is counted up and read once an episode.

use std::collections::BTreeMap;

use anyhow::Result;
use lab::kernel_run::{FlowsOf, KernelFamily, KernelMachine};
use proxy_common::{
    Affinity, AffinityKey, BackendId, Flow, FragmentKey, FragmentPorts, Nanoseconds, Tuple,
};
use proxy_ebpf::{
    env::FlowTable,
    user::{FamilyMaps, Machine},
};

const TABLES: [FlowTable; 4] =
    [FlowTable::Dst, FlowTable::Src, FlowTable::NewDst, FlowTable::NewSrc];

/// The content of the maps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State<A: KernelFamily> {
    flows: [FlowsOf<A>; 4],
    fragments: BTreeMap<String, FragmentPorts>,
    affinity: BTreeMap<String, BackendId>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counts {
    counters: Vec<u64>,
    turns: BTreeMap<u32, u32>,
    open_flows: BTreeMap<u32, u32>,
}

impl Counts {
    /// By the kernel, for ids of backends below `backends`.
    pub(crate) fn of_kernel<A: KernelFamily>(
        kernel: &mut KernelMachine,
        backends: u32,
    ) -> Result<Self> {
        Ok(Self {
            counters: kernel.counters()?,
            turns: kernel.turns()?,
            open_flows: kernel.open_flows::<A>(backends)?,
        })
    }

    /// By the machine in user space.
    pub(crate) fn of_user<A: KernelFamily>(machine: &Machine) -> Self {
        let open_flows = A::of(machine).open_flows.borrow();
        let open_flows = open_flows.iter().filter(|(_, count)| **count > 0);
        Self {
            counters: machine.counters.borrow().clone(),
            turns: machine.turns.borrow().iter().map(|(id, turn)| (id.get(), *turn)).collect(),
            open_flows: open_flows.map(|(id, count)| (id.get(), *count)).collect(),
        }
    }
}

fn without_times<A: KernelFamily>(flow: Flow<A>) -> Flow<A> {
    Flow { created: Nanoseconds::default(), last_seen: Nanoseconds::default(), ..flow }
}

fn named<A: KernelFamily>(
    fragments: impl IntoIterator<Item = (FragmentKey<A>, FragmentPorts)>,
) -> BTreeMap<String, FragmentPorts> {
    fragments.into_iter().map(|(key, ports)| (format!("{key:?}"), ports)).collect()
}

fn clients<A: KernelFamily>(
    known: impl IntoIterator<Item = (AffinityKey<A>, Affinity)>,
) -> BTreeMap<String, BackendId> {
    known.into_iter().map(|(key, affinity)| (format!("{key:?}"), affinity.backend)).collect()
}

impl<A: KernelFamily> State<A> {
    /// Of the maps in the kernel.
    pub(crate) fn of_kernel(kernel: &mut KernelMachine) -> Result<Self> {
        let mut flows = [const { FlowsOf::<A>::new() }; 4];
        for (flows, table) in flows.iter_mut().zip(TABLES) {
            let there = kernel.flows::<A>(table)?;
            *flows = there.into_iter().map(|(key, flow)| (key, without_times(flow))).collect();
        }
        Ok(Self {
            flows,
            fragments: named(kernel.fragments::<A>()?),
            affinity: clients(kernel.affinity::<A>()?),
        })
    }

    /// Of the machine in user space.
    pub(crate) fn of_user(machine: &Machine) -> Self {
        let family = A::of(machine);
        let flows = TABLES.map(|table| {
            let flows = family.table(table).borrow();
            flows.iter().map(|(key, flow)| (*key, without_times(*flow))).collect()
        });
        Self {
            flows,
            fragments: named(family.fragments.borrow().iter().map(|(key, ports)| (*key, *ports))),
            affinity: clients(family.affinity.borrow().iter().map(|(key, value)| (*key, *value))),
        }
    }

    /// With what was written over it, and without the flows that were removed.
    pub(crate) fn after(&self, written: &FamilyMaps<A>, removed: &[(FlowTable, Tuple<A>)]) -> Self {
        let mut after = self.clone();
        for (flows, table) in after.flows.iter_mut().zip(TABLES) {
            flows.retain(|key, _| !removed.contains(&(table, *key)));
            let written = written.table(table).borrow();
            flows.extend(written.iter().map(|(key, flow)| (*key, without_times(*flow))));
        }
        let fragments = written.fragments.borrow();
        after.fragments.extend(named(fragments.iter().map(|(key, ports)| (*key, *ports))));
        let affinity = written.affinity.borrow();
        after.affinity.extend(clients(affinity.iter().map(|(key, value)| (*key, *value))));
        after
    }

    /// A flow table's content.
    pub(crate) fn table(&self, table: FlowTable) -> &FlowsOf<A> {
        let index = TABLES.iter().position(|other| *other == table).unwrap_or(0);
        &self.flows[index]
    }

    /// The backend that a client stays with.
    pub(crate) fn stays_with(&self, client: &AffinityKey<A>) -> Option<BackendId> {
        self.affinity.get(&format!("{client:?}")).copied()
    }
}
