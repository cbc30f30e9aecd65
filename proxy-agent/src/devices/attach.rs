//! Makes the datapath follow the devices: `DEVICES`, and the programs on workload devices.
//!
//! The only writer of `DEVICES`. Called by [`crate::agent`] with every snapshot.

use std::{collections::BTreeMap, path::Path};

use proxy_common::{Device as Element, DeviceRole, V4, V6};

use super::{Device, Snapshot};
use crate::datapath::{
    self, Datapath, DatapathError,
    map::{Map, MapError},
    program::Direction,
    tables,
};

/// What is attached, and what `DEVICES` says.
#[derive(Debug)]
pub struct Attacher {
    map: Map<u32, Element>,
    installed: BTreeMap<u32, Installed>,
}

/// A device as it was last seen to.
#[derive(Debug, PartialEq, Eq)]
struct Installed {
    device: Device,
    /// Both programs are attached, or none is wanted.
    complete: bool,
}

/// Something that could not be done for a device. It is tried again with the next snapshot.
#[derive(Debug)]
pub struct Trouble {
    /// The device's name.
    pub device: String,
    /// The direction, where it is about one.
    pub hook: Option<Direction>,
    /// Why.
    pub error: DatapathError,
}

impl Attacher {
    /// Opens `DEVICES` in `maps`.
    ///
    /// # Errors
    /// See [`Map::open`].
    pub fn open(maps: &Path) -> Result<Self, MapError> {
        Ok(Self { map: tables::devices(maps)?, installed: BTreeMap::new() })
    }

    /// Forgets devices that are not in `snapshot` and are attached or listed all the same: left by
    /// an earlier agent.
    ///
    /// # Errors
    /// When the map or the pins can't be read. What can't be taken away is logged.
    pub fn prune(&self, snapshot: &Snapshot, datapath: &Datapath) -> Result<(), PruneError> {
        let wanted = |ifindex: u32, programs: bool| {
            snapshot
                .devices
                .iter()
                .any(|device| device.ifindex == ifindex && (!programs || wants_programs(device)))
        };
        for (ifindex, _) in self.map.entries()? {
            if !wanted(ifindex, false) {
                self.map.delete(&ifindex)?;
            }
        }
        for ifindex in datapath.attached_devices()? {
            if !wanted(ifindex, true) {
                datapath.detach_device(ifindex, None)?;
            }
        }
        Ok(())
    }

    /// Brings the datapath to what `snapshot` says.
    pub fn apply(&mut self, snapshot: &Snapshot, datapath: &mut Datapath) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let there: BTreeMap<u32, &Device> =
            snapshot.devices.iter().map(|device| (device.ifindex, device)).collect();
        let gone: Vec<u32> = self
            .installed
            .iter()
            .filter(|(ifindex, installed)| {
                let now = there.get(ifindex);
                now.is_none_or(|now| {
                    now.incarnation != installed.device.incarnation
                        || now.role != installed.device.role
                })
            })
            .map(|(ifindex, _)| *ifindex)
            .collect();
        for ifindex in gone {
            self.remove(ifindex, datapath, &mut troubles);
        }
        for device in &snapshot.devices {
            let same = self.installed.get(&device.ifindex);
            if same.is_none_or(|same| same.device != *device || !same.complete) {
                self.install(device, datapath, &mut troubles);
            }
        }
        troubles
    }

    /// Whether something is left to be tried again.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.installed.values().all(|installed| installed.complete)
    }

    /// How many devices have both programs.
    #[must_use]
    pub fn attached(&self) -> usize {
        let both = |installed: &&Installed| installed.complete && wants_programs(&installed.device);
        self.installed.values().filter(both).count()
    }

    fn install(&mut self, device: &Device, datapath: &mut Datapath, troubles: &mut Vec<Trouble>) {
        let before = self.installed.remove(&device.ifindex);
        let mut complete = true;
        // The programs read it: it has to be there first.
        if let Err(error) = self.map.put(&device.ifindex, &element(device)) {
            tracing::warn!(device = device.name, map = error.map, %error, "device not listed");
            complete = false;
        }
        let attached = before.is_some_and(|before| before.complete);
        if wants_programs(device) && !attached {
            let target = datapath::Device {
                ifindex: device.ifindex,
                name: device.name.clone(),
                ethernet: device.ethernet,
            };
            for hook in Direction::ALL {
                if let Err(error) = datapath.attach_device(&target, hook) {
                    complete = false;
                    if !error.is_gone() {
                        let device = device.name.clone();
                        troubles.push(Trouble { device, hook: Some(hook), error });
                    }
                }
            }
        }
        tracing::debug!(
            device = device.name,
            ifindex = device.ifindex,
            role = ?device.role,
            complete,
            "device",
        );
        self.installed.insert(device.ifindex, Installed { device: device.clone(), complete });
    }

    fn remove(&mut self, ifindex: u32, datapath: &Datapath, troubles: &mut Vec<Trouble>) {
        let Some(Installed { device, .. }) = self.installed.remove(&ifindex) else { return };
        tracing::debug!(device = device.name, ifindex, "device gone, or of another role");
        if wants_programs(&device)
            && let Err(error) = datapath.detach_device(ifindex, Some(&device.name))
        {
            troubles.push(Trouble { device: device.name.clone(), hook: None, error });
        }
        if let Err(error) = self.map.delete(&ifindex) {
            tracing::warn!(device = device.name, map = error.map, %error, "device still listed");
        }
    }
}

/// Why what an earlier agent left can't be looked through.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// `DEVICES`.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The pins.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// Pods' traffic is translated where it enters the node, which is the pod's device.
fn wants_programs(device: &Device) -> bool {
    device.role == DeviceRole::Workload
}

fn element(device: &Device) -> Element {
    let mut name = [0; 16];
    let text = device.name.as_bytes();
    let length = text.len().min(name.len() - 1);
    name[..length].copy_from_slice(&text[..length]);
    Element {
        role: device.role as u8,
        ethernet: device.ethernet.into(),
        pad: [0; 2],
        masquerade_v4: V4::new(device.masquerade_v4.map_or([0; 4], |v4| v4.octets())),
        masquerade_v6: V6::new(device.masquerade_v6.map_or([0; 16], |v6| v6.octets())),
        name,
    }
}
