//! The programs at every hook replaced at once, by those of another generation.
//!
//! Goes by the pins and asks no one, so that it takes a moment: that is how long there are programs of
//! two generations. Called by [`Datapath::take_over`] and [`Datapath::grow`].

use std::collections::BTreeMap;

use super::{
    Datapath, DatapathError,
    clsact::{self, Place},
    inspect, links,
    pins::parse_device_pin,
    program::{DeviceProgram, Direction, SocketProgram},
    tables,
};
use crate::host::netns;

impl Datapath {
    /// Gives every link and filter the program of its name. One that can't be given it is taken away:
    /// it would go on with maps that nobody writes any more. At the start of the agent it is attached
    /// anew after that.
    pub(super) fn switch(&self) -> Result<(), DatapathError> {
        let devices: BTreeMap<u32, bool> = tables::devices(&self.pins.maps())?
            .entries()?
            .into_iter()
            .map(|(ifindex, device)| (ifindex, device.ethernet != 0))
            .collect();
        let program = |ifindex: u32, direction: Direction| {
            let ethernet = devices.get(&ifindex).copied().unwrap_or(true);
            DeviceProgram { direction, ethernet }.name()
        };
        let listed = |path: std::path::PathBuf| {
            inspect::names(&path).map_err(|source| DatapathError::Directory { path, source })
        };
        for name in listed(self.pins.links())? {
            let of_socket = || SocketProgram::ALL.iter().map(|of| of.name()).find(|of| *of == name);
            let program = match parse_device_pin(&name) {
                Some((ifindex, direction)) => Some(program(ifindex, direction)),
                None => of_socket(),
            };
            let Some(program) = program else { continue };
            let pin = self.pins.links().join(&name);
            let replaced = match self.programs.get(program) {
                Some(fd) => links::replace_at(&pin, fd).map_err(DatapathError::from),
                None => Err(DatapathError::Refused(program)),
            };
            if let Err(error) = replaced {
                tracing::error!(hook = name, "a program is not replaced, and taken away: {error}");
                links::detach(&pin)?;
            }
        }
        for name in listed(self.pins.filters())? {
            let Some((ifindex, direction)) = parse_device_pin(&name) else { continue };
            let Some(device) = netns::device_name(ifindex) else { continue };
            let pin = self.pins.filters().join(&name);
            let place = Place { device: &device, direction };
            let program = program(ifindex, direction);
            let replaced = match self.programs.get(program) {
                Some(fd) => clsact::ensure((&pin, &self.qdisc_note(ifindex)), fd, place)
                    .map_err(DatapathError::from),
                None => Err(DatapathError::Refused(program)),
            };
            if let Err(error) = replaced {
                tracing::error!(hook = name, "a program is not replaced, and taken away: {error}");
                clsact::detach(&pin, Some(place))
                    .map_err(|source| DatapathError::Directory { path: pin, source })?;
            }
        }
        Ok(())
    }
}
