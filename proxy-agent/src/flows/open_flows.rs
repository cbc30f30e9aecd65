//! How many flows each endpoint has open, for Services that pick by least connections.
//!
//! The datapath counts up when a flow is opened and never down, and may lose a count to another CPU.
//! So every sweep counts what there is, flows and sockets, and writes that. [`Tally`] counts halves
//! as a sweep passes them and is pure; [`correct`] writes. Called by [`crate::flows::sweeper`].
//!
//! Concurrency: what is opened while the tables are walked may be missed until the next sweep.

use std::collections::{HashMap, HashSet};

use proxy_common::{
    Address, Backend, BackendId, Be16, CountedSocket, Flow, FlowFlags, FlowKind, ServiceId,
    SocketKey, SocketPeer, Tuple,
};

use crate::datapath::{
    map::{Map, MapError},
    tables::Family,
};

/// An endpoint as flows name it: the id may belong to another endpoint by now.
type Endpoint<A> = (BackendId, A, Be16);

/// Open flows of the Services that are counted.
#[derive(Debug)]
pub struct Tally<'a, A> {
    counted: &'a HashSet<ServiceId>,
    /// What reply halves have seen of the end, by their key.
    closing: HashMap<Tuple<A>, FlowFlags>,
    open: HashMap<Endpoint<A>, u32>,
}

impl<'a, A: Address> Tally<'a, A> {
    /// Counts flows of `counted` only.
    #[must_use]
    pub fn new(counted: &'a HashSet<ServiceId>) -> Self {
        Self { counted, closing: HashMap::new(), open: HashMap::new() }
    }

    /// Passes a half at egress. All of them come before those at ingress.
    pub fn egress(&mut self, key: &Tuple<A>, flow: &Flow<A>) {
        let closing = [FlowFlags::FIN, FlowFlags::RST].iter().any(|f| flow.flags.contains(*f));
        if closing && self.counts(flow) {
            self.closing.insert(*key, flow.flags);
        }
    }

    /// Passes a half at ingress.
    pub fn ingress(&mut self, key: &Tuple<A>, flow: &Flow<A>) {
        if flow.flags.contains(FlowFlags::REPLY) || !self.counts(flow) {
            return;
        }
        let reply = self.closing.get(&flow.src_key(key)).copied().unwrap_or_default();
        let reset = flow.flags.union(reply).contains(FlowFlags::RST);
        let closed = flow.flags.contains(FlowFlags::FIN) && reply.contains(FlowFlags::FIN);
        if !reset && !closed {
            *self.open.entry((flow.backend, flow.address, flow.port)).or_default() += 1;
        }
    }

    fn counts(&self, flow: &Flow<A>) -> bool {
        flow.kind == FlowKind::Service as u8
            && flow.backend != BackendId::default()
            && self.counted.contains(&flow.service)
    }

    /// Flows by backend. An endpoint counts only where `backend` says that its id is still its own.
    fn by_backend(
        self,
        mut backend: impl FnMut(BackendId) -> Result<Option<Backend<A>>, MapError>,
    ) -> Result<HashMap<u32, u32>, MapError> {
        let mut counts = HashMap::new();
        for ((id, address, port), count) in self.open {
            let now = backend(id)?;
            if now.is_some_and(|now| (now.address, now.port) == (address, port)) {
                *counts.entry(id.get()).or_default() += count;
            }
        }
        Ok(counts)
    }
}

/// The maps that counting needs.
pub struct Counts<'a, A: Family> {
    /// `OPEN_FLOWS_*`
    pub open_flows: &'a Map<u32, u32>,
    /// `BACKENDS_*`
    pub backends: &'a Map<u32, Backend<A>>,
    /// `SOCKETS_*`
    pub sockets: &'a Map<SocketKey<A>, SocketPeer<A>>,
    /// `COUNTED_SOCKETS`, all elements.
    pub counted: &'a [(u64, CountedSocket)],
}

/// Makes `OPEN_FLOWS_*` say what `tally` and the sockets say. How many elements were wrong.
///
/// # Errors
/// When a map can't be read or written.
pub fn correct<A: Family>(maps: &Counts<'_, A>, tally: Tally<'_, A>) -> Result<usize, MapError> {
    let mut counts = tally.by_backend(|id| maps.backends.get(&id.get()))?;
    for (cookie, socket) in maps.counted {
        if socket.family == A::NUMBER && is_connected(maps, *cookie, socket.backend)? {
            *counts.entry(socket.backend.get()).or_default() += 1;
        }
    }
    let mut wrong = Vec::new();
    maps.open_flows.for_each(|id, count| {
        let right = counts.remove(&id).unwrap_or_default();
        if count != right {
            wrong.push((id, right));
        }
    })?;
    for (id, right) in &wrong {
        maps.open_flows.put(id, right)?;
    }
    Ok(wrong.len())
}

/// Whether the socket is connected to the endpoint that has the id now, and not to one before it.
fn is_connected<A: Family>(
    maps: &Counts<'_, A>,
    cookie: u64,
    backend: BackendId,
) -> Result<bool, MapError> {
    let Some(Backend { address, port, .. }) = maps.backends.get(&backend.get())? else {
        return Ok(false);
    };
    Ok(maps.sockets.get(&SocketKey::new(cookie, address, port))?.is_some())
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use bytemuck::Zeroable;
    use proxy_common::{
        Backend, BackendFlags, BackendId, Be16, Flow, FlowFlags, Protocol, ServiceId, Tuple, V4,
    };

    use super::Tally;

    const WEB: ServiceId = ServiceId::new(7);
    const ENDPOINT: (V4, Be16) = (V4::new([10, 1, 0, 1]), Be16::new(8080));

    /// A flow of `client`, and what its two halves have seen.
    fn pass(tally: &mut Tally<'_, V4>, client: u16, service: ServiceId, flags: [FlowFlags; 2]) {
        let source = (V4::new([10, 1, 0, 9]), Be16::new(client));
        let key = Tuple::new(source, (V4::new([10, 96, 0, 1]), Be16::new(80)), Protocol::TCP);
        let forward = Flow {
            address: ENDPOINT.0,
            port: ENDPOINT.1,
            other_port: source.1,
            service,
            backend: BackendId::new(3),
            flags: flags[0],
            ..Flow::zeroed()
        };
        let reply = Flow { flags: flags[1].union(FlowFlags::REPLY), ..forward };
        tally.egress(&forward.src_key(&key), &reply);
        tally.ingress(&key, &forward);
    }

    fn counts(tally: Tally<'_, V4>, now: (V4, Be16)) -> HashMap<u32, u32> {
        let backend = Backend::new(now.0, now.1, BackendFlags::empty());
        tally.by_backend(|_| Ok(Some(backend))).unwrap()
    }

    const NONE: FlowFlags = FlowFlags::empty();
    const FIN: FlowFlags = FlowFlags::FIN;
    const RST: FlowFlags = FlowFlags::RST;

    #[test]
    fn flows_that_neither_end_has_closed_count() {
        let counted = HashSet::from([WEB]);
        let mut tally = Tally::new(&counted);
        for (client, flags) in
            [[NONE, NONE], [FIN, NONE], [NONE, FIN], [FIN, FIN], [NONE, RST], [RST, NONE]]
                .into_iter()
                .enumerate()
        {
            pass(&mut tally, u16::try_from(client).unwrap(), WEB, flags);
        }
        assert_eq!(counts(tally, ENDPOINT), HashMap::from([(3, 3)]));
    }

    #[test]
    fn flows_of_other_services_do_not_count() {
        let counted = HashSet::from([WEB]);
        let mut tally = Tally::new(&counted);
        pass(&mut tally, 1, ServiceId::new(8), [NONE, NONE]);
        assert_eq!(counts(tally, ENDPOINT), HashMap::new());
    }

    #[test]
    fn an_id_that_another_endpoint_has_now_inherits_nothing() {
        let counted = HashSet::from([WEB]);
        let mut tally = Tally::new(&counted);
        pass(&mut tally, 1, WEB, [NONE, NONE]);
        assert_eq!(counts(tally, (V4::new([10, 1, 0, 2]), ENDPOINT.1)), HashMap::new());
    }
}
