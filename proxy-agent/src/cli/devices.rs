//! `sluice devices`: devices with a role, and the programs on them.
//!
//! JSON: a list of [`Row`].

use std::net::{Ipv4Addr, Ipv6Addr};

use proxy_common::{Address, Device, DeviceRole, V4, V6};
use serde::Serialize;

use super::{
    CliError, ReadArgs, at_pins, installed_maps,
    output::{lines, show, table},
};
use crate::datapath::{
    inspect::{self, Attachment, Place},
    pins::Pins,
    tables,
};

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    /// Its number.
    ifindex: u32,
    /// Its name.
    name: String,
    /// `workload` or `uplink`; null when the map says something else.
    role: Option<&'static str>,
    /// Whether packets start with an Ethernet header.
    ethernet: bool,
    /// What IPv4 packets leaving by it are masqueraded to; null when there is no address.
    masquerade_v4: Option<Ipv4Addr>,
    /// What IPv6 packets leaving by it are masqueraded to; null when there is no address.
    masquerade_v6: Option<Ipv6Addr>,
    /// The programs on it.
    programs: Vec<Program>,
}

/// A program on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Program {
    /// `ingress` or `egress`.
    hook: &'static str,
    /// `tcx` or `clsact`.
    by: &'static str,
    /// Its name.
    program: String,
    /// The kernel's id of it.
    program_id: u32,
}

pub(super) fn run(args: &ReadArgs) -> Result<(), CliError> {
    let pins = args.pins.pins()?;
    let rows = rows(&pins)?;
    show(args.output, &rows, |rows| text(rows))
}

fn rows(pins: &Pins) -> Result<Vec<Row>, CliError> {
    let devices = tables::devices(&installed_maps(pins)?)?.entries()?;
    let attachments = inspect::attachments(pins).map_err(at_pins(pins.root()))?;
    let mut rows: Vec<Row> =
        devices.iter().map(|(ifindex, device)| row(*ifindex, device, &attachments)).collect();
    rows.sort_by_key(|row| row.ifindex);
    Ok(rows)
}

fn row(ifindex: u32, device: &Device, attachments: &[Attachment]) -> Row {
    Row {
        ifindex,
        name: device_name(device),
        role: DeviceRole::from_number(device.role).map(|role| match role {
            DeviceRole::Workload => "workload",
            DeviceRole::Uplink => "uplink",
        }),
        ethernet: device.ethernet != 0,
        masquerade_v4: v4(device.masquerade_v4),
        masquerade_v6: v6(device.masquerade_v6),
        programs: attachments
            .iter()
            .filter_map(|attachment| program(ifindex, attachment))
            .collect(),
    }
}

/// The name that a device had when it was listed.
pub(super) fn device_name(device: &Device) -> String {
    let name = device.name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn program(device: u32, attachment: &Attachment) -> Option<Program> {
    let (at, direction, by) = match attachment.place {
        Place::Tcx { ifindex, direction, alive: true } => (ifindex, direction, "tcx"),
        Place::Clsact { ifindex, direction } => (ifindex, direction, "clsact"),
        Place::Tcx { alive: false, .. } | Place::Cgroup { .. } => return None,
    };
    (at == device).then(|| Program {
        hook: direction.name(),
        by,
        program: attachment.program.clone(),
        program_id: attachment.program_id,
    })
}

fn v4(address: V4) -> Option<Ipv4Addr> {
    match address.to_ip() {
        std::net::IpAddr::V4(v4) if !v4.is_unspecified() => Some(v4),
        _ => None,
    }
}

fn v6(address: V6) -> Option<Ipv6Addr> {
    match address.to_ip() {
        std::net::IpAddr::V6(v6) if !v6.is_unspecified() => Some(v6),
        _ => None,
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No device has a role.".into();
    }
    let mut table =
        table(["INDEX", "DEVICE", "ROLE", "LAYER", "PROGRAMS", "MASQUERADED TO (V4)", "(V6)"]);
    let dash = || "-".to_owned();
    for row in rows {
        let programs: Vec<String> = row
            .programs
            .iter()
            .map(|program| format!("{} ({})", program.program, program.by))
            .collect();
        table.add_row([
            row.ifindex.to_string(),
            row.name.clone(),
            row.role.unwrap_or("-").to_owned(),
            if row.ethernet { "2" } else { "3" }.to_owned(),
            if programs.is_empty() { dash() } else { programs.join(" ") },
            row.masquerade_v4.map_or_else(dash, |address| address.to_string()),
            row.masquerade_v6.map_or_else(dash, |address| address.to_string()),
        ]);
    }
    lines(&table)
}
