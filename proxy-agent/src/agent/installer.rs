//! The thread that attaches programs.
//!
//! Attaching to a device takes the kernel a grace period of RCU, tens of milliseconds where it is
//! busy: changes of Services don't wait for that. The thread owns the datapath and `DEVICES`; it is
//! told what to do by [`crate::agent::writer`], and tells how it went.

use std::{
    io,
    os::fd::OwnedFd,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::sync::mpsc as channel;

use super::{AgentError, introspect::State};
use crate::{
    datapath::{
        Datapath, DatapathError,
        program::{Direction, SocketProgram},
    },
    devices::{Snapshot, attach::Attacher},
};

/// How long to wait before what failed at a device is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait when there is nothing to try again.
const LONG: Duration = Duration::from_secs(3600);

/// What there is to do.
#[derive(Debug)]
enum Command {
    /// The maps say what the cluster wants, or last wanted: from now on programs are attached.
    Arm,
    /// These are the devices now.
    Devices(Snapshot),
}

/// How far the thread is.
#[derive(Debug)]
pub(super) enum Progress {
    /// The socket path and every device are as they should be. How many devices have programs.
    Complete(usize),
    /// It can't go on.
    Failed(AgentError),
}

/// The writer's end of the thread.
#[derive(Debug)]
pub(super) struct Installer {
    commands: mpsc::Sender<Command>,
}

/// What the thread works with.
pub(super) struct Parts {
    pub(super) datapath: Datapath,
    pub(super) attacher: Attacher,
    /// The cgroup to attach to; `None` when the socket path is off.
    pub(super) cgroup: Option<OwnedFd>,
    pub(super) state: State,
}

impl Installer {
    /// Starts the thread. It attaches nothing before [`Self::arm`].
    pub(super) fn start(
        parts: Parts,
        progress: channel::UnboundedSender<Progress>,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel();
        thread::Builder::new().name("installer".into()).spawn(move || {
            let mut work = Work { parts, snapshot: None, armed: false, pruned: false };
            if let Err(error) = work.run(&receiver, &progress) {
                // The agent is ending when nobody listens.
                let _ = progress.send(Progress::Failed(error));
            }
        })?;
        Ok(Self { commands })
    }

    /// Programs may be attached from now on.
    pub(super) fn arm(&self) {
        self.tell(Command::Arm);
    }

    /// These are the devices now.
    pub(super) fn devices(&self, snapshot: Snapshot) {
        self.tell(Command::Devices(snapshot));
    }

    fn tell(&self, command: Command) {
        // When the thread has failed it has said so, and the agent ends by that.
        let _ = self.commands.send(command);
    }
}

struct Work {
    parts: Parts,
    snapshot: Option<Snapshot>,
    armed: bool,
    pruned: bool,
}

impl Work {
    fn run(
        &mut self,
        commands: &mpsc::Receiver<Command>,
        progress: &channel::UnboundedSender<Progress>,
    ) -> Result<(), AgentError> {
        loop {
            let incomplete = self.armed && !self.parts.attacher.is_complete();
            let first = match commands.recv_timeout(if incomplete { RETRY } else { LONG }) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            // Of several lists of devices only the last one counts.
            for command in first.into_iter().chain(commands.try_iter()) {
                match command {
                    Command::Arm if !self.armed => {
                        self.armed = true;
                        self.attach_sockets()?;
                    }
                    Command::Arm => {}
                    Command::Devices(snapshot) => self.snapshot = Some(snapshot),
                }
            }
            self.attach_devices()?;
            let attacher = &self.parts.attacher;
            if self.armed && self.snapshot.is_some() && attacher.is_complete() {
                let _ = progress.send(Progress::Complete(attacher.attached()));
            }
        }
    }

    fn attach_sockets(&mut self) -> Result<(), DatapathError> {
        let Parts { datapath, cgroup, .. } = &self.parts;
        for program in SocketProgram::ALL {
            let Some(cgroup) = cgroup else {
                datapath.detach_socket(program)?;
                continue;
            };
            match datapath.attach_socket(program, cgroup) {
                Ok(how) => tracing::debug!(hook = program.name(), ?how, "attached"),
                // It was told when it was loaded.
                Err(DatapathError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn attach_devices(&mut self) -> Result<(), AgentError> {
        let (true, Some(snapshot)) = (self.armed, &self.snapshot) else { return Ok(()) };
        let Parts { datapath, attacher, state, .. } = &mut self.parts;
        if !std::mem::replace(&mut self.pruned, true) {
            attacher.prune(snapshot, datapath)?;
        }
        let mut texts = Vec::new();
        for trouble in attacher.apply(snapshot, datapath) {
            let hook = trouble.hook.map(Direction::name);
            let text = format!("{}: {}", trouble.device, trouble.error);
            if !state.read(|live| live.devices.contains(&text)) {
                tracing::warn!(device = trouble.device, hook, "{}; trying again", trouble.error);
            }
            texts.push(text);
        }
        state.update(|live| live.devices = texts);
        Ok(())
    }
}
