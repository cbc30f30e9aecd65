//! Which kinds of frontend are programmed.

use proxy_common::FrontendKind;

/// A set of [`FrontendKind`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendKinds {
    bits: u8,
}

impl FrontendKinds {
    /// Every kind.
    pub const ALL: Self = Self {
        bits: 1 << FrontendKind::ClusterIp as u8
            | 1 << FrontendKind::ExternalIp as u8
            | 1 << FrontendKind::LoadBalancer as u8
            | 1 << FrontendKind::NodePort as u8,
    };

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: FrontendKind) -> bool {
        self.bits & (1 << kind as u8) != 0
    }

    /// The set without `kind`.
    #[must_use]
    pub const fn without(self, kind: FrontendKind) -> Self {
        Self { bits: self.bits & !(1 << kind as u8) }
    }
}
