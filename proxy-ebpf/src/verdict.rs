//! What is decided about a packet.

use proxy_common::{DropReason, RejectReason};

/// What the datapath decided, as the entry points tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No Service's: goes on as it came, byte for byte.
    Pass,
    /// Rewritten for a flow: goes on.
    Translated,
    /// Thrown away.
    Drop(DropReason),
    /// Refused: the packet is to be turned into an answer and sent back.
    Reject(RejectReason),
    /// An answer now stands in the packet's place: goes back the way it came.
    SendBack(RejectReason),
}

/// A [`Decision`] on its way to the entry point.
///
/// verifier: one integer, and not the enum: the payload that `Pass` doesn't have would be copied
/// around uninitialised, and the kernel refuses to read it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    code: u32,
}

const DROP: u32 = 0x100;
const REJECT: u32 = 0x200;
const SEND_BACK: u32 = 0x300;

impl Verdict {
    /// No Service's: goes on as it came, byte for byte.
    pub const PASS: Self = Self { code: 0 };
    /// Rewritten for a flow: goes on.
    pub const TRANSLATED: Self = Self { code: 1 };

    /// Not decided yet: the device that the packet leaves by has to say which source to write.
    /// Never leaves [`crate::egress`].
    pub const MASQUERADE: Self = Self { code: 2 };

    /// Translated, if the flow can be settled. Never leaves [`crate::ingress`] and [`crate::egress`].
    pub const SETTLE: Self = Self { code: 3 };

    /// Translated, if the pair that masquerades the flow is there. Never leaves [`crate::ingress`].
    pub const MASQUERADED: Self = Self { code: 4 };

    /// Translated, if the answer finds its flow where it goes out, too. Never leaves
    /// [`crate::ingress`].
    pub const MASQUERADED_ANSWER: Self = Self { code: 5 };

    /// Thrown away.
    #[inline(always)]
    pub const fn drop(reason: DropReason) -> Self {
        Self { code: DROP + reason as u32 }
    }

    /// Refused.
    #[inline(always)]
    pub const fn reject(reason: RejectReason) -> Self {
        Self { code: REJECT + reason as u32 }
    }

    /// Refused, and the answer is written.
    #[inline(always)]
    pub const fn send_back(reason: RejectReason) -> Self {
        Self { code: SEND_BACK + reason as u32 }
    }

    /// What was decided.
    #[inline(always)]
    #[must_use]
    pub fn decision(self) -> Decision {
        #[expect(clippy::cast_possible_truncation, reason = "the low byte is meant")]
        let reason = self.code as u8;
        let known = match self.code & !0xff {
            DROP => DropReason::from_number(reason).map(Decision::Drop),
            REJECT => RejectReason::from_number(reason).map(Decision::Reject),
            SEND_BACK => RejectReason::from_number(reason).map(Decision::SendBack),
            _ if self == Self::TRANSLATED => Some(Decision::Translated),
            _ => None,
        };
        known.unwrap_or(Decision::Pass)
    }
}

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.decision().fmt(f)
    }
}
