//! What a machine in user space has, programmed into the maps in the kernel.

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use bytemuck::Zeroable as _;
use proxy_common::{
    Affinity, AffinityKey, Backend, Config, Device, DeviceRole, Frontend, MemberKey, MemberSets,
    Service,
};
use proxy_ebpf::user::Machine;

use super::{KernelFamily, KernelMachine, Raw};

/// The device that a test run belongs to: loopback.
const LOOPBACK: u32 = 1;

impl KernelMachine {
    /// Programs what `machine` has: configuration, filter, Services, who may use them, what is known
    /// of clients, and the device.
    ///
    /// # Errors
    /// When a map has no room.
    pub fn program<A: KernelFamily>(&mut self, machine: &Machine) -> Result<()> {
        self.array::<Config>("CONFIG")?.set(0, Raw(machine.config), 0)?;
        self.put_device::<A>(machine, machine.role.get())?;
        let family = A::of(machine);
        let mut services = self.hash::<Frontend<A>, Service>(A::SERVICES)?;
        for (frontend, service) in &family.services {
            services.insert(Raw(*frontend), Raw(*service), 0)?;
        }
        let mut backends = self.array::<Backend<A>>(A::BACKENDS)?;
        for (id, backend) in &family.backends {
            backends.set(id.get(), Raw(*backend), 0)?;
        }
        let mut slots = self.array::<u32>("SLOTS")?;
        for (slot, backend) in &machine.slots {
            slots.set(*slot, Raw(backend.get()), 0)?;
        }
        let mut members = self.hash::<MemberKey, MemberSets>("AFFINITY_MEMBERS")?;
        for (member, sets) in &machine.members {
            members.insert(Raw(*member), Raw(*sets), 0)?;
        }
        let mut known = self.hash::<AffinityKey<A>, Affinity>(A::AFFINITY)?;
        for (client, affinity) in family.affinity.borrow().iter() {
            known.insert(Raw(*client), Raw(*affinity), 0)?;
        }
        let ranges = self.map(A::SOURCE_RANGES)?;
        let mut ranges: LpmTrie<_, Raw<_>, u32> = ranges.try_into().context(A::SOURCE_RANGES)?;
        for range in &family.source_ranges {
            ranges.insert(&Key::new(range.prefix_len, Raw(range.data)), 1, 0)?;
        }
        self.put_filter(&machine.filter)
    }

    /// Gives the device of the test runs that role, and `machine`'s address.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn put_device<A: KernelFamily>(
        &mut self,
        machine: &Machine,
        role: DeviceRole,
    ) -> Result<()> {
        let mut device = Device { role: role as u8, ethernet: 1, ..Device::zeroed() };
        if let Some(address) = A::of(machine).masquerade {
            A::masquerade_to(address, &mut device);
        }
        Ok(self.hash::<u32, Device>("DEVICES")?.insert(Raw(LOOPBACK), Raw(device), 0)?)
    }

    /// Writes the words of the filter that changed.
    fn put_filter(&mut self, words: &[u64]) -> Result<()> {
        let before = std::mem::replace(&mut self.filter, words.to_vec());
        let mut filter = self.array::<u64>("ADDRESS_FILTER")?;
        for (index, (word, before)) in (0..).zip(words.iter().zip(before)) {
            if *word != before {
                filter.set(index, Raw(*word), 0)?;
            }
        }
        Ok(())
    }
}
