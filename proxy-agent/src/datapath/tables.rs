//! The pinned maps, opened with their types: the one list of which map holds what.
//!
//! Called by the store, the sweeper, the device watcher and the command line, each of which opens
//! what it needs.

use std::path::Path;

use proxy_common::{
    Address, Affinity, AffinityKey, Backend, BackendId, Config, CountedSocket, Device, Flow,
    Frontend, MemberKey, MemberSets, Service, ServiceName, SocketKey, SocketPeer, SourceRangeKey,
    Tuple, V4, V6,
};

use super::map::{Map, MapError, PerCpuArray};

/// An address family, and what its maps are called.
pub trait Family: Address {
    /// 4 or 6.
    const NUMBER: u32;
    /// `SERVICES_*`
    const SERVICES: &'static str;
    /// `BACKENDS_*`
    const BACKENDS: &'static str;
    /// `SOURCE_RANGES_*`
    const SOURCE_RANGES: &'static str;
    /// `DST_FLOWS_*`
    const DST_FLOWS: &'static str;
    /// `SRC_FLOWS_*`
    const SRC_FLOWS: &'static str;
    /// `NEW_DST_FLOWS_*`
    const NEW_DST_FLOWS: &'static str;
    /// `NEW_SRC_FLOWS_*`
    const NEW_SRC_FLOWS: &'static str;
    /// `SOCKETS_*`
    const SOCKETS: &'static str;
    /// `AFFINITY_*`
    const AFFINITY: &'static str;
    /// `OPEN_FLOWS_*`
    const OPEN_FLOWS: &'static str;
}

impl Family for V4 {
    const NUMBER: u32 = 4;
    const SERVICES: &'static str = "SERVICES_V4";
    const BACKENDS: &'static str = "BACKENDS_V4";
    const SOURCE_RANGES: &'static str = "SOURCE_RANGES_V4";
    const DST_FLOWS: &'static str = "DST_FLOWS_V4";
    const SRC_FLOWS: &'static str = "SRC_FLOWS_V4";
    const NEW_DST_FLOWS: &'static str = "NEW_DST_FLOWS_V4";
    const NEW_SRC_FLOWS: &'static str = "NEW_SRC_FLOWS_V4";
    const OPEN_FLOWS: &'static str = "OPEN_FLOWS_V4";
    const AFFINITY: &'static str = "AFFINITY_V4";
    const SOCKETS: &'static str = "SOCKETS_V4";
}

impl Family for V6 {
    const NUMBER: u32 = 6;
    const SERVICES: &'static str = "SERVICES_V6";
    const BACKENDS: &'static str = "BACKENDS_V6";
    const SOURCE_RANGES: &'static str = "SOURCE_RANGES_V6";
    const DST_FLOWS: &'static str = "DST_FLOWS_V6";
    const SRC_FLOWS: &'static str = "SRC_FLOWS_V6";
    const NEW_DST_FLOWS: &'static str = "NEW_DST_FLOWS_V6";
    const NEW_SRC_FLOWS: &'static str = "NEW_SRC_FLOWS_V6";
    const OPEN_FLOWS: &'static str = "OPEN_FLOWS_V6";
    const AFFINITY: &'static str = "AFFINITY_V6";
    const SOCKETS: &'static str = "SOCKETS_V6";
}

/// What every program reads before it decides.
///
/// # Errors
/// See [`Map::open`], here and below.
pub fn config(maps: &Path) -> Result<Map<u32, Config>, MapError> {
    Map::open(maps, "CONFIG")
}

/// Devices by ifindex.
///
/// # Errors
/// See [`Map::open`].
pub fn devices(maps: &Path) -> Result<Map<u32, Device>, MapError> {
    Map::open(maps, "DEVICES")
}

/// Packets by [`proxy_common::Counter`].
///
/// # Errors
/// See [`PerCpuArray::open`].
pub fn counters(maps: &Path) -> Result<PerCpuArray<u64>, MapError> {
    PerCpuArray::open(maps, "COUNTERS")
}

/// The maps of Services that have no family.
#[derive(Debug)]
pub struct Shared {
    /// `ADDRESS_FILTER`
    pub filter: Map<u32, u64>,
    /// `SLOTS`
    pub slots: Map<u32, BackendId>,
    /// `SERVICE_NAMES`
    pub names: Map<u32, ServiceName>,
    /// `AFFINITY_MEMBERS`
    pub members: Map<MemberKey, MemberSets>,
    /// `TURNS`
    pub turns: Map<u32, u32>,
}

impl Shared {
    /// Opens them.
    ///
    /// # Errors
    /// See [`Map::open`].
    pub fn open(maps: &Path) -> Result<Self, MapError> {
        Ok(Self {
            filter: Map::open(maps, "ADDRESS_FILTER")?,
            slots: Map::open(maps, "SLOTS")?,
            names: Map::open(maps, "SERVICE_NAMES")?,
            members: Map::open(maps, "AFFINITY_MEMBERS")?,
            turns: Map::open(maps, "TURNS")?,
        })
    }
}

/// The maps of Services of one family.
#[derive(Debug)]
pub struct Services<A: Family> {
    /// `SERVICES_*`
    pub frontends: Map<Frontend<A>, Service>,
    /// `BACKENDS_*`
    pub backends: Map<u32, Backend<A>>,
    /// `SOURCE_RANGES_*`
    pub ranges: Map<SourceRangeKey<A>, u32>,
}

impl<A: Family> Services<A> {
    /// Opens them.
    ///
    /// # Errors
    /// See [`Map::open`].
    pub fn open(maps: &Path) -> Result<Self, MapError> {
        Ok(Self {
            frontends: Map::open(maps, A::SERVICES)?,
            backends: Map::open(maps, A::BACKENDS)?,
            ranges: Map::open(maps, A::SOURCE_RANGES)?,
        })
    }
}

/// Clients that stay with their endpoint.
///
/// # Errors
/// See [`Map::open`], here and below.
pub fn affinity<A: Family>(maps: &Path) -> Result<Map<AffinityKey<A>, Affinity>, MapError> {
    Map::open(maps, A::AFFINITY)
}

/// Open flows by backend id.
///
/// # Errors
/// See [`Map::open`].
pub fn open_flows<A: Family>(maps: &Path) -> Result<Map<u32, u32>, MapError> {
    Map::open(maps, A::OPEN_FLOWS)
}

/// Translated sockets.
///
/// # Errors
/// See [`Map::open`].
pub fn sockets<A: Family>(maps: &Path) -> Result<Map<SocketKey<A>, SocketPeer<A>>, MapError> {
    Map::open(maps, A::SOCKETS)
}

/// Connected sockets that count as open flows, by cookie.
///
/// # Errors
/// See [`Map::open`].
pub fn counted_sockets(maps: &Path) -> Result<Map<u64, CountedSocket>, MapError> {
    Map::open(maps, "COUNTED_SOCKETS")
}

/// The flow tables of one family.
#[derive(Debug)]
pub struct Flows<A: Family> {
    /// `DST_FLOWS_*`
    pub dst: Map<Tuple<A>, Flow<A>>,
    /// `SRC_FLOWS_*`
    pub src: Map<Tuple<A>, Flow<A>>,
    /// `NEW_DST_FLOWS_*`
    pub new_dst: Map<Tuple<A>, Flow<A>>,
    /// `NEW_SRC_FLOWS_*`
    pub new_src: Map<Tuple<A>, Flow<A>>,
}

impl<A: Family> Flows<A> {
    /// Opens them.
    ///
    /// # Errors
    /// See [`Map::open`].
    pub fn open(maps: &Path) -> Result<Self, MapError> {
        Ok(Self {
            dst: Map::open(maps, A::DST_FLOWS)?,
            src: Map::open(maps, A::SRC_FLOWS)?,
            new_dst: Map::open(maps, A::NEW_DST_FLOWS)?,
            new_src: Map::open(maps, A::NEW_SRC_FLOWS)?,
        })
    }
}
