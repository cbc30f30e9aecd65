//! `ADDRESS_FILTER`: which bits are set, for how many addresses, and for how long after the last.
//!
//! A bit is set before anything that needs it is written. It is cleared late: when nothing has
//! needed it for a grace period, and a sweep of the flow tables that began after that found no flow
//! with an address of the slot.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use proxy_common::{FilterBits, FilterSlot, Nanoseconds, V4, V6};

use crate::store::Op;

/// What an address is needed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Frontend,
    Backend,
}

impl Role {
    const fn bits(self) -> FilterBits {
        match self {
            Self::Frontend => FilterBits::FRONTEND,
            Self::Backend => FilterBits::BACKEND,
        }
    }
}

/// One bit.
type Bit = (FilterSlot, Role);

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

pub(super) fn slot_of(address: IpAddr) -> FilterSlot {
    match address {
        IpAddr::V4(address) => FilterSlot::of(V4::new(address.octets())),
        IpAddr::V6(address) => FilterSlot::of(V6::new(address.octets())),
    }
}

impl Filter {
    /// Adopts what is written. Bits that nobody holds until the first [`Self::settle`] linger.
    pub(super) fn adopt(written: Vec<u64>) -> Self {
        let mut lingering = HashMap::new();
        for (word, value) in (0u32..).zip(&written).filter(|(_, value)| **value != 0) {
            for shift in (0..u64::BITS).step_by(2) {
                let slot = FilterSlot { word, shift };
                for role in [Role::Frontend, Role::Backend] {
                    if slot.read(*value).contains(role.bits()) {
                        lingering.insert((slot, role), NotBefore::Adopted);
                    }
                }
            }
        }
        Self {
            wanted: written.clone(),
            written,
            holders: HashMap::new(),
            lingering,
            dirty: BTreeSet::new(),
        }
    }

    /// `address` is needed, once more. The unspecified address, which stands in markers, is nobody's.
    pub(super) fn hold(&mut self, address: IpAddr, role: Role) {
        if address.is_unspecified() {
            return;
        }
        let bit = (slot_of(address), role);
        let holders = self.holders.entry(bit).or_insert(0);
        *holders += 1;
        if *holders == 1 {
            self.lingering.remove(&bit);
            self.set(bit, true);
        }
    }

    /// `address` is needed once less. The bit stays at least until a sweep that begins at
    /// `not_before` or later.
    pub(super) fn release(&mut self, address: IpAddr, role: Role, not_before: Nanoseconds) {
        if address.is_unspecified() {
            return;
        }
        let bit = (slot_of(address), role);
        if let Some(holders) = self.holders.get_mut(&bit) {
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(&bit);
                if self.is_written(address, role) {
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

    /// Clears what nobody needs and no flow has. A sweep that began at `since` found flows with
    /// `frontends` as destinations and `backends` as sources.
    pub(super) fn swept(
        &mut self,
        since: Nanoseconds,
        frontends: &HashSet<IpAddr>,
        backends: &HashSet<IpAddr>,
    ) {
        if self.lingering.is_empty() {
            return;
        }
        let live: HashSet<Bit> = frontends
            .iter()
            .map(|address| (slot_of(*address), Role::Frontend))
            .chain(backends.iter().map(|address| (slot_of(*address), Role::Backend)))
            .collect();
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

    /// Whether the map has the bit for `address`, if it needs one.
    pub(super) fn is_written(&self, address: IpAddr, role: Role) -> bool {
        let slot = slot_of(address);
        let word = self.written.get(slot.word as usize);
        address.is_unspecified() || word.is_some_and(|word| slot.read(*word).contains(role.bits()))
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

    fn set(&mut self, (slot, role): Bit, on: bool) {
        if let Some(word) = self.wanted.get_mut(slot.word as usize) {
            let others = match role {
                Role::Frontend => FilterBits::BACKEND,
                Role::Backend => FilterBits::FRONTEND,
            };
            let kept =
                if slot.read(*word).contains(others) { others } else { FilterBits::default() };
            *word = slot.write(*word, if on { kept.union(role.bits()) } else { kept });
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
    use std::{collections::HashSet, net::IpAddr};

    use proxy_common::{FILTER_WORDS, Nanoseconds};

    use super::{Filter, Role};
    use crate::store::Op;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1));

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

    #[test]
    fn a_bit_is_written_once_however_many_need_it() {
        let mut filter = empty();
        filter.hold(ADDRESS, Role::Frontend);
        filter.hold(ADDRESS, Role::Frontend);
        assert!(!filter.is_written(ADDRESS, Role::Frontend));
        assert_eq!(write(&mut filter), 1);
        assert!(filter.is_written(ADDRESS, Role::Frontend));
        assert!(!filter.is_written(ADDRESS, Role::Backend));
        assert_eq!(write(&mut filter), 0);
    }

    #[test]
    fn a_bit_outlives_its_last_holder_until_a_later_sweep_finds_no_flow() {
        let mut filter = empty();
        filter.hold(ADDRESS, Role::Backend);
        write(&mut filter);
        filter.release(ADDRESS, Role::Backend, Nanoseconds::new(100));
        let (none, flows) = (HashSet::new(), HashSet::from([ADDRESS]));

        filter.swept(Nanoseconds::new(99), &none, &none);
        assert_eq!(write(&mut filter), 0, "the sweep began too early");
        filter.swept(Nanoseconds::new(100), &none, &flows);
        assert_eq!(write(&mut filter), 0, "a flow has the address");
        filter.swept(Nanoseconds::new(100), &flows, &none);
        assert_eq!(write(&mut filter), 1, "flows have it in the other role only");
        assert!(!filter.is_written(ADDRESS, Role::Backend));
    }

    #[test]
    fn a_bit_that_was_not_written_yet_is_not_written_when_nobody_needs_it_any_more() {
        let mut filter = empty();
        filter.hold(ADDRESS, Role::Frontend);
        filter.release(ADDRESS, Role::Frontend, Nanoseconds::new(1));
        assert_eq!(write(&mut filter), 0);
    }

    #[test]
    fn a_bit_that_is_needed_again_is_not_cleared() {
        let mut filter = empty();
        filter.hold(ADDRESS, Role::Frontend);
        write(&mut filter);
        filter.release(ADDRESS, Role::Frontend, Nanoseconds::new(1));
        filter.hold(ADDRESS, Role::Frontend);
        filter.swept(Nanoseconds::new(9), &HashSet::new(), &HashSet::new());
        write(&mut filter);
        assert!(filter.is_written(ADDRESS, Role::Frontend));
    }

    #[test]
    fn adopted_bits_that_nobody_needs_go_after_the_grace_period() {
        let mut first = empty();
        first.hold(ADDRESS, Role::Frontend);
        write(&mut first);
        let mut filter = Filter::adopt(first.written);
        filter.swept(Nanoseconds::new(50), &HashSet::new(), &HashSet::new());
        assert_eq!(write(&mut filter), 0, "nothing has been settled");
        filter.settle(Nanoseconds::new(40));
        filter.swept(Nanoseconds::new(50), &HashSet::new(), &HashSet::new());
        assert_eq!(write(&mut filter), 1);
    }
}
