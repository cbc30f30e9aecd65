//! Makes the datapath follow the devices: `DEVICES`, and the programs on each device with a role.
//!
//! The only writer of `DEVICES`. Called by [`crate::agent`] with every snapshot.

use std::{collections::BTreeMap, path::Path};

use proxy_common::{Device as Element, V4, V6};

use super::{Device, Snapshot};
use crate::{
    datapath::{
        self, Datapath, DatapathError,
        map::{Map, MapError},
        program::Direction,
        tables,
    },
    host::netns,
};

/// What is attached, and what `DEVICES` says.
#[derive(Debug)]
pub struct Attacher {
    map: Map<u32, Element>,
    installed: BTreeMap<u32, Installed>,
}

/// A device as it was last seen to.
#[derive(Debug)]
struct Installed {
    device: Device,
    /// `DEVICES` says the same.
    listed: bool,
    programs: Programs,
}

/// How far a device's programs are.
#[derive(Debug)]
enum Programs {
    /// To be attached.
    Due,
    /// Both are attached.
    Attached,
    /// Tried in vain; to be tried again.
    Failed(Vec<Trouble>),
}

/// Something that could not be done for a device. It is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The device's name.
    pub device: String,
    /// The direction, where it is about one.
    pub hook: Option<Direction>,
    /// Why.
    pub error: String,
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
        let wanted = |ifindex: u32| snapshot.devices.iter().any(|device| device.ifindex == ifindex);
        for (ifindex, _) in self.map.entries()? {
            if !wanted(ifindex) {
                self.map.delete(&ifindex)?;
            }
        }
        for ifindex in datapath.attached_devices()? {
            if !wanted(ifindex) {
                datapath.detach_device(ifindex, netns::device_name(ifindex).as_deref())?;
            }
        }
        Ok(())
    }

    /// Makes `DEVICES` say what `snapshot` says, and lets go of devices that are gone. Takes no
    /// time: programs are attached by [`Self::attach_next`].
    pub fn list(&mut self, snapshot: &Snapshot, datapath: &Datapath) {
        let there: BTreeMap<u32, &Device> =
            snapshot.devices.iter().map(|device| (device.ifindex, device)).collect();
        let gone: Vec<u32> = self
            .installed
            .iter()
            .filter(|(ifindex, installed)| {
                there.get(ifindex).is_none_or(|now| now.is_another(&installed.device))
            })
            .map(|(ifindex, _)| *ifindex)
            .collect();
        for ifindex in gone {
            self.remove(ifindex, datapath);
        }
        for device in &snapshot.devices {
            let before = self.installed.remove(&device.ifindex);
            let same = before.as_ref().is_some_and(|old| old.listed && old.device == *device);
            let listed = same || self.put(device);
            let programs = before.map_or(Programs::Due, |before| before.programs);
            let device = device.clone();
            self.installed.insert(device.ifindex, Installed { device, listed, programs });
        }
    }

    /// Attaches the programs of one device that has none yet, uplinks first. Whether there was one;
    /// the kernel takes its time for it.
    pub fn attach_next(&mut self, datapath: &mut Datapath) -> bool {
        let due = |installed: &&mut Installed| matches!(installed.programs, Programs::Due);
        let next = self.installed.values_mut().filter(due).max_by_key(|next| next.device.role);
        let Some(Installed { device, programs, .. }) = next else { return false };
        let target = datapath::Device {
            ifindex: device.ifindex,
            name: device.name.clone(),
            ethernet: device.ethernet,
        };
        let (mut troubles, mut gone) = (Vec::new(), false);
        for hook in Direction::ALL {
            match datapath.attach_device(&target, hook) {
                Ok(()) => {}
                // Netlink will say so.
                Err(error) if error.is_gone() => gone = true,
                Err(error) => {
                    let (device, error) = (device.name.clone(), error.to_string());
                    troubles.push(Trouble { device, hook: Some(hook), error });
                }
            }
        }
        let complete = troubles.is_empty() && !gone;
        *programs = if complete { Programs::Attached } else { Programs::Failed(troubles) };
        tracing::debug!(
            device = device.name,
            ifindex = device.ifindex,
            role = ?device.role,
            complete,
            "device",
        );
        true
    }

    /// What failed is due again.
    pub fn retry(&mut self) {
        for installed in self.installed.values_mut() {
            if matches!(installed.programs, Programs::Failed(_)) {
                installed.programs = Programs::Due;
            }
            installed.listed = installed.listed || put(&self.map, &installed.device);
        }
    }

    /// What could not be done when it was last tried.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.installed.values().flat_map(|installed| match &installed.programs {
            Programs::Failed(troubles) => troubles.as_slice(),
            Programs::Due | Programs::Attached => &[],
        })
    }

    /// Whether nothing is left to be done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.attached() == self.installed.len() && self.installed.values().all(|i| i.listed)
    }

    /// How many devices have both programs.
    #[must_use]
    pub fn attached(&self) -> usize {
        let both = |installed: &&Installed| matches!(installed.programs, Programs::Attached);
        self.installed.values().filter(both).count()
    }

    fn put(&self, device: &Device) -> bool {
        put(&self.map, device)
    }

    fn remove(&mut self, ifindex: u32, datapath: &Datapath) {
        let Some(Installed { device, .. }) = self.installed.remove(&ifindex) else { return };
        tracing::debug!(device = device.name, ifindex, "device gone, or of another role");
        if let Err(error) = datapath.detach_device(ifindex, Some(&device.name)) {
            tracing::warn!(device = device.name, %error, "programs not detached");
        }
        if let Err(error) = self.map.delete(&ifindex) {
            tracing::warn!(device = device.name, map = error.map, %error, "device still listed");
        }
    }
}

/// Lists `device`. Whether that worked.
fn put(map: &Map<u32, Element>, device: &Device) -> bool {
    let result = map.put(&device.ifindex, &element(device));
    if let Err(error) = &result {
        tracing::warn!(device = device.name, map = error.map, %error, "device not listed");
    }
    result.is_ok()
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
