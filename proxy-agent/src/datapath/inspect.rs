//! What is pinned and attached: for `sluice status` and `sluice devices`, with or without an agent.
//!
//! Only looks. Called by [`crate::cli`].

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use proxy_common::layout::{MAPS, MapKind};

use super::{
    links,
    pins::{Pins, parse_device_pin},
    program::{Direction, SocketProgram},
    raw_map::RawMap,
    syscall::{self, MapInfo, ProgramInfo},
};

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At a hook of a cgroup.
    Cgroup {
        /// The inode number of the cgroup's directory.
        id: u64,
    },
    /// At a device, by a TCX link.
    Tcx {
        /// The device.
        ifindex: u32,
        /// Which way.
        direction: Direction,
        /// False when the device is gone.
        alive: bool,
    },
    /// At a device, by a clsact filter.
    Clsact {
        /// The device.
        ifindex: u32,
        /// Which way.
        direction: Direction,
    },
}

/// A program that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The pin of its link, or of itself at a clsact filter.
    pub pin: PathBuf,
    /// Where.
    pub place: Place,
    /// The program's name; of a TCX link only the direction, where we may not look at the program.
    pub program: String,
    /// The kernel's id of the program.
    pub program_id: u32,
    /// The first bytes of the hash over its instructions, in hexadecimal; empty where we may not
    /// look at the program.
    pub tag: String,
}

/// The names in a directory of pins, sorted; none if there is no such directory.
///
/// # Errors
/// When it can't be listed.
pub fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Every program that is attached.
///
/// # Errors
/// When the pins can't be listed. A pin that can't be read is left out: it may go while we look.
pub fn attachments(pins: &Pins) -> io::Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for name in names(&pins.links())? {
        found.extend(link(pins.links().join(&name), &name));
    }
    for name in names(&pins.filters())? {
        found.extend(filter(pins.filters().join(&name), &name));
    }
    Ok(found)
}

fn link(pin: PathBuf, name: &str) -> Option<Attachment> {
    let info = links::inspect(&pin).ok()?;
    let place = match parse_device_pin(name) {
        Some((ifindex, direction)) => {
            Place::Tcx { ifindex, direction, alive: info.ifindex() == ifindex }
        }
        None => {
            SocketProgram::ALL.into_iter().find(|program| program.name() == name)?;
            Place::Cgroup { id: info.cgroup_id() }
        }
    };
    let program =
        syscall::program_by_id(info.program).and_then(|program| syscall::info(program.as_fd()));
    match program {
        Ok(program) => attachment(pin, place, &program),
        // To open a program by its id takes CAP_SYS_ADMIN, which the agent's container hasn't got.
        // What runs there is told by the pin.
        Err(_) => Some(Attachment {
            pin,
            place,
            program: name.split('-').next().unwrap_or_default().to_owned(),
            program_id: info.program,
            tag: String::new(),
        }),
    }
}

fn filter(pin: PathBuf, name: &str) -> Option<Attachment> {
    let (ifindex, direction) = parse_device_pin(name)?;
    let program = syscall::open(&pin).ok()?;
    attachment(pin, Place::Clsact { ifindex, direction }, &syscall::info(program.as_fd()).ok()?)
}

fn attachment(pin: PathBuf, place: Place, info: &ProgramInfo) -> Option<Attachment> {
    let name = info.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Attachment {
        pin,
        place,
        program: String::from_utf8_lossy(name).into_owned(),
        program_id: info.id,
        tag: info.tag.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The map's name.
    pub map: &'static str,
    /// Elements that hold something: of a hash, those that exist; of an array, those that aren't
    /// zero. `None` for a per-CPU array, every element of which is in use.
    pub used: Option<usize>,
    /// How many it has room for.
    pub max_entries: u32,
}

/// How full every map is. A map that isn't there is left out.
///
/// # Errors
/// When a map can't be read.
pub fn fills(pins: &Pins) -> io::Result<Vec<Fill>> {
    let mut fills = Vec::new();
    for spec in MAPS {
        let map = match syscall::open(&pins.maps().join(spec.name)) {
            Ok(map) => map,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let info: MapInfo = syscall::info(map.as_fd())?;
        let array = matches!(spec.kind, MapKind::Array | MapKind::PerCpuArray);
        let mut used = None;
        if !info.is_per_cpu() {
            let mut count = 0;
            let size = (info.value_size as usize).max(1);
            RawMap::new(map, &info, 1).for_each_batch(|_, values| {
                let holds = |value: &&[u8]| !array || value.iter().any(|byte| *byte != 0);
                count += values.chunks(size).filter(holds).count();
            })?;
            used = Some(count);
        }
        fills.push(Fill { map: spec.name, used, max_entries: info.max_entries });
    }
    Ok(fills)
}
