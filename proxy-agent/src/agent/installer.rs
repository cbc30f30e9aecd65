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
    time::{Duration, Instant},
};

use tokio::sync::mpsc as channel;

use super::{AgentError, growth::Rooms, introspect::State};
use crate::{
    datapath::{
        Datapath, DatapathError, Prepared,
        program::{Direction, SocketProgram},
    },
    devices::{
        Snapshot,
        attach::{Attacher, Trouble},
    },
    flows::sweeper::Gate,
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
    /// Larger maps are to be made, and programs for them.
    Prepare(Rooms),
    /// Those are to take the place of the maps that are there. The writer of these waits.
    Grow,
}

/// How far the thread is.
#[derive(Debug)]
pub(super) enum Progress {
    /// The socket path and every device are as they should be. How many devices have programs.
    Complete(usize),
    /// What an earlier agent had attached is replaced.
    Armed,
    /// Larger maps wait to take the place of those that are there; or why not.
    Prepared(Result<(), String>),
    /// They have taken it; or why not.
    Grown(Result<(), String>),
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
    /// The cgroup to attach to; `None` when nothing is wanted there.
    pub(super) cgroup: Option<OwnedFd>,
    /// Which programs are wanted there.
    pub(super) wanted: SocketPrograms,
    /// Devices are listed, and nothing is attached.
    pub(super) shadow: bool,
    /// Keeps the sweeper out of flow tables that are being moved.
    pub(super) gate: Gate,
    pub(super) state: State,
}

/// Which programs are wanted at the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketPrograms {
    /// Those of the socket path.
    pub(super) socket_path: bool,
    /// Those that protect NodePorts.
    pub(super) bind_protection: bool,
}

impl SocketPrograms {
    /// None of them.
    pub(super) const NONE: Self = Self { socket_path: false, bind_protection: false };

    fn contain(self, program: SocketProgram) -> bool {
        if program.protects_binds() { self.bind_protection } else { self.socket_path }
    }
}

impl Installer {
    /// Starts the thread. It attaches nothing before [`Self::arm`].
    pub(super) fn start(
        parts: Parts,
        progress: channel::UnboundedSender<Progress>,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel();
        thread::Builder::new().name("installer".into()).spawn(move || {
            let mut work = Work {
                parts,
                snapshot: None,
                armed: false,
                pruned: false,
                retry_at: None,
                prepared: None,
            };
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

    /// Maps are to be made with this much room, and programs for them. Answered by
    /// [`Progress::Prepared`].
    pub(super) fn prepare(&self, rooms: Rooms) {
        self.tell(Command::Prepare(rooms));
    }

    /// What was prepared is to be put to use. Nobody may write the maps before [`Progress::Grown`].
    pub(super) fn grow(&self) {
        self.tell(Command::Grow);
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
    /// When what failed is tried again.
    retry_at: Option<Instant>,
    /// Larger maps, and programs for them.
    prepared: Option<Prepared>,
}

impl Work {
    fn run(
        &mut self,
        commands: &mpsc::Receiver<Command>,
        progress: &channel::UnboundedSender<Progress>,
    ) -> Result<(), AgentError> {
        // A device waits to have its programs attached.
        let mut more = false;
        loop {
            let pause = if more { Duration::ZERO } else { self.pause() };
            let first = match commands.recv_timeout(pause) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            // Of several lists of devices only the last one counts.
            for command in first.into_iter().chain(commands.try_iter()) {
                match command {
                    Command::Arm if !self.armed => {
                        self.armed = true;
                        let closed = self.parts.gate.close();
                        let moved = self.parts.datapath.take_over();
                        drop(closed);
                        moved?;
                        if !self.parts.shadow {
                            self.attach_sockets()?;
                        }
                        let _ = progress.send(Progress::Armed);
                    }
                    Command::Arm => {}
                    Command::Devices(snapshot) => {
                        self.load_layer3(&snapshot);
                        self.snapshot = Some(snapshot);
                    }
                    Command::Prepare(rooms) => {
                        let _ = progress.send(Progress::Prepared(self.prepare(&rooms)));
                    }
                    Command::Grow => {
                        let _ = progress.send(Progress::Grown(self.grow()));
                    }
                }
            }
            if !self.armed {
                continue;
            }
            self.list_devices()?;
            if self.parts.shadow {
                if self.snapshot.is_some() {
                    let _ = progress.send(Progress::Complete(0));
                }
                continue;
            }
            // One device at a time: a new list doesn't wait for all of the old one.
            more = self.parts.attacher.attach_next(&mut self.parts.datapath);
            if !more && self.snapshot.is_some() {
                self.tell_troubles();
                let attacher = &self.parts.attacher;
                if attacher.is_complete() {
                    let _ = progress.send(Progress::Complete(attacher.attached()));
                }
            }
        }
    }

    /// Loads the programs for devices without Ethernet headers, if there is one. Mostly that is before
    /// programs may be attached, while the cluster's objects are being listed.
    fn load_layer3(&mut self, snapshot: &Snapshot) {
        let is_needed = snapshot.devices.iter().any(|device| !device.ethernet);
        if is_needed && !self.parts.shadow {
            // It is tried again, and told, when the device is to be attached.
            if let Err(error) = self.parts.datapath.load_layer3() {
                tracing::debug!("programs for devices without Ethernet headers: {error}");
            }
        }
    }

    fn prepare(&mut self, rooms: &Rooms) -> Result<(), String> {
        let prepared = self.parts.datapath.prepare(rooms).map_err(|error| error.to_string())?;
        self.prepared = Some(prepared);
        Ok(())
    }

    fn grow(&mut self) -> Result<(), String> {
        let Some(prepared) = self.prepared.take() else { return Ok(()) };
        self.parts.datapath.grow(prepared).map_err(|error| error.to_string())
    }

    /// How long to wait for a command.
    fn pause(&mut self) -> Duration {
        if !self.armed || self.parts.shadow || self.parts.attacher.is_complete() {
            self.retry_at = None;
            return LONG;
        }
        let at = *self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
        at.saturating_duration_since(Instant::now())
    }

    /// Attaches the programs of the cgroup, or detaches those that are not wanted. One that can't be
    /// attached is told, and the others serve.
    fn attach_sockets(&self) -> Result<(), DatapathError> {
        let Parts { datapath, cgroup, wanted, state, .. } = &self.parts;
        for program in SocketProgram::ALL {
            let Some(cgroup) = cgroup.as_ref().filter(|_| wanted.contain(program)) else {
                datapath.detach_socket(program)?;
                continue;
            };
            match datapath.attach_socket(program, cgroup) {
                Ok(how) => tracing::debug!(hook = program.name(), ?how, "attached"),
                // It was told when it was loaded.
                Err(DatapathError::Refused(_)) => {}
                Err(error) => {
                    tracing::error!(
                        hook = program.name(),
                        "a program can't be attached; the others run without it: {error}"
                    );
                    state.update(|live| live.unattached.push(error.to_string()));
                }
            }
        }
        Ok(())
    }

    fn list_devices(&mut self) -> Result<(), AgentError> {
        let Parts { datapath, attacher, .. } = &mut self.parts;
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            attacher.retry();
        }
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        if !std::mem::replace(&mut self.pruned, true) {
            attacher.prune(snapshot, datapath)?;
        }
        attacher.list(snapshot, datapath);
        Ok(())
    }

    /// Logs what failed, once for as long as it lasts.
    fn tell_troubles(&self) {
        let mut texts = Vec::new();
        for Trouble { device, hook, error } in self.parts.attacher.troubles() {
            let text = format!("{device}: {error}");
            if !self.parts.state.read(|live| live.devices.contains(&text)) {
                let hook = hook.map(Direction::name);
                tracing::warn!(device, hook, "{error}; trying again");
            }
            texts.push(text);
        }
        let rejected = self.parts.datapath.rejected().to_vec();
        self.parts.state.update(|live| {
            live.devices = texts;
            live.rejected = rejected;
        });
    }
}
