//! What the running agent tells `sluice status`: how far it is, and what troubles it.
//!
//! A Unix socket with an abstract name, which lies in the agent's network namespace like everything
//! else it touches; nothing is left of it when the agent ends. Only root is answered. One answer, a
//! [`Live`] as JSON, for each connection. Served by [`crate::agent`], read by
//! [`crate::cli::status`].

use std::{
    io::{self, Read},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use crate::{
    datapath::{kernel, object::Rejected},
    flows::Timeouts,
    preflight::Finding,
};

/// Problems of objects that are remembered.
const PROBLEMS: usize = 50;

/// What the agent knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Everything has been in place at least once.
    pub ready: bool,
    /// Every first list of the source is complete.
    pub synced: bool,
    /// How often the maps were changed.
    pub generation: u64,
    /// When the maps were last compared with the cluster, in nanoseconds since boot.
    pub reconciled_at: u64,
    /// What the maps refused, and is tried again.
    pub failures: Vec<String>,
    /// Services (namespace/name) that are not as they should be.
    pub unserved: Vec<String>,
    /// Devices that a program can't be attached to.
    pub devices: Vec<String>,
    /// Programs of the cgroup that can't be attached.
    #[serde(default)]
    pub unattached: Vec<String>,
    /// How long flows may be idle.
    #[serde(default)]
    pub timeouts: Option<Timeouts>,
    /// Flows of the packet path, when they were last swept.
    #[serde(default)]
    pub flows: usize,
    /// Flow tables that are full.
    #[serde(default)]
    pub full: Vec<String>,
    /// What this kernel can't do.
    #[serde(default)]
    pub unsupported: Vec<String>,
    /// What on this node is in the way of traffic.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What the kernel has of what not every kernel has, and which way was taken.
    #[serde(default)]
    pub kernel: Vec<kernel::Finding>,
    /// What `sluice preflight` would say, but for what is as it should be; null until the agent has
    /// looked.
    #[serde(default)]
    pub findings: Option<Vec<Finding>>,
    /// Programs that the kernel refused.
    pub rejected: Vec<Rejected>,
    /// The last problems of objects, the oldest first.
    pub problems: Vec<String>,
}

impl Live {
    pub(super) fn remember(&mut self, problems: Vec<String>) {
        self.problems.extend(problems);
        let surplus = self.problems.len().saturating_sub(PROBLEMS);
        self.problems.drain(..surplus);
    }
}

/// The agent's state, shared between the writer and the socket.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    live: Arc<Mutex<Live>>,
}

impl State {
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Live) -> T) -> T {
        change(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&Live) -> T) -> T {
        look(&self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers for as long as the task runs. Without the socket the agent works as well: `status` then
/// knows less, and the log says why.
pub(super) fn serve(pin_path: &Path, state: State) -> JoinHandle<()> {
    let listener = listen(pin_path);
    tokio::spawn(async move {
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "no socket for `sluice status`");
                return;
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => answer(stream, &state).await,
                Err(error) => {
                    tracing::debug!(%error, "accepting a connection of `sluice status`");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// Asks the agent that runs on `pin_path` in this network namespace.
///
/// # Errors
/// When there is none, or it doesn't answer within a second.
pub fn ask(pin_path: &Path) -> io::Result<Live> {
    let mut stream = StdStream::connect_addr(&address(pin_path)?)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::from)
}

async fn answer(mut stream: UnixStream, state: &State) {
    if stream.peer_cred().is_ok_and(|peer| peer.uid() == 0) {
        let text = state.read(serde_json::to_vec).unwrap_or_default();
        let written = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&text)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!("`sluice status` went before it was answered");
        }
    }
}

fn listen(pin_path: &Path) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&address(pin_path)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// The longest abstract name is 107 bytes; of a longer pin path, the end tells more.
fn address(pin_path: &Path) -> io::Result<SocketAddr> {
    let path = pin_path.as_os_str().as_bytes();
    let mut name = b"sluice:".to_vec();
    name.extend(&path[path.len().saturating_sub(100)..]);
    SocketAddr::from_abstract_name(name)
}
