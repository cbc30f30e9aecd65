//! What a frontend leads to: the value of `SERVICES_V4` and `SERVICES_V6`.

use bytemuck::{Pod, Zeroable};

use crate::{FrontendKind, Seconds};

/// Names a Service port of one family: Kubernetes' (namespace, name, port) made small. All
/// frontends of the Service port share it. Never 0 for a Service; 0 marks "no Service" in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct ServiceId {
    id: u32,
}

impl ServiceId {
    /// No Service: a flow that is kept apart from a Service's flow, but is not one.
    pub const NONE: Self = Self::new(0);

    /// From its number.
    #[inline(always)]
    #[must_use]
    pub const fn new(id: u32) -> Self {
        Self { id }
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.id
    }
}

/// A run of slots in `SLOTS`: `base`, `base + 1`, … `base + count - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(C)]
pub struct SlotRange {
    /// The first slot.
    pub base: u32,
    /// How many slots; 0 when the set is empty.
    pub count: u32,
}

/// How an endpoint is picked for a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// Each slot is as likely as any other.
    Random = 0,
    /// The slots take turns; `TURNS` counts them.
    RoundRobin = 1,
    /// Of two slots picked at random, the one whose backend has fewer open flows (`OPEN_FLOWS_*`).
    LeastConnections = 2,
    /// The slots are a Maglev table: the flow's client decides, the same on every node.
    Maglev = 3,
}

impl Algorithm {
    /// All of them, by number.
    pub const ALL: [Self; 4] =
        [Self::Random, Self::RoundRobin, Self::LeastConnections, Self::Maglev];

    /// From the number in [`Service::algorithm`].
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Random),
            1 => Some(Self::RoundRobin),
            2 => Some(Self::LeastConnections),
            3 => Some(Self::Maglev),
            _ => None,
        }
    }

    /// The name that flags, annotations and JSON use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::Maglev => "maglev",
        }
    }
}

/// Bits of [`Service::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct ServiceFlags {
    bits: u16,
}

impl ServiceFlags {
    /// New flows use the local set only (`internalTrafficPolicy` or `externalTrafficPolicy: Local`,
    /// whichever rules this frontend).
    pub const LOCAL_ONLY: Self = Self { bits: 1 };
    /// `sessionAffinity: ClientIP`.
    pub const AFFINITY: Self = Self { bits: 2 };
    /// Sources are checked against `SOURCE_RANGES_*` before anything else.
    pub const SOURCE_RANGES: Self = Self { bits: 4 };
    /// A source range admits the node: its own processes may come, and so may packets whose source
    /// is the frontend's address itself.
    pub const NODE_ADMITTED: Self = Self { bits: 8 };

    /// The bits, as stored.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.bits
    }
}

flag_set!(ServiceFlags);

/// What a frontend leads to. Replaced as a whole: a packet sees the old endpoint sets or the new
/// ones.
///
/// The values under [`crate::Frontend::cluster_ip_marker`] and
/// [`crate::Frontend::node_port_marker`] are all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Service {
    /// The Service port.
    pub id: ServiceId,
    /// See [`ServiceFlags`].
    pub flags: ServiceFlags,
    /// A [`FrontendKind`] as its number; 0 in a marker.
    pub kind: u8,
    /// An [`Algorithm`] as its number.
    pub algorithm: u8,
    /// The cluster set: endpoints anywhere.
    pub cluster: SlotRange,
    /// The local set: endpoints on this node.
    pub local: SlotRange,
    /// How long a client stays with its endpoint, when [`ServiceFlags::AFFINITY`] is set.
    pub affinity: Seconds,
}

const _: () = assert!(size_of::<Service>() == 28);

impl Service {
    /// The kind of frontend; `None` for a marker.
    #[must_use]
    pub const fn frontend_kind(&self) -> Option<FrontendKind> {
        FrontendKind::from_number(self.kind)
    }
}
