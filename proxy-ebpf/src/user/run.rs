//! A packet's way through a hook in user space: the datapath's decision, the answer that takes a
//! refused packet's place, and the counters. The counterpart of `kernel/tc.rs`.

use proxy_common::Counter;

use super::{
    machine::{FamilyOf, Machine},
    packet::UserPacket,
};
use crate::{
    egress::egress,
    env::Kernel as _,
    ingress::ingress,
    reject,
    transport::Hook,
    verdict::{Decision, Verdict},
};

impl Machine {
    /// Runs `packet` through `hook`, as the programs do for one of family `A`.
    pub fn run<A: FamilyOf>(&self, hook: Hook, packet: &mut UserPacket) -> Decision {
        let at = packet.link_header;
        let verdict = match hook {
            Hook::Ingress => ingress::<A, _, _>(packet, self, at),
            Hook::Egress => egress::<A, _, _>(packet, self, at),
        };
        match verdict.decision() {
            Decision::Reject(reason) => {
                self.conclude(reject::answer::<A, _, _>(packet, self, at, reason))
            }
            _ => self.conclude(verdict),
        }
    }

    fn conclude(&self, verdict: Verdict) -> Decision {
        let decision = verdict.decision();
        match decision {
            Decision::Pass | Decision::Translated => {}
            Decision::Drop(reason) => self.count(Counter::Drop(reason)),
            Decision::SendBack(reason) | Decision::Reject(reason) => {
                self.count(Counter::Reject(reason));
            }
        }
        decision
    }
}
