//! Links: made, pinned, replaced in place, taken away.
//!
//! A pinned link outlives the agent. A new agent gives it the new program by `BPF_LINK_UPDATE`, so
//! no packet and no connect() ever finds the hook empty. Called by [`crate::datapath::Datapath`].

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::fstat;

use super::{
    program::{Direction, SocketProgram},
    syscall::{self, Attachment, LinkInfo},
};

/// `BPF_F_BEFORE` and `BPF_F_AFTER` (kernel ≥ 6.6).
const FIRST: u32 = 1 << 3;
const LAST: u32 = 1 << 4;

/// What a link attaches to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    Cgroup(BorrowedFd<'a>, SocketProgram),
    Device(u32, Direction),
}

/// What [`ensure`] found, and so had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// There was no link.
    Created,
    /// There was one, and it runs the new program now.
    Replaced,
}

/// A link operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {call}: {source}", pin.display())]
pub struct LinkError {
    /// Where the link is or was to be pinned.
    pub pin: PathBuf,
    /// What was tried.
    pub call: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

impl LinkError {
    /// The kernel has no TCX links.
    pub(super) fn is_unsupported(&self) -> bool {
        self.call == CREATE
            && matches!(self.source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
    }

    /// The device is gone: it takes its links with it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENODEV | libc::ENOLINK))
    }
}

const CREATE: &str = "attaching";

impl Target<'_> {
    fn attachment(self) -> Attachment {
        match self {
            Self::Cgroup(_, program) => Attachment { attach_type: program.attach_type(), flags: 0 },
            // Everything between the two hooks, other programs at them included, sees client and
            // endpoint: destinations are rewritten first, sources last.
            Self::Device(_, direction) => Attachment {
                attach_type: direction.tcx_attach_type(),
                flags: match direction {
                    Direction::Ingress => FIRST,
                    Direction::Egress => LAST,
                },
            },
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Cgroup(cgroup, _) => syscall::number(cgroup),
            Self::Device(ifindex, _) => ifindex,
        }
    }

    /// Whether `link` is attached here.
    fn is_of(self, link: &LinkInfo) -> bool {
        match self {
            // A cgroup's id is its inode number.
            Self::Cgroup(cgroup, _) => {
                fstat(cgroup).is_ok_and(|stat| stat.st_ino == link.cgroup_id())
            }
            Self::Device(ifindex, _) => link.ifindex() == ifindex,
        }
    }
}

/// Makes `program` run at `target` by the link pinned at `pin`.
pub(super) fn ensure(
    pin: &Path,
    program: BorrowedFd<'_>,
    target: Target<'_>,
) -> Result<Attached, LinkError> {
    let failed = |call: &'static str| move |source| LinkError { pin: pin.into(), call, source };
    match syscall::open(pin) {
        Ok(link) => {
            let info: LinkInfo = syscall::info(link.as_fd()).map_err(failed("reading the link"))?;
            if target.is_of(&info) && replace(&link, program).map_err(failed("replacing"))? {
                return Ok(Attached::Replaced);
            }
            // Another cgroup, or a device that is gone: the new link takes the place of the old one
            // once it works.
            let link = create(program, target).map_err(failed(CREATE))?;
            let beside = beside(pin);
            remove(&beside).map_err(failed("removing what is left"))?;
            syscall::pin(link.as_fd(), &beside).map_err(failed("pinning"))?;
            fs::rename(&beside, pin).map_err(failed("renaming"))?;
            Ok(Attached::Created)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let link = create(program, target).map_err(failed(CREATE))?;
            syscall::pin(link.as_fd(), pin).map_err(failed("pinning"))?;
            Ok(Attached::Created)
        }
        Err(error) => Err(failed("opening")(error)),
    }
}

/// Has the link at `pin` run `program`. Fine if what it is attached to is gone.
pub(super) fn replace_at(pin: &Path, program: BorrowedFd<'_>) -> Result<(), LinkError> {
    let failed = |call: &'static str| move |source| LinkError { pin: pin.into(), call, source };
    let link = syscall::open(pin).map_err(failed("opening"))?;
    replace(&link, program).map(drop).map_err(failed("replacing"))
}

/// Detaches and unpins the link at `pin`; fine if there is none. Whether there was one.
pub(super) fn detach(pin: &Path) -> Result<bool, LinkError> {
    let failed = |call| move |source| LinkError { pin: pin.into(), call, source };
    if let Ok(link) = syscall::open(pin) {
        // A link whose device is gone is detached already; kernels before 5.9 wait for the last
        // reference, which is the pin.
        let _ = syscall::link_detach(link.as_fd());
    }
    remove(pin).map_err(failed("removing the pin"))
}

/// What the link at `pin` is attached to and runs.
pub(super) fn inspect(pin: &Path) -> Result<LinkInfo, LinkError> {
    let failed = |source| LinkError { pin: pin.into(), call: "reading the link", source };
    let link = syscall::open(pin).map_err(failed)?;
    syscall::info(link.as_fd()).map_err(failed)
}

fn create(program: BorrowedFd<'_>, target: Target<'_>) -> io::Result<OwnedFd> {
    syscall::link_create(program, target.number(), target.attachment())
}

/// False when the link's device or cgroup is gone.
fn replace(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<bool> {
    match syscall::link_update(link.as_fd(), program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the name of a pin that is to take the place of another one ends with.
pub(super) const BESIDE: &str = "-next";

/// The name for what is to take the place of `pin`.
pub(super) fn beside(pin: &Path) -> PathBuf {
    let mut name = pin.file_name().unwrap_or_default().to_owned();
    name.push(BESIDE);
    pin.with_file_name(name)
}

/// Removes a pin; fine if there is none. Whether there was one.
pub(super) fn remove(pin: &Path) -> io::Result<bool> {
    match fs::remove_file(pin) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
