//! The object file: its maps created or found again by their pins, its programs loaded one by one.
//!
//! A kernel that rejects one program still runs the others; what is missing is said. Called by
//! [`crate::datapath::Datapath`]. Attaches nothing.

use std::{
    collections::BTreeMap,
    io,
    num::NonZero,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError},
};
use proxy_common::{KERNEL_FACTS, KernelFacts, layout::MAPS};

use super::{
    pinned::Shape,
    program::Selection,
    sizes::Sizes,
    syscall::{self, ProgramInfo},
};

/// The datapath: its programs and maps, as an ELF file.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice-datapath"));

/// What benchmarks measure the datapath against, as an ELF file.
pub static YARDSTICK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/yardstick"));

/// Why the object can't be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object itself, its BTF or one of its maps.
    #[error("loading the datapath's object: {}", chain(.0))]
    Load(#[source] Box<EbpfError>),
    /// A map is pinned that has another shape, and holds something.
    #[error(
        "map {map}: pinned at {} with {found}, this version needs {wanted}: end the agent that uses \
         it and run `sluice cleanup`; connections that Sluice knows of will be interrupted",
        path.display()
    )]
    Mismatch {
        /// The map's name.
        map: &'static str,
        /// Its pin.
        path: PathBuf,
        /// What is pinned.
        found: Shape,
        /// What is needed.
        wanted: Shape,
    },
    /// A pin can't be looked at or taken away.
    #[error("map {map}: {}: {source}", path.display())]
    Pin {
        /// The map's name.
        map: &'static str,
        /// Its pin.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A program that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rejected {
    /// Its name.
    pub program: String,
    /// Why: the kernel's error, and the end of the verifier's log.
    pub reason: String,
}

impl Rejected {
    /// Tells the operator.
    pub(crate) fn log(&self) {
        tracing::error!(
            program = self.program,
            "the kernel refuses a program; the others run without it: {}",
            self.reason,
        );
    }
}

/// The programs that were loaded.
#[derive(Debug, Default)]
pub struct Programs {
    loaded: BTreeMap<String, OwnedFd>,
    rejected: Vec<Rejected>,
}

impl Programs {
    /// The program of that name, if the kernel took it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.loaded.get(name).map(AsFd::as_fd)
    }

    /// These as well.
    pub(super) fn extend(&mut self, others: Self) {
        self.loaded.extend(others.loaded);
        self.rejected.extend(others.rejected);
    }

    fn enter(&mut self, name: &str, result: Result<OwnedFd, ProgramError>) {
        match result {
            Ok(fd) => {
                self.loaded.insert(name.to_owned(), fd);
            }
            Err(error) => {
                self.rejected.push(Rejected { program: name.to_owned(), reason: explain(&error) });
            }
        }
    }

    /// The kernel's ids of those that it took.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        let ids = self.loaded.values().filter_map(|program| {
            syscall::info::<ProgramInfo>(program.as_fd()).ok().map(|info| info.id)
        });
        ids.collect()
    }

    /// Those that the kernel refused.
    #[must_use]
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// How many were loaded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.loaded.len()
    }

    /// Whether the kernel took none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }
}

/// A map: how many elements it has room for, and where it is or will be pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) map: &'static str,
    pub(super) room: u32,
    pub(super) pin: PathBuf,
}

/// Creates the maps, or adopts those that are pinned, and loads the programs of `selection`, which are
/// told `facts`.
///
/// # Errors
/// See [`ObjectError`]. A program that is refused is no error, see [`Programs::rejected`].
pub(super) fn load(
    maps: &[Room],
    facts: &KernelFacts,
    selection: Selection,
) -> Result<Programs, ObjectError> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::DEBUG);
    loader.override_global(KERNEL_FACTS, bytemuck::bytes_of(facts), true);
    for Room { map, room, pin } in maps {
        loader.map_max_entries(map, *room);
        loader.map_pin_path(map, pin.clone());
    }
    let mut object = loader.load(OBJECT).map_err(|error| ObjectError::Load(Box::new(error)))?;
    Ok(load_programs(&mut object, selection))
}

/// Has the kernel verify the programs, with maps that are pinned nowhere, as small as they may be.
/// Those that it refuses.
///
/// # Errors
/// See [`ObjectError`].
pub(super) fn verify(facts: &KernelFacts) -> Result<Vec<Rejected>, ObjectError> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::DEBUG);
    loader.override_global(KERNEL_FACTS, bytemuck::bytes_of(facts), true);
    let flows = *Sizes::RANGE.start();
    let sizes = Sizes { flows, new_flows: flows, ..Sizes::default() };
    for spec in MAPS {
        loader.map_max_entries(spec.name, sizes.of(spec));
    }
    let mut object = loader.load(OBJECT).map_err(|error| ObjectError::Load(Box::new(error)))?;
    Ok(load_programs(&mut object, Selection::All).rejected)
}

/// Loads the programs on as many threads as there are CPUs: the verifier takes a while for the large
/// ones.
fn load_programs(object: &mut Ebpf, selection: Selection) -> Programs {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    // The large ones first, which are those at devices.
    let programs = object.programs_mut().filter(|(name, _)| selection.contains(name));
    let mut waiting: Vec<(&str, &mut Program)> = programs.collect();
    waiting.sort_by_key(|(_, program)| matches!(program, Program::SchedClassifier(_)));
    let waiting = Mutex::new(waiting);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let loaded = Mutex::new(Programs::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, program)) = next() {
                    let result = load_program(program);
                    let mut programs = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                    programs.enter(name, result);
                }
            });
        }
    });
    let mut programs = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
    programs.rejected.sort_by(|a, b| a.program.cmp(&b.program));
    programs
}

fn load_program(program: &mut Program) -> Result<OwnedFd, ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load()?,
        Program::CgroupSockAddr(program) => program.load()?,
        Program::CgroupSock(program) => program.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    program.fd()?.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)
}

/// The kernel's error and the last lines of what the verifier wrote: there it says what it minds.
fn explain(error: &ProgramError) -> String {
    const LINES: usize = 12;
    let ProgramError::LoadError { io_error, verifier_log } = error else { return chain(error) };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines.len().saturating_sub(LINES);
    format!("{io_error}; the verifier's last words:\n{}", lines[end..].join("\n"))
}

/// An error with what caused it: aya's messages leave the cause to `source()`.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
