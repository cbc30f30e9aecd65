//! The maps of one family as collections.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use proxy_common::{
    Address, Affinity, AffinityKey, Backend, BackendId, Flow, FragmentKey, FragmentPorts, Frontend,
    Service, SocketKey, SocketPeer, SourceRangeKey, Tuple,
};

use crate::env::FlowTable;

type Flows<A> = RefCell<HashMap<Tuple<A>, Flow<A>>>;

/// The maps of one family.
#[derive(Debug)]
pub struct FamilyMaps<A: Address> {
    /// `SERVICES_*`.
    pub services: HashMap<Frontend<A>, Service>,
    /// `BACKENDS_*`.
    pub backends: HashMap<BackendId, Backend<A>>,
    /// `DST_FLOWS_*`.
    pub dst: Flows<A>,
    /// `SRC_FLOWS_*`.
    pub src: Flows<A>,
    /// `NEW_DST_FLOWS_*`.
    pub new_dst: Flows<A>,
    /// `NEW_SRC_FLOWS_*`.
    pub new_src: Flows<A>,
    /// `FRAGMENTS_*`.
    pub fragments: RefCell<HashMap<FragmentKey<A>, FragmentPorts>>,
    /// `SOCKETS_*`.
    pub sockets: RefCell<HashMap<SocketKey<A>, SocketPeer<A>>>,
    /// `SOURCE_RANGES_*`.
    pub source_ranges: HashSet<SourceRangeKey<A>>,
    /// `AFFINITY_*`.
    pub affinity: RefCell<HashMap<AffinityKey<A>, Affinity>>,
    /// `OPEN_FLOWS_*`.
    pub open_flows: RefCell<HashMap<BackendId, u32>>,
    /// The address of the device that packets leave by.
    pub masquerade: Option<A>,
    /// How many flows each of the main tables holds at most.
    pub flows_max: usize,
}

impl<A: Address> Default for FamilyMaps<A> {
    fn default() -> Self {
        Self {
            services: HashMap::new(),
            backends: HashMap::new(),
            dst: RefCell::default(),
            src: RefCell::default(),
            new_dst: RefCell::default(),
            new_src: RefCell::default(),
            fragments: RefCell::default(),
            sockets: RefCell::default(),
            source_ranges: HashSet::new(),
            affinity: RefCell::default(),
            open_flows: RefCell::default(),
            masquerade: None,
            flows_max: usize::MAX,
        }
    }
}

impl<A: Address> FamilyMaps<A> {
    /// A flow table.
    pub fn table(&self, table: FlowTable) -> &Flows<A> {
        match table {
            FlowTable::Dst => &self.dst,
            FlowTable::Src => &self.src,
            FlowTable::NewDst => &self.new_dst,
            FlowTable::NewSrc => &self.new_src,
        }
    }
}
