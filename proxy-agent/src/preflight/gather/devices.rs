//! Devices: which have a role, which bridges they are ports of, and whose programs are on them.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
};

use futures::TryStreamExt;
use proxy_common::DeviceRole;
use rtnetlink::{
    Handle,
    packet_route::{
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
        tc::{TcAttribute, TcFilterBpf, TcFilterBpfOption, TcMessage, TcOption},
    },
};

use super::super::facts::{DeviceNeighbour, Hooks};
use crate::{
    datapath::{
        probe::{self, Attached, Probe},
        program::{Direction, SocketProgram},
    },
    devices::{self, Device, selector::Selector},
};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The programs at the devices, ours among them.
    programs: Vec<DeviceNeighbour>,
    /// Bridges that have a workload at a port.
    pub(super) bridges: Vec<String>,
    unknown: Option<String>,
}

/// Looks at the devices.
pub(super) fn look(selector: &Selector) -> Found {
    let looked = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(list(selector)));
    looked.unwrap_or_else(|unknown| Found { unknown: Some(unknown), ..Found::default() })
}

async fn list(selector: &Selector) -> Result<Found, String> {
    let devices = devices::watch::look(selector).await.map_err(|error| error.to_string())?;
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let links: Result<Vec<LinkMessage>, _> = handle.link().get().execute().try_collect().await;
    let links = links.map_err(|error| error.to_string())?;
    let workloads: Vec<u32> = devices
        .iter()
        .filter(|device| device.role == DeviceRole::Workload)
        .map(|device| device.ifindex)
        .collect();
    let programs = programs(&handle, &devices).await;
    connection.abort();
    Ok(Found { programs, bridges: bridges(&links, &workloads), unknown: None })
}

/// The programs at the devices.
async fn programs(handle: &Handle, devices: &[Device]) -> Vec<DeviceNeighbour> {
    let mut programs = Vec::new();
    for device in devices {
        for direction in Direction::ALL {
            let tcx = probe::tcx_programs(device.ifindex, direction).unwrap_or_default();
            let filters = filters(handle, device.ifindex, direction).await;
            let tcx = tcx.into_iter().map(|program| ("tcx", program));
            let filters = filters.into_iter().map(|program| ("clsact", program));
            for (by, Attached { id, name }) in tcx.chain(filters) {
                let device = device.name.clone();
                programs.push(DeviceNeighbour { device, direction, by, id, name });
            }
        }
    }
    programs
}

/// Filters of clsact with a BPF program. A device without the qdisc has none.
async fn filters(handle: &Handle, ifindex: u32, direction: Direction) -> Vec<Attached> {
    let Ok(index) = i32::try_from(ifindex) else { return Vec::new() };
    let mut request = handle.traffic_filter(index);
    let request = request.get();
    let request = match direction {
        Direction::Ingress => request.ingress(),
        Direction::Egress => request.egress(),
    };
    let messages: Vec<TcMessage> = request.execute().try_collect().await.unwrap_or_default();
    messages.iter().filter_map(filter).collect()
}

fn filter(message: &TcMessage) -> Option<Attached> {
    let bpf = TcAttribute::Kind(TcFilterBpf::KIND.to_owned());
    if !message.attributes.contains(&bpf) {
        return None;
    }
    let (mut id, mut name) = (None, None);
    for attribute in &message.attributes {
        let TcAttribute::Options(options) = attribute else { continue };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgId(number)) => id = Some(*number),
                TcOption::Bpf(TcFilterBpfOption::ProgName(text)) => name = Some(text.clone()),
                _ => {}
            }
        }
    }
    Some(Attached { id: id?, name })
}

fn bridges(links: &[LinkMessage], workloads: &[u32]) -> Vec<String> {
    let mut names = BTreeMap::new();
    for link in links {
        let is_bridge = link.attributes.iter().any(|attribute| {
            matches!(attribute, LinkAttribute::LinkInfo(parts)
                if parts.contains(&LinkInfo::Kind(InfoKind::Bridge)))
        });
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        if is_bridge {
            names.extend(name.map(|name| (link.header.index, name)));
        }
    }
    let ports = links.iter().filter(|link| workloads.contains(&link.header.index));
    let masters = ports.flat_map(|link| &link.attributes).filter_map(|it| match it {
        LinkAttribute::Controller(master) => Some(*master),
        _ => None,
    });
    let mut found: Vec<String> = masters.filter_map(|master| names.get(&master).cloned()).collect();
    found.sort();
    found.dedup();
    found
}

/// What is at the hooks: those of the devices that were found, and those of `cgroup`.
pub(super) fn hooks(found: &Found, cgroup: Option<&OwnedFd>) -> Hooks {
    let at = |program: SocketProgram, cgroup: &OwnedFd| {
        let looked = probe::cgroup_hook(cgroup.as_fd(), program);
        (program, looked.map_err(|error| Probe::of(&error)))
    };
    let programs = SocketProgram::ALL.into_iter();
    Hooks {
        cgroup: cgroup
            .map(|cgroup| programs.map(|program| at(program, cgroup)).collect())
            .unwrap_or_default(),
        devices: found.programs.clone(),
        unknown: found.unknown.clone(),
    }
}

/// `hooks` without the programs that are ours.
pub(super) fn of_others(mut hooks: Hooks, own: &[u32]) -> Hooks {
    for (_, hook) in &mut hooks.cgroup {
        if let Ok(hook) = hook {
            hook.programs.retain(|program| !own.contains(&program.id));
        }
    }
    hooks.devices.retain(|program| !own.contains(&program.id));
    hooks
}
