//! `sluice explain` beside the two machines: its surroundings, which write down what the datapath asks
//! and keep what it writes to themselves, must lead to the verdict, the bytes and the changes that the
//! machines come to. Packets that come in only: nothing else is ever explained.

use anyhow::{Result, bail};
use lab::kernel_run::KernelFamily;
use proxy_agent::explain::{
    recorder::{Flows, Recorder},
    run::decide,
};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook,
    user::{Machine, UserPacket},
    verdict::Decision,
};

use crate::{generator::Step, recording::hex, state::State};

/// What explain comes to.
pub(crate) struct Explained<A: KernelFamily> {
    decision: Decision,
    packet: UserPacket,
    after: State<A>,
}

impl<A: KernelFamily> Explained<A> {
    /// Runs `step` over the maps of `machine`, whose content is `before`, with these random numbers.
    pub(crate) fn of(
        machine: &Machine,
        before: &State<A>,
        step: &Step,
        numbers: &[u32],
    ) -> Option<Self> {
        // New flows are in tables that are never full.
        let is_full = A::of(machine).flows_max <= before.table(FlowTable::Dst).len() + 1;
        if step.hook != Hook::Ingress || is_full {
            return None;
        }
        let recorder = Recorder::<A, _>::new(machine, step.role, Flows::OfTheMaps)
            .drawn(numbers.iter().copied());
        let mut packet = step.packet.clone();
        let decision = decide::<A, _>(&recorder, &mut packet);
        let after = before.after(recorder.written(), &recorder.removed());
        Some(Self { decision, packet, after })
    }

    /// Compares it with what the machine in user space came to.
    pub(crate) fn compare(
        &self,
        decision: Decision,
        packet: &UserPacket,
        after: &State<A>,
    ) -> Result<()> {
        if self.decision != decision || self.packet != *packet {
            bail!(
                "explain: {:?} {}\nuser: {decision:?} {}",
                self.decision,
                hex(&self.packet),
                hex(packet)
            );
        }
        if self.after != *after {
            bail!("explain: {decision:?} {:#?}\nuser: {after:#?}", self.after);
        }
        Ok(())
    }
}
