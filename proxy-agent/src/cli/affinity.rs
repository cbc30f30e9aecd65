//! `sluice affinity`: clients that stay with their endpoint.
//!
//! JSON: a list of [`Row`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    path::Path,
};

use proxy_common::{
    Affinity, AffinityKey, BackendId, Be16, MemberKey, MemberSets, Nanoseconds, ServiceId, V4, V6,
};
use serde::Serialize;

use super::{
    CliError, ReadArgs, installed_maps,
    output::{duration, lines, show, table},
    shown::{End, Name, name_or_id},
    view::View,
};
use crate::{
    datapath::tables::{self, Family, Services, Shared},
    flows::services::Known,
    host::clock,
};

/// A client of a Service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    /// The client's address; null for the processes of the node, which are one client.
    client: Option<IpAddr>,
    /// The Service port; null when its name is not in the maps.
    service: Option<Name>,
    /// The Service port's number.
    service_id: u32,
    /// The endpoint that the client stays with; null when no backend has the number any more.
    endpoint: Option<End>,
    /// The endpoint's index in `BACKENDS_*`.
    backend: u32,
    /// Seconds since the client's last packet or connection.
    idle_seconds: u32,
    /// Seconds until the client is free; null when the Service port has no session affinity now.
    expires_seconds: Option<u32>,
    /// Whether the next connection goes there: the time isn't over, and the endpoint is still in a
    /// set of the Service port.
    holds: bool,
}

pub(super) fn run(args: &ReadArgs) -> Result<(), CliError> {
    let maps = installed_maps(&args.pins.pins()?)?;
    let names = View::open(&maps)?.names()?;
    let mut members = HashSet::new();
    Shared::open(&maps)?.members.for_each(|key, sets| {
        if sets != MemberSets::empty() {
            members.insert(key);
        }
    })?;
    let look = Look { names, members, now: clock::now() };
    let mut rows = Vec::new();
    collect::<V4>(&maps, &look, &mut rows)?;
    collect::<V6>(&maps, &look, &mut rows)?;
    rows.sort_by_key(|row| (row.client, row.service.clone(), row.service_id));
    show(args.output, &rows, |rows| text(rows))
}

/// What a row needs beside the element itself.
struct Look {
    names: BTreeMap<ServiceId, Name>,
    members: HashSet<MemberKey>,
    now: Nanoseconds,
}

fn collect<A: Family>(maps: &Path, look: &Look, rows: &mut Vec<Row>) -> Result<(), CliError> {
    let services = Services::<A>::open(maps)?;
    let mut known = Known::default();
    known.read(&services.frontends)?;
    let mut endpoints = HashMap::new();
    services.backends.for_each(|id, backend| {
        if backend.port != Be16::ZERO {
            endpoints.insert(BackendId::new(id), End::new(backend.address, backend.port));
        }
    })?;
    tables::affinity::<A>(maps)?
        .for_each(|key, element| rows.push(row(&key, &element, &known, &endpoints, look)))?;
    Ok(())
}

fn row<A: Family>(
    key: &AffinityKey<A>,
    element: &Affinity,
    known: &Known,
    endpoints: &HashMap<BackendId, End>,
    look: &Look,
) -> Row {
    let client = key.client.to_ip();
    let idle = look.now.seconds_since(element.last_seen).get();
    let timeout = known.affinity.get(&key.service).map(|seconds| seconds.get());
    let member = MemberKey { service: key.service, backend: element.backend };
    Row {
        client: (!client.is_unspecified()).then_some(client),
        service: look.names.get(&key.service).cloned(),
        service_id: key.service.get(),
        endpoint: endpoints.get(&element.backend).copied(),
        backend: element.backend.get(),
        idle_seconds: idle,
        expires_seconds: timeout.map(|timeout| timeout.saturating_sub(idle)),
        holds: timeout.is_some_and(|timeout| idle <= timeout) && look.members.contains(&member),
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No client stays with an endpoint.".into();
    }
    let mut table = table(["CLIENT", "SERVICE", "ENDPOINT", "IDLE", "EXPIRES", "HOLDS"]);
    for row in rows {
        table.add_row([
            row.client.map_or_else(|| "(node)".to_owned(), |client| client.to_string()),
            name_or_id(row.service.as_ref(), row.service_id),
            row.endpoint.map_or_else(|| format!("#{}", row.backend), |end| end.to_string()),
            duration(row.idle_seconds.into()),
            row.expires_seconds.map_or_else(|| "-".to_owned(), |left| duration(left.into())),
            if row.holds { "yes" } else { "no" }.to_owned(),
        ]);
    }
    lines(&table)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use proxy_common::{
        Affinity, AffinityKey, BackendId, MemberKey, Nanoseconds, Seconds, ServiceId, V4,
    };

    use super::{End, Known, Look, Row, row};

    const WEB: ServiceId = ServiceId::new(7);
    const BACKEND: BackendId = BackendId::new(3);

    fn shown(client: [u8; 4], idle: u64, member: bool) -> Row {
        let key = AffinityKey { client: V4::new(client), service: WEB };
        let seconds = |seconds: u64| Nanoseconds::new(seconds * 1_000_000_000);
        let element = Affinity { last_seen: seconds(1_000), backend: BACKEND, pad: 0 };
        let known =
            Known { affinity: HashMap::from([(WEB, Seconds::new(60))]), ..Known::default() };
        let end = End { address: [10, 1, 0, 1].into(), port: 80 };
        let member = member.then_some(MemberKey { service: WEB, backend: BACKEND });
        let look = Look {
            names: BTreeMap::new(),
            members: HashSet::from_iter(member),
            now: seconds(1_000 + idle),
        };
        row(&key, &element, &known, &HashMap::from([(BACKEND, end)]), &look)
    }

    #[test]
    fn a_client_stays_until_its_time_is_over() {
        let row = shown([10, 1, 0, 9], 20, true);
        assert_eq!((row.idle_seconds, row.expires_seconds, row.holds), (20, Some(40), true));
        let row = shown([10, 1, 0, 9], 61, true);
        assert_eq!((row.expires_seconds, row.holds), (Some(0), false));
    }

    #[test]
    fn an_endpoint_that_left_every_set_holds_nobody() {
        assert!(!shown([10, 1, 0, 9], 20, false).holds);
    }

    #[test]
    fn the_processes_of_the_node_are_one_client_without_an_address() {
        assert_eq!(shown([0; 4], 0, true).client, None);
        assert_eq!(shown([10, 1, 0, 9], 0, true).client, Some([10, 1, 0, 9].into()));
    }
}
