//! A client that connects to the Service under test again and again, from a pod, and notes when
//! another server than before answers.
//!
//! It is a thread in the pod's network namespace and not in its cgroup, so that its packets take the
//! packet path: both paths read the same maps.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use lab::Host;
use socket2::SockRef;

/// Between two connections.
const PAUSE: Duration = Duration::from_micros(500);
/// For one connection; what is on its way to a server that is gone is given up.
const PATIENCE: Duration = Duration::from_millis(300);

/// Ends when dropped.
pub(crate) struct Prober {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    end: AtomicBool,
    /// Who answered last, and since when.
    latest: Mutex<Option<(u8, Instant)>>,
    news: Condvar,
}

impl Prober {
    pub(crate) fn start(client: &Host, to: SocketAddr) -> Self {
        let (shared, client) = (Arc::new(Shared::default()), client.clone());
        let probing = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let probe = || {
                while !probing.end.load(Ordering::Relaxed) {
                    if let Some(server) = ask(to) {
                        probing.note(server, Instant::now());
                    }
                    thread::sleep(PAUSE);
                }
                Ok(())
            };
            if let Err(error) = client.namespace().run(probe) {
                eprintln!("no connection is tried: {error:#}");
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// When `server` became who answers.
    pub(crate) fn until(&self, server: u8, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        let mut latest = self.shared.latest();
        loop {
            if let Some((answered, since)) = *latest
                && answered == server
            {
                return Ok(since);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("server {server} doesn't answer within {patience:?}; last was {latest:?}");
            }
            latest = self
                .shared
                .news
                .wait_timeout(latest, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Shared {
    fn latest(&self) -> MutexGuard<'_, Option<(u8, Instant)>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, server: u8, at: Instant) {
        let mut latest = self.latest();
        if latest.is_none_or(|(before, _)| before != server) {
            *latest = Some((server, at));
            self.news.notify_all();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who answers, if somebody does.
fn ask(to: SocketAddr) -> Option<u8> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut name = [0];
    stream.read_exact(&mut name).ok()?;
    // Reset: no port waits for a minute, here or there.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    Some(name[0])
}
