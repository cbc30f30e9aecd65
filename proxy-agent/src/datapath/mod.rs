//! The datapath as the agent handles it: loaded, attached, replaced in place, taken away.
//!
//! Everything that outlives the agent is pinned (see [`pins`]): SIGKILL detaches nothing. What the
//! programs decide is `proxy-ebpf`'s business, what the maps say is [`crate::reconcile`]'s. Called
//! by [`crate::agent`] and, to look and to clean up, by [`crate::cli`].
//!
//! **Architecture invariant:** a hook that has a program is never without one until `cleanup`: links
//! are updated, filters replaced, never detached first.

mod array_memory;
pub mod cleanup;
pub mod clsact;
mod copy;
mod growing;
pub mod inspect;
pub mod kernel;
mod layer3;
mod layouts;
pub mod links;
pub mod map;
mod moving;
pub mod netns_cookie;
pub mod object;
mod pinned;
pub mod pins;
pub mod probe;
pub mod program;
mod qdisc;
pub mod questions;
mod raw_map;
pub mod sizes;
mod switch;
pub mod syscall;
pub mod tables;
pub mod ticks;

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    thread,
    time::Duration,
};

use proxy_common::{KernelFacts, layout::LAYOUT_VERSION};

use self::{
    clsact::{FilterError, Place},
    kernel::Kernel,
    links::{Attached, LinkError, Target},
    map::MapError,
    moving::{MoveError, Moving},
    object::{ObjectError, Programs, Rejected},
    pins::{Pins, device_pin, parse_device_pin},
    program::{DeviceProgram, Direction, Selection, SocketProgram},
    sizes::Sizes,
};
use crate::host::clock;

pub use growing::Prepared;

/// How long a program may run that began before something was changed: far longer than any does.
const PROGRAMS_END: Duration = Duration::from_millis(20);

/// How programs are attached to devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceHook {
    /// By TCX where the kernel has it (6.6 and later), else by clsact.
    #[default]
    Auto,
    /// By TCX links.
    Tcx,
    /// By filters of a clsact qdisc.
    Clsact,
}

/// A device, as far as attaching is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Whether packets start with an Ethernet header.
    pub ethernet: bool,
}

/// Why the datapath can't be installed, or a program can't be attached.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// A directory under the pin path.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Maps of a newer layout are pinned.
    #[error(
        "{}: a newer Sluice has pinned maps of layout {version} there, and this one knows layouts up \
         to {LAYOUT_VERSION}: start the newer one again; or run `sluice cleanup`, which interrupts \
         connections that Sluice knows of, and start this one",
        path.display()
    )]
    NewerLayout {
        /// Its directory.
        path: PathBuf,
        /// Its number.
        version: u32,
    },
    /// A map that can't be moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// A map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A clsact filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The kernel refused the program, so it can't be attached.
    #[error("program {0} was refused by the kernel when it was loaded")]
    Refused(&'static str),
    /// A program that the kernel took before.
    #[error("program {} is refused by the kernel, which took it before: {}", .0.program, .0.reason)]
    RefusedAgain(Rejected),
}

impl DatapathError {
    /// The device is gone: nothing to worry about.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Link(error) => error.is_gone(),
            _ => false,
        }
    }
}

/// The datapath: its programs are loaded, its maps are pinned.
#[derive(Debug)]
pub struct Datapath {
    pins: Pins,
    programs: Programs,
    /// Those for devices without Ethernet headers were loaded as well, see [`layer3`].
    layer3: bool,
    hook: DeviceHook,
    /// What programs are told about the kernel.
    facts: KernelFacts,
    /// What is to be taken over before programs are attached.
    moving: Option<Moving>,
    /// What an earlier agent has installed is complete in the maps.
    complete: bool,
}

impl Datapath {
    /// Loads the programs, and creates or adopts the maps under `pins`; new ones with these sizes,
    /// with what maps of other sizes and of older layouts hold. Attaches nothing.
    ///
    /// # Errors
    /// See [`DatapathError`]. Programs that the kernel refuses are no error, see
    /// [`Self::rejected`].
    pub fn load(
        pins: Pins,
        hook: DeviceHook,
        sizes: Sizes,
        kernel: &Kernel,
    ) -> Result<Self, DatapathError> {
        for path in [pins.links(), pins.filters()] {
            fs::create_dir_all(&path)
                .map_err(|source| DatapathError::Directory { path, source })?;
        }
        let facts = kernel.facts();
        let (rooms, mut moving) = Moving::plan(&pins, sizes)?;
        // What is to be replaced in place needs its successor at once.
        let layer3 = moving.is_needed() || layer3::is_listed(&pins);
        let selection = if layer3 { Selection::All } else { Selection::WithoutLayer3 };
        let filled = object::load(&rooms, &facts, selection)
            .map_err(DatapathError::from)
            .and_then(|programs| Ok((programs, moving.fill()?)));
        let (programs, ()) = filled.inspect_err(|_| moving.undo())?;
        let complete = moving.is_complete();
        let moving = moving.is_needed().then_some(moving);
        Ok(Self { pins, programs, layer3, hook, facts, moving, complete })
    }

    /// Has every program that an earlier agent attached replaced by its successor, in place, where
    /// maps of theirs have been replaced; then takes the old maps away. To be called before anything
    /// is attached. Whether there was something to take over.
    ///
    /// Concurrency: for some milliseconds there are hooks that run programs with the old maps and
    /// hooks that run programs with the new ones. What the agent writes is the same in both. Flows are
    /// neither opened nor settled meanwhile (see `Moving::set_hold`), so both know the same ones: a
    /// packet that would have is dropped and sent again. What goes on in a flow is told to the new
    /// tables afterwards.
    ///
    /// # Errors
    /// See [`DatapathError`]. What was attached stays attached.
    pub fn take_over(&mut self) -> Result<bool, DatapathError> {
        let Some(moving) = self.moving.take() else { return Ok(false) };
        if self.is_attached()? {
            let began = clock::now();
            if moving.set_hold(true)? {
                thread::sleep(PROGRAMS_END);
            }
            let moved = moving.follow().map_err(DatapathError::from).and_then(|()| self.switch());
            moving.set_hold(false)?;
            moved?;
            thread::sleep(PROGRAMS_END);
            moving.catch_up(began)?;
        } else {
            moving.follow()?;
        }
        moving.finish()?;
        Ok(true)
    }

    /// The pins.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Programs that the kernel refused.
    #[must_use]
    pub fn rejected(&self) -> &[Rejected] {
        self.programs.rejected()
    }

    /// Whether the kernel took none of the programs.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.programs.is_empty()
    }

    /// The kernel's ids of the programs that it took.
    #[must_use]
    pub fn program_ids(&self) -> Vec<u32> {
        self.programs.ids()
    }

    /// Attaches a program of the socket path to `cgroup`, or puts it in the place of the one that
    /// is there.
    ///
    /// # Errors
    /// See [`DatapathError`].
    pub fn attach_socket(
        &self,
        program: SocketProgram,
        cgroup: &OwnedFd,
    ) -> Result<Attached, DatapathError> {
        let name = program.name();
        let fd = self.programs.get(name).ok_or(DatapathError::Refused(name))?;
        let pin = self.pins.links().join(name);
        Ok(links::ensure(&pin, fd, Target::Cgroup(cgroup.as_fd(), program))?)
    }

    /// Detaches a program of the socket path. Whether it was attached.
    ///
    /// # Errors
    /// See [`DatapathError`].
    pub fn detach_socket(&self, program: SocketProgram) -> Result<bool, DatapathError> {
        Ok(links::detach(&self.pins.links().join(program.name()))?)
    }

    /// Attaches the program for one direction of a device, or puts it in the place of the one that
    /// is there.
    ///
    /// # Errors
    /// See [`DatapathError`].
    pub fn attach_device(
        &mut self,
        device: &Device,
        direction: Direction,
    ) -> Result<(), DatapathError> {
        if !device.ethernet {
            self.load_layer3()?;
        }
        let name = DeviceProgram { direction, ethernet: device.ethernet }.name();
        let fd = self.programs.get(name).ok_or(DatapathError::Refused(name))?;
        let pin = device_pin(device.ifindex, direction);
        let (link, filter) = (self.pins.links().join(&pin), self.pins.filters().join(&pin));
        let place = Place { device: &device.name, direction };
        if self.hook != DeviceHook::Clsact {
            match links::ensure(&link, fd, Target::Device(device.ifindex, direction)) {
                Ok(_) => {
                    drop(clsact::detach(&filter, Some(place)));
                    return Ok(());
                }
                Err(error) if self.hook == DeviceHook::Auto && error.is_unsupported() => {
                    tracing::info!("this kernel has no TCX: programs are attached by clsact");
                    self.hook = DeviceHook::Clsact;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let note = self.qdisc_note(device.ifindex);
        clsact::ensure((&filter, &note), fd, place)?;
        links::detach(&link)?;
        Ok(())
    }

    /// Detaches both programs of a device, whether or not it still exists. `name` is its name if it
    /// does.
    ///
    /// # Errors
    /// See [`DatapathError`].
    pub fn detach_device(&self, ifindex: u32, name: Option<&str>) -> Result<(), DatapathError> {
        for direction in Direction::ALL {
            let pin = device_pin(ifindex, direction);
            links::detach(&self.pins.links().join(&pin))?;
            let filter = self.pins.filters().join(&pin);
            let place = name.map(|device| Place { device, direction });
            clsact::detach(&filter, place)
                .map_err(|source| DatapathError::Directory { path: filter, source })?;
        }
        let note = self.qdisc_note(ifindex);
        let done = match name {
            Some(_) => qdisc::release(&note).map(drop),
            None => qdisc::forget(&note),
        };
        done.map_err(|source| DatapathError::Directory { path: note, source })
    }

    fn qdisc_note(&self, ifindex: u32) -> PathBuf {
        self.pins.qdiscs().join(ifindex.to_string())
    }

    /// Whether programs are attached, and their maps hold all that an earlier agent had written: new
    /// programs may take their place at once.
    ///
    /// # Errors
    /// When the pins can't be listed.
    pub fn goes_on(&self) -> Result<bool, DatapathError> {
        Ok(self.complete && self.is_attached()?)
    }

    /// Whether an earlier agent has left programs attached.
    ///
    /// # Errors
    /// When the pins can't be listed.
    pub fn is_attached(&self) -> Result<bool, DatapathError> {
        let sockets = names(self.pins.links())?;
        Ok(!sockets.is_empty() || !names(self.pins.filters())?.is_empty())
    }

    /// Detaches the programs of every device.
    ///
    /// # Errors
    /// See [`DatapathError`].
    pub fn detach_devices(&self) -> Result<(), DatapathError> {
        self.attached_devices()?
            .into_iter()
            .try_for_each(|ifindex| self.detach_device(ifindex, None))
    }

    /// The devices that have a program of ours, as the pins tell.
    ///
    /// # Errors
    /// When the pins can't be listed.
    pub fn attached_devices(&self) -> Result<BTreeSet<u32>, DatapathError> {
        let mut devices = BTreeSet::new();
        for path in [self.pins.links(), self.pins.filters()] {
            let names = names(path)?;
            devices.extend(names.iter().filter_map(|name| Some(parse_device_pin(name)?.0)));
        }
        Ok(devices)
    }
}

fn names(path: PathBuf) -> Result<Vec<String>, DatapathError> {
    inspect::names(&path).map_err(|source| DatapathError::Directory { path, source })
}
