//! `ADDRESS_FILTER`: which bits are set, for how many addresses and ports, and for how long after the
//! last.
//!
//! A bit is set before anything that needs it is written. It is cleared late: when nothing has
//! needed it for a grace period, and a sweep of the flow tables that began after that found no flow
//! with an address, or a port, of the slot. What needs which bits, [`super::need`] says.

use std::collections::{BTreeSet, HashSet};

use foldhash::HashMap;
use proxy_common::{FilterBits, FilterSlot, Nanoseconds};

use crate::store::Op;

use super::need::{Bit, Need};

/// When a bit that nobody needs any more may be cleared: not by a sweep that began before.
#[derive(Clone, Copy, Debug)]
enum NotBefore {
    At(Nanoseconds),
    /// Found in the map at start; the clock is not known yet.
    Adopted,
}

#[derive(Debug)]
pub(super) struct Filter {
    wanted: Vec<u64>,
    written: Vec<u64>,
    holders: HashMap<Bit, u32>,
    lingering: HashMap<Bit, NotBefore>,
    dirty: BTreeSet<u32>,
}

impl Filter {
    /// Adopts what is written. Bits that nobody holds until the first [`Self::settle`] linger.
    pub(super) fn adopt(written: Vec<u64>) -> Self {
        let mut lingering = HashMap::default();
        for (word, value) in (0u32..).zip(&written).filter(|(_, value)| **value != 0) {
            for slot in FilterSlot::of_word(word) {
                for bits in FilterBits::ALL {
                    if slot.read(*value).contains(bits) {
                        lingering.insert((slot, bits), NotBefore::Adopted);
                    }
                }
            }
        }
        Self {
            wanted: written.clone(),
            written,
            holders: HashMap::default(),
            lingering,
            dirty: BTreeSet::new(),
        }
    }

    /// The bits of `need` are needed, once more.
    pub(super) fn hold(&mut self, need: Need) {
        for bit in need {
            let holders = self.holders.entry(bit).or_insert(0);
            *holders += 1;
            if *holders == 1 {
                self.lingering.remove(&bit);
                self.set(bit, true);
            }
        }
    }

    /// The bits of `need` are needed once less. They stay at least until a sweep that begins at
    /// `not_before` or later.
    pub(super) fn release(&mut self, need: Need, not_before: Nanoseconds) {
        for bit in need {
            let Some(holders) = self.holders.get_mut(&bit) else { continue };
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(&bit);
                if self.has(bit) {
                    self.lingering.insert(bit, NotBefore::At(not_before));
                } else {
                    self.set(bit, false);
                }
            }
        }
    }

    /// Gives adopted bits that nobody holds their time.
    pub(super) fn settle(&mut self, not_before: Nanoseconds) {
        for wait in self.lingering.values_mut() {
            if matches!(wait, NotBefore::Adopted) {
                *wait = NotBefore::At(not_before);
            }
        }
    }

    /// Clears what nobody needs and no flow has. A sweep that began at `since` found flows that need
    /// `live`.
    pub(super) fn swept(&mut self, since: Nanoseconds, live: impl IntoIterator<Item = Need>) {
        if self.lingering.is_empty() {
            return;
        }
        let live: HashSet<Bit> = live.into_iter().flatten().collect();
        let over: Vec<Bit> = self
            .lingering
            .iter()
            .filter(|(bit, wait)| {
                !live.contains(bit) && matches!(wait, NotBefore::At(at) if *at <= since)
            })
            .map(|(bit, _)| *bit)
            .collect();
        for bit in over {
            self.lingering.remove(&bit);
            self.set(bit, false);
        }
    }

    /// The words that the map doesn't have yet as `need` needs them.
    pub(super) fn missing(&self, need: Need) -> impl Iterator<Item = u32> {
        need.into_iter().filter(|bit| !self.has(*bit)).map(|(slot, _)| slot.word)
    }

    fn has(&self, (slot, bits): Bit) -> bool {
        let word = self.written.get(slot.word as usize);
        word.is_some_and(|word| slot.read(*word).contains(bits))
    }

    /// Whether words wait to be written.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What has to be written.
    pub(super) fn ops(&self) -> Vec<Op> {
        self.dirty
            .iter()
            .filter_map(|word| {
                let value = *self.wanted.get(*word as usize)?;
                Some(Op::PutFilter { word: *word, value })
            })
            .collect()
    }

    /// The map has `value` as `word`.
    pub(super) fn wrote(&mut self, word: u32, value: u64) {
        if let Some(written) = self.written.get_mut(word as usize) {
            *written = value;
        }
        self.mark(word);
    }

    fn set(&mut self, (slot, bits): Bit, on: bool) {
        if let Some(word) = self.wanted.get_mut(slot.word as usize) {
            let others = slot.read(*word).without(bits);
            *word = slot.write(*word, if on { others.union(bits) } else { others });
            self.mark(slot.word);
        }
    }

    fn mark(&mut self, word: u32) {
        if self.wanted.get(word as usize) == self.written.get(word as usize) {
            self.dirty.remove(&word);
        } else {
            self.dirty.insert(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proxy_common::{FILTER_WORDS, FrontendKind, Nanoseconds, Protocol};

    use super::{Filter, Need};
    use crate::{
        desired::FrontendKey,
        reconcile::{LiveFlows, need::live},
        store::Op,
    };

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1));
    const NODE_PORT: FrontendKey =
        FrontendKey { address: ADDRESS, port: 30_080, protocol: Protocol::TCP };

    fn empty() -> Filter {
        Filter::adopt(vec![0; FILTER_WORDS as usize])
    }

    fn write(filter: &mut Filter) -> usize {
        let ops = filter.ops();
        for op in &ops {
            if let Op::PutFilter { word, value } = op {
                filter.wrote(*word, *value);
            }
        }
        ops.len()
    }

    fn is_written(filter: &Filter, need: Need) -> bool {
        filter.missing(need).next().is_none()
    }

    fn cluster_ip() -> Need {
        Need::of_frontend(&NODE_PORT, Some(FrontendKind::ClusterIp))
    }

    fn node_port() -> Need {
        Need::of_frontend(&NODE_PORT, Some(FrontendKind::NodePort))
    }

    fn backend() -> Need {
        Need::of_backend(ADDRESS, 8080)
    }

    fn sweep(filter: &mut Filter, since: u64, flows: &LiveFlows) {
        filter.swept(Nanoseconds::new(since), live(flows));
    }

    #[test]
    fn a_bit_is_written_once_however_many_need_it() {
        let mut filter = empty();
        filter.hold(cluster_ip());
        filter.hold(cluster_ip());
        assert!(!is_written(&filter, cluster_ip()));
        assert_eq!(write(&mut filter), 1);
        assert!(is_written(&filter, cluster_ip()));
        assert!(!is_written(&filter, backend()));
        assert_eq!(write(&mut filter), 0);
    }

    #[test]
    fn a_bit_outlives_its_last_holder_until_a_later_sweep_finds_no_flow() {
        let mut filter = empty();
        filter.hold(backend());
        assert_eq!(write(&mut filter), 3, "the address, its port for TCP and for UDP");
        filter.release(backend(), Nanoseconds::new(100));
        let none = LiveFlows::default();
        let from_there = LiveFlows {
            sources: [ADDRESS].into(),
            source_ports: [(Protocol::TCP, 8080)].into(),
            ..LiveFlows::default()
        };
        let to_there = LiveFlows { destinations: [ADDRESS].into(), ..LiveFlows::default() };

        sweep(&mut filter, 99, &none);
        assert_eq!(write(&mut filter), 0, "the sweep began too early");
        sweep(&mut filter, 100, &from_there);
        assert_eq!(write(&mut filter), 1, "a flow has the address and the port of TCP");
        sweep(&mut filter, 100, &to_there);
        assert_eq!(write(&mut filter), 2, "flows have the address in another role only");
        assert!(filter.missing(backend()).count() == 3);
    }

    #[test]
    fn a_node_port_outlives_its_last_frontend_as_long_as_a_flow_goes_there() {
        let mut filter = empty();
        filter.hold(node_port());
        assert_eq!(write(&mut filter), 2, "the node's address, and the port");
        assert!(!is_written(&filter, cluster_ip()), "other ports of the address are nobody's");
        filter.release(node_port(), Nanoseconds::new(1));
        let flows = LiveFlows {
            destinations: [ADDRESS].into(),
            destination_ports: [(Protocol::TCP, 30_080)].into(),
            ..LiveFlows::default()
        };
        sweep(&mut filter, 2, &flows);
        assert_eq!(write(&mut filter), 0);
        let flows = LiveFlows { destination_ports: [(Protocol::UDP, 30_080)].into(), ..flows };
        sweep(&mut filter, 3, &flows);
        assert_eq!(write(&mut filter), 1, "another protocol's port is another port");
        sweep(&mut filter, 4, &LiveFlows::default());
        assert_eq!(write(&mut filter), 1);
    }

    #[test]
    fn a_bit_that_was_not_written_yet_is_not_written_when_nobody_needs_it_any_more() {
        let mut filter = empty();
        filter.hold(node_port());
        filter.release(node_port(), Nanoseconds::new(1));
        assert_eq!(write(&mut filter), 0);
    }

    #[test]
    fn a_bit_that_is_needed_again_is_not_cleared() {
        let mut filter = empty();
        filter.hold(cluster_ip());
        write(&mut filter);
        filter.release(cluster_ip(), Nanoseconds::new(1));
        filter.hold(cluster_ip());
        sweep(&mut filter, 9, &LiveFlows::default());
        write(&mut filter);
        assert!(is_written(&filter, cluster_ip()));
    }

    #[test]
    fn adopted_bits_that_nobody_needs_go_after_the_grace_period() {
        let mut first = empty();
        first.hold(node_port());
        write(&mut first);
        let mut filter = Filter::adopt(first.written);
        sweep(&mut filter, 50, &LiveFlows::default());
        assert_eq!(write(&mut filter), 0, "nothing has been settled");
        filter.settle(Nanoseconds::new(40));
        sweep(&mut filter, 50, &LiveFlows::default());
        assert_eq!(write(&mut filter), 2);
    }
}
