//! What packets leave behind in the maps in the kernel.

use std::collections::BTreeMap;

use anyhow::Result;
use aya::maps::{HashMap, MapData, PerCpuArray};
use bytemuck::Pod;
use proxy_common::{Affinity, AffinityKey, COUNTERS, Flow, FragmentKey, FragmentPorts, Tuple};
use proxy_ebpf::env::FlowTable;

use super::{KernelFamily, KernelMachine, Raw};

/// A flow table's content.
pub type FlowsOf<A> = BTreeMap<Tuple<A>, Flow<A>>;

impl KernelMachine {
    /// The content of a flow table.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn flows<A: KernelFamily>(&mut self, table: FlowTable) -> Result<FlowsOf<A>> {
        let flows = self.hash::<Tuple<A>, Flow<A>>(A::flows(table))?;
        let flows = flows.iter().map(|element| element.map(|(Raw(key), Raw(flow))| (key, flow)));
        Ok(flows.collect::<Result<_, _>>()?)
    }

    /// The ports of fragmented datagrams under way.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn fragments<A: KernelFamily>(&mut self) -> Result<Vec<(FragmentKey<A>, FragmentPorts)>> {
        let fragments = self.hash::<FragmentKey<A>, FragmentPorts>(A::FRAGMENTS)?;
        let fragments = fragments.iter().map(|one| one.map(|(Raw(key), Raw(ports))| (key, ports)));
        Ok(fragments.collect::<Result<_, _>>()?)
    }

    /// Every counter, summed over the CPUs.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn counters(&mut self) -> Result<Vec<u64>> {
        let counters: PerCpuArray<_, u64> = self.map("COUNTERS")?.try_into()?;
        (0..COUNTERS).map(|index| Ok(counters.get(&index, 0)?.iter().sum())).collect()
    }

    /// Which backend every client stays with that is known.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn affinity<A: KernelFamily>(&mut self) -> Result<Vec<(AffinityKey<A>, Affinity)>> {
        let known = self.hash::<AffinityKey<A>, Affinity>(A::AFFINITY)?;
        let known =
            known.iter().map(|one| one.map(|(Raw(client), Raw(affinity))| (client, affinity)));
        Ok(known.collect::<Result<_, _>>()?)
    }

    /// How many turns each Service port has had that picks round-robin.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn turns(&mut self) -> Result<BTreeMap<u32, u32>> {
        let turns = self.hash::<u32, u32>("TURNS")?;
        let turns = turns.iter().map(|one| one.map(|(Raw(service), Raw(turn))| (service, turn)));
        Ok(turns.collect::<Result<_, _>>()?)
    }

    /// How many flows are open of each of the first `backends` ids, where there are any.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open_flows<A: KernelFamily>(&mut self, backends: u32) -> Result<BTreeMap<u32, u32>> {
        let counts = self.array::<u32>(A::OPEN_FLOWS)?;
        let mut open = BTreeMap::new();
        for id in 0..backends {
            let Raw(count) = counts.get(&id, 0)?;
            if count > 0 {
                open.insert(id, count);
            }
        }
        Ok(open)
    }

    /// Removes everything of a family that packets have left behind.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn forget<A: KernelFamily>(&mut self) -> Result<()> {
        for table in [FlowTable::Dst, FlowTable::Src, FlowTable::NewDst, FlowTable::NewSrc] {
            clear(&mut self.hash::<Tuple<A>, Flow<A>>(A::flows(table))?)?;
        }
        clear(&mut self.hash::<FragmentKey<A>, FragmentPorts>(A::FRAGMENTS)?)?;
        clear(&mut self.hash::<AffinityKey<A>, Affinity>(A::AFFINITY)?)?;
        clear(&mut self.hash::<u32, u32>("TURNS")?)?;
        let mut counts = self.array::<u32>(A::OPEN_FLOWS)?;
        for id in 0..counts.len() {
            counts.set(id, Raw(0), 0)?;
        }
        Ok(())
    }
}

fn clear<K: Pod, V: Pod>(map: &mut HashMap<&mut MapData, Raw<K>, Raw<V>>) -> Result<()> {
    let keys: Vec<_> = map.keys().collect::<Result<_, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}
