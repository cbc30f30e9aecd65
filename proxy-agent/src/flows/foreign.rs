//! Beside another proxy that masquerades: neither side gives a port to a connection that the other one has
//! given it to, towards the same endpoint.
//!
//! What netfilter translates is entered into the flow tables as flows that change nothing: the datapath
//! passes their ports over, follows them like any other, and they end like any other. The other way
//! round, places of our masqueraded flows are reserved with netfilter. Called by [`super::sweeper`]
//! while a node is moved to Sluice, and by [`super::drain`] when it goes back.

use std::{io, ops::RangeInclusive, path::Path, time::Duration};

use bytemuck::Zeroable as _;
use proxy_common::{
    Be16, Flow, FlowFlags, FlowKind, Nanoseconds, Protocol, ServiceId, Tuple, V4, V6,
};

use crate::{
    datapath::{
        map::MapError,
        tables::{Family, Flows},
    },
    host::{
        clock,
        conntrack::{Connection, Conntrack},
    },
};

/// Why the other proxy's connections aren't known, or ours aren't known to it.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// A table.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The kernel's connection tracking.
    #[error("connection tracking: {0}")]
    Conntrack(#[from] io::Error),
}

/// Enters every connection that netfilter masquerades to one of `ports`. How many were new.
///
/// # Errors
/// See [`ForeignError`].
pub(super) fn adopt(maps: &Path, ports: &RangeInclusive<u16>) -> Result<usize, ForeignError> {
    let Some(conntrack) = Conntrack::open()? else { return Ok(0) };
    let (v4, v6) = (Flows::<V4>::open(maps)?, Flows::<V6>::open(maps)?);
    let now = clock::now();
    let mut entered = 0;
    for connection in conntrack.masqueraded()? {
        if ports.contains(&connection.source.port()) {
            let new = enter(&v4, &connection, now)? || enter(&v6, &connection, now)?;
            entered += usize::from(new);
        }
    }
    Ok(entered)
}

/// Whether the connection is of this family, and was entered.
///
/// The datapath gives places away meanwhile, first in the tables of new flows. A connection of netfilter's
/// that has ended keeps its place as long as one that is open, so that both may have the same: then the
/// newer one, ours, has it alone. Otherwise its answers would be taken for the other's, and it would
/// never be established.
fn enter<A: Family>(
    flows: &Flows<A>,
    connection: &Connection,
    now: Nanoseconds,
) -> Result<bool, MapError> {
    let Some((back, half)) = half_of::<A>(connection, now) else { return Ok(false) };
    let there = back.reversed();
    // In this order: a flow that settles is in the main tables before it leaves the others.
    let is_being_opened = || flows.new_dst.get(&back).map(|flow| flow.is_some());
    if is_being_opened()? {
        // Since after the last look: it was entered in the moment that the datapath gave it away.
        return leave(flows, &back).map(|()| false);
    }
    let entered =
        flows.dst.insert(&back, &Flow { flags: half.flags.union(FlowFlags::REPLY), ..half })?;
    if !entered {
        return Ok(false);
    }
    if is_being_opened()? {
        return leave(flows, &back).map(|()| false);
    }
    flows.src.insert(&there, &half)?;
    Ok(true)
}

/// Takes what [`enter`] has written under `back`, the tuple of the answers, if it is there.
fn leave<A: Family>(flows: &Flows<A>, back: &Tuple<A>) -> Result<(), MapError> {
    if flows.dst.get(back)?.is_some_and(|flow| is_foreign(back, &flow)) {
        flows.dst.delete(back)?;
        flows.src.delete(&back.reversed())?;
    }
    Ok(())
}

/// Whether the flow with this half of answers is one that changes nothing.
fn is_foreign<A: Family>(back: &Tuple<A>, half: &Flow<A>) -> bool {
    half.address == back.destination && half.port == back.destination_port
}

/// The tuple of the answers, and a half that leaves both ways as they are.
fn half_of<A: Family>(connection: &Connection, now: Nanoseconds) -> Option<(Tuple<A>, Flow<A>)> {
    let Connection { protocol, source, destination } = *connection;
    let node = (A::from_ip(source.ip())?, Be16::new(source.port()));
    let endpoint = (A::from_ip(destination.ip())?, Be16::new(destination.port()));
    let mut half = Flow::<A>::zeroed();
    (half.created, half.last_seen) = (now, now);
    half.service = ServiceId::NONE;
    half.kind = FlowKind::Direct as u8;
    half.write((node.0, node.1, endpoint.1), FlowFlags::ANSWERED);
    Some((Tuple::new(endpoint, node, Protocol::new(protocol)), half))
}

/// Lets go of every flow that [`adopt`] has entered: netfilter goes on with them by itself.
///
/// # Errors
/// See [`MapError`].
pub(super) fn release<A: Family>(flows: &Flows<A>) -> Result<(), MapError> {
    let mut theirs = Vec::new();
    flows.dst.for_each(|key, flow: Flow<A>| {
        if is_foreign(&key, &flow) {
            theirs.push(key);
        }
    })?;
    let turned: Vec<_> = theirs.iter().map(Tuple::reversed).collect();
    flows.dst.delete_all(&theirs)?;
    flows.src.delete_all(&turned)?;
    Ok(())
}

/// Keeps netfilter from giving the place of a masqueraded flow to a connection of its own, for so long.
/// How many were new to it.
///
/// # Errors
/// See [`ForeignError`].
pub(super) fn reserve(maps: &Path, time: Duration) -> Result<usize, ForeignError> {
    let Some(conntrack) = Conntrack::open()? else { return Ok(0) };
    let mut ours = Vec::new();
    masqueraded(&Flows::<V4>::open(maps)?, &mut ours)?;
    masqueraded(&Flows::<V6>::open(maps)?, &mut ours)?;
    let mut new = 0;
    for connection in &ours {
        new += usize::from(conntrack.reserve(connection, time)?);
    }
    Ok(new)
}

fn masqueraded<A: Family>(flows: &Flows<A>, found: &mut Vec<Connection>) -> Result<(), MapError> {
    for table in [&flows.src, &flows.new_src] {
        table.for_each(|key, flow| found.extend(connection(&key, &flow)))?;
    }
    Ok(())
}

/// The connection that leaves the node by the half under `key` at egress, if it is masqueraded.
fn connection<A: Family>(key: &Tuple<A>, flow: &Flow<A>) -> Option<Connection> {
    let decided = !flow.flags.contains(FlowFlags::PENDING);
    (flow.kind == FlowKind::Masquerade as u8 && decided).then(|| Connection {
        protocol: key.protocol.number(),
        source: (flow.address.to_ip(), flow.port.get()).into(),
        destination: (key.destination.to_ip(), flow.other_port.get()).into(),
    })
}

#[cfg(test)]
mod tests {
    use proxy_common::{Nanoseconds, V4, V6};

    use super::{Connection, half_of};

    #[test]
    fn a_foreign_flow_changes_nothing_and_its_halves_lead_to_each_other() {
        let connection = Connection {
            protocol: 6,
            source: "172.18.0.2:12345".parse().unwrap(),
            destination: "10.244.1.5:8080".parse().unwrap(),
        };
        assert!(half_of::<V6>(&connection, Nanoseconds::new(1)).is_none());
        let (back, half) = half_of::<V4>(&connection, Nanoseconds::new(1)).unwrap();
        assert_eq!((half.address, half.port), (back.destination, back.destination_port));
        assert_eq!(half.src_key(&back), back.reversed());
        assert_eq!(half.dst_key(&back.reversed()), back);
    }
}
