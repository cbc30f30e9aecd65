//! Programs at a device by clsact filters, for kernels that have no TCX (before 6.6).
//!
//! A filter isn't pinned and needs no pin to live on. The program is pinned beside it all the same:
//! the pin is the note that says "this filter is ours", for the next agent and for `cleanup`.
//! Called by [`crate::datapath::Datapath`] and [`crate::datapath::cleanup`].

use std::{fs, io, os::fd::BorrowedFd, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact},
};

use super::{
    links::{beside, remove},
    program::Direction,
    qdisc, syscall,
};

/// Where among the filters of a device ours stand: destinations are rewritten first, sources last.
const fn priority(direction: Direction) -> u16 {
    match direction {
        Direction::Ingress => 1,
        Direction::Egress => 0xc000,
    }
}

/// What tells our filter from others of that priority.
const HANDLE: TcHandle = TcHandle::new(0, 0x51);

/// A filter that could not be attached or taken away.
#[derive(Debug, thiserror::Error)]
#[error("clsact filter of device {device}: {call}: {}", super::object::chain(source.as_ref()))]
pub struct FilterError {
    /// The device's name.
    pub device: String,
    /// What was tried.
    pub call: &'static str,
    /// What the kernel said.
    pub source: Box<ProgramError>,
}

/// A device by the name it has now, and one of its directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) device: &'a str,
    pub(super) direction: Direction,
}

impl Place<'_> {
    fn attach_type(self) -> TcAttachType {
        match self.direction {
            Direction::Ingress => TcAttachType::Ingress,
            Direction::Egress => TcAttachType::Egress,
        }
    }

    /// Our filter there. The kernel isn't asked whether it exists.
    fn filter(self) -> Result<SchedClassifierLink, ProgramError> {
        let priority = priority(self.direction);
        SchedClassifierLink::attached(self.device, self.attach_type(), priority, HANDLE, None)
            .map_err(ProgramError::IOError)
    }

    fn failed<E: Into<ProgramError>>(self, call: &'static str) -> impl FnOnce(E) -> FilterError {
        let device = self.device.to_owned();
        move |error| FilterError { device, call, source: Box::new(error.into()) }
    }
}

/// Makes `program` run at `place`, and notes it at `pin`; a qdisc that has to be made for it is noted
/// at `qdisc_note`. A filter that is there already is replaced in place.
pub(super) fn ensure(
    (pin, qdisc_note): (&Path, &Path),
    program: BorrowedFd<'_>,
    place: Place<'_>,
) -> Result<(), FilterError> {
    let io = |error| ProgramError::IOError(error);
    let next = beside(pin);
    remove(&next).map_err(io).map_err(place.failed("clearing the pin"))?;
    syscall::pin(program, &next).map_err(io).map_err(place.failed("pinning"))?;
    attach(&next, qdisc_note, place).inspect_err(|_| drop(remove(&next)))?;
    fs::rename(&next, pin).map_err(io).map_err(place.failed("pinning"))
}

fn attach(pin: &Path, qdisc_note: &Path, place: Place<'_>) -> Result<(), FilterError> {
    let mut program = SchedClassifier::from_pin(pin).map_err(place.failed("opening"))?;
    match qdisc_add_clsact(place.device) {
        Ok(()) => qdisc::note(qdisc_note)
            .map_err(ProgramError::IOError)
            .map_err(place.failed("noting the qdisc"))?,
        // Someone, maybe an earlier agent, has made it.
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(place.failed("adding the qdisc")(error)),
    }
    let options = NlOptions { priority: priority(place.direction), handle: HANDLE, classid: None };
    let options = TcAttachOptions::Netlink(options);
    let link = match program.attach_with_options(place.device, place.attach_type(), options) {
        Err(ProgramError::TcError(TcError::NetlinkError(error)))
            if error.raw_os_error() == Some(libc::EEXIST) =>
        {
            let filter = place.filter().map_err(place.failed("naming"))?;
            program.attach_to_link(filter)
        }
        result => result,
    };
    let link = link.map_err(place.failed("attaching"))?;
    // aya detaches what it attached when the link is dropped; this one is to stay.
    std::mem::forget(program.take_link(link).map_err(place.failed("keeping"))?);
    Ok(())
}

/// Takes our filter at `place` and its pin away; fine if there is none. Whether there was a pin.
pub(super) fn detach(pin: &Path, place: Option<Place<'_>>) -> io::Result<bool> {
    if pin.exists()
        && let Some(filter) = place.and_then(|place| place.filter().ok())
    {
        // Detaches. What can fail is harmless: a device that is gone took its filters with it.
        drop(filter);
    }
    remove(pin)
}
