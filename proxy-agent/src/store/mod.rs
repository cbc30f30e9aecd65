//! The maps as the control plane sees them: operations to apply, and the content to start from.
//!
//! [`Op`] is all that is ever done to a map of the control plane. [`crate::reconcile`] makes ops in
//! an order that never shows a packet a half-written Service; a [`MapStore`] carries them out and
//! decides nothing. Flow, socket, device and counter maps are not here: nobody diffs them.

pub mod bpf;
pub mod faulty;
pub mod memory;
pub mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use proxy_common::{
    Backend, BackendId, Config, FILTER_WORDS, Frontend, MemberKey, MemberSets, Service, ServiceId,
    ServiceName, SourceRangeKey, V4, V6,
    layout::{AFFINITY_MEMBERS_MAX, BACKENDS_MAX, SERVICES_MAX, SLOTS_MAX, SOURCE_RANGES_MAX},
};

/// One change of one map.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Write the element of `CONFIG`.
    PutConfig(Box<Config>),
    /// Write a word of `ADDRESS_FILTER`.
    PutFilter {
        /// Index of the word.
        word: u32,
        /// The whole word.
        value: u64,
    },
    /// Write a run of slots. Nothing refers to them yet, so a part of them may be written when the
    /// operation fails.
    PutSlots {
        /// The first slot.
        base: u32,
        /// What it and those behind it hold.
        backends: Vec<BackendId>,
    },
    /// Write an element of `SERVICE_NAMES`.
    PutName {
        /// The Service port.
        id: ServiceId,
        /// What Kubernetes calls it.
        name: Box<ServiceName>,
    },
    /// Delete an element of `SERVICE_NAMES`.
    DeleteName {
        /// The Service port.
        id: ServiceId,
    },
    /// Insert or replace an element of `AFFINITY_MEMBERS`.
    PutMember {
        /// The Service port and the endpoint.
        member: MemberKey,
        /// The sets that it is in.
        sets: MemberSets,
    },
    /// Delete an element of `AFFINITY_MEMBERS`.
    DeleteMember {
        /// The Service port and the endpoint.
        member: MemberKey,
    },
    /// Insert an element of `TURNS`, which begins with the first slot. The programs count on in it,
    /// so this is not for one that is there.
    PutTurn {
        /// The Service port.
        id: ServiceId,
    },
    /// Delete an element of `TURNS`.
    DeleteTurn {
        /// The Service port.
        id: ServiceId,
    },
    /// A change of an IPv4 map.
    V4(FamilyOp<V4>),
    /// A change of an IPv6 map.
    V6(FamilyOp<V6>),
}

/// A change of a map of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyOp<A> {
    /// Write an element of `BACKENDS_*`.
    PutBackend {
        /// Its index.
        id: BackendId,
        /// The backend.
        backend: Backend<A>,
    },
    /// Zero an element of `BACKENDS_*`.
    ClearBackend {
        /// Its index.
        id: BackendId,
    },
    /// Insert or replace an element of `SERVICES_*`.
    PutFrontend {
        /// The frontend, or the marker of a ClusterIP or of a NodePort.
        frontend: Frontend<A>,
        /// What it leads to.
        service: Service,
    },
    /// Delete an element of `SERVICES_*`.
    DeleteFrontend {
        /// The frontend, or the marker of a ClusterIP or of a NodePort.
        frontend: Frontend<A>,
    },
    /// Insert an element of `SOURCE_RANGES_*`.
    PutRange {
        /// The Service port, and who is admitted.
        range: SourceRangeKey<A>,
    },
    /// Delete an element of `SOURCE_RANGES_*`.
    DeleteRange {
        /// The Service port, and who was admitted.
        range: SourceRangeKey<A>,
    },
}

impl Op {
    /// The map it changes.
    #[must_use]
    pub const fn map(&self) -> &'static str {
        match self {
            Self::PutConfig(_) => "CONFIG",
            Self::PutFilter { .. } => "ADDRESS_FILTER",
            Self::PutSlots { .. } => "SLOTS",
            Self::PutName { .. } | Self::DeleteName { .. } => "SERVICE_NAMES",
            Self::PutMember { .. } | Self::DeleteMember { .. } => "AFFINITY_MEMBERS",
            Self::PutTurn { .. } | Self::DeleteTurn { .. } => "TURNS",
            Self::V4(FamilyOp::PutBackend { .. } | FamilyOp::ClearBackend { .. }) => "BACKENDS_V4",
            Self::V6(FamilyOp::PutBackend { .. } | FamilyOp::ClearBackend { .. }) => "BACKENDS_V6",
            Self::V4(FamilyOp::PutFrontend { .. } | FamilyOp::DeleteFrontend { .. }) => {
                "SERVICES_V4"
            }
            Self::V6(FamilyOp::PutFrontend { .. } | FamilyOp::DeleteFrontend { .. }) => {
                "SERVICES_V6"
            }
            Self::V4(FamilyOp::PutRange { .. } | FamilyOp::DeleteRange { .. }) => {
                "SOURCE_RANGES_V4"
            }
            Self::V6(FamilyOp::PutRange { .. } | FamilyOp::DeleteRange { .. }) => {
                "SOURCE_RANGES_V6"
            }
        }
    }
}

/// Why a map could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The map has no room for another element.
    #[error("map {map} is full: raise --service-map-limit, or serve less")]
    Full {
        /// The map.
        map: &'static str,
    },
    /// The kernel said no.
    #[error("{call} on map {map}: {source}")]
    Kernel {
        /// What was asked of the kernel (`BPF_MAP_UPDATE_ELEM`, …).
        call: &'static str,
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl StoreError {
    /// The map that the error is about.
    #[must_use]
    pub const fn map(&self) -> &'static str {
        match self {
            Self::Full { map } | Self::Kernel { map, .. } => map,
        }
    }

    /// The kernel's error number, when there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Full { .. } => None,
            Self::Kernel { source, .. } => source.raw_os_error(),
        }
    }
}

/// An operation that failed.
#[derive(Debug)]
pub struct Failed {
    /// Which of the operations: an index into the slice that was handed over.
    pub op: usize,
    /// Why.
    pub error: StoreError,
}

/// Something that holds the maps of the control plane.
pub trait MapStore {
    /// Applies `ops`, each on its own, and lists those that failed.
    ///
    /// The operations of one call don't depend on each other: an implementation may reorder them
    /// and batch those of one map. An operation that is not listed was applied; one that is listed
    /// changed nothing (slots excepted, see [`Op::PutSlots`]). Deleting what isn't there succeeds.
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed>;

    /// Reads everything back.
    ///
    /// # Errors
    /// When a map can't be read. Nothing is known then, and the agent must not go on.
    fn read(&self) -> Result<Installed, StoreError>;
}

impl<S: MapStore + ?Sized> MapStore for &mut S {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        (**self).apply(ops)
    }

    fn read(&self) -> Result<Installed, StoreError> {
        (**self).read()
    }
}

/// What the maps hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// How much the maps have room for.
    pub capacity: Capacity,
    /// The element of `CONFIG`; `None` when it was never written (all zero).
    pub config: Option<Box<Config>>,
    /// The words of `ADDRESS_FILTER`, [`FILTER_WORDS`] of them.
    pub filter: Vec<u64>,
    /// `SLOTS` from index 0; those past the end of the vector are 0.
    pub slots: Vec<BackendId>,
    /// `SERVICE_NAMES`.
    pub names: BTreeMap<ServiceId, ServiceName>,
    /// `AFFINITY_MEMBERS`.
    pub members: BTreeMap<MemberKey, MemberSets>,
    /// The keys of `TURNS`.
    pub turns: BTreeSet<ServiceId>,
    /// The IPv4 maps.
    pub v4: InstalledFamily<V4>,
    /// The IPv6 maps.
    pub v6: InstalledFamily<V6>,
}

impl Default for Installed {
    fn default() -> Self {
        Self {
            capacity: Capacity::default(),
            config: None,
            filter: vec![0; FILTER_WORDS as usize],
            slots: Vec::new(),
            names: BTreeMap::new(),
            members: BTreeMap::new(),
            turns: BTreeSet::new(),
            v4: InstalledFamily::default(),
            v6: InstalledFamily::default(),
        }
    }
}

/// What the maps of one family hold.
#[derive(Clone, Debug, PartialEq)]
pub struct InstalledFamily<A> {
    /// `BACKENDS_*`, without elements that are zero.
    pub backends: BTreeMap<BackendId, Backend<A>>,
    /// `SERVICES_*`, markers included.
    pub frontends: BTreeMap<Frontend<A>, Service>,
    /// The keys of `SOURCE_RANGES_*`.
    pub ranges: BTreeSet<SourceRangeKey<A>>,
}

impl<A> Default for InstalledFamily<A> {
    fn default() -> Self {
        Self { backends: BTreeMap::new(), frontends: BTreeMap::new(), ranges: BTreeSet::new() }
    }
}

/// How much the maps have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Elements of `SERVICES_V4`, and of `SERVICES_V6`.
    pub frontends: u32,
    /// Elements of `SLOTS`.
    pub slots: u32,
    /// Elements of `BACKENDS_V4`.
    pub backends_v4: u32,
    /// Elements of `BACKENDS_V6`.
    pub backends_v6: u32,
    /// Elements of `AFFINITY_MEMBERS`.
    pub members: u32,
    /// Elements of `SOURCE_RANGES_V4`, and of `SOURCE_RANGES_V6`.
    pub ranges: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            frontends: SERVICES_MAX,
            slots: SLOTS_MAX,
            backends_v4: BACKENDS_MAX,
            backends_v6: BACKENDS_MAX,
            members: AFFINITY_MEMBERS_MAX,
            ranges: SOURCE_RANGES_MAX,
        }
    }
}
