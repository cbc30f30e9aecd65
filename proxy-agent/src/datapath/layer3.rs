//! The programs for devices without Ethernet headers (WireGuard, IP tunnels, tun): loaded when the
//! first such device is there.
//!
//! Most nodes have none, and the verifier takes as long for these two as for all the others. Called by
//! [`crate::agent::installer`] as soon as there is such a device, and when one is attached.

use std::collections::BTreeMap;

use super::{Datapath, DatapathError, object, pins::Pins, program::Selection, tables};

impl Datapath {
    /// Loads the programs for devices without Ethernet headers. Fine if they are.
    ///
    /// # Errors
    /// See [`DatapathError`]. Programs that the kernel refuses are no error, see
    /// [`Datapath::rejected`].
    pub fn load_layer3(&mut self) -> Result<(), DatapathError> {
        if self.layer3 {
            return Ok(());
        }
        let rooms = self.rooms(&BTreeMap::new())?;
        let programs = object::load(&rooms, &self.facts, Selection::Layer3)?;
        programs.rejected().iter().for_each(object::Rejected::log);
        self.programs.extend(programs);
        self.layer3 = true;
        Ok(())
    }
}

/// Whether an earlier agent has listed a device without Ethernet headers.
pub(super) fn is_listed(pins: &Pins) -> bool {
    let listed = tables::devices(&pins.maps()).and_then(|devices| devices.entries());
    listed.is_ok_and(|devices| devices.iter().any(|(_, device)| device.ethernet == 0))
}
