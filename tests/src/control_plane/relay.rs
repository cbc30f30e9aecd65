//! A relay on the only way to the API server, in which a story spoils it: refuses, cuts off or holds
//! what the server sends after so many bytes. What it carries is encrypted and not looked at.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

use super::PORT;
use crate::Host;

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Pass,
    Refuse,
    /// After so many bytes from the server the connection ends.
    Cut(usize),
    /// After so many bytes from the server nothing more comes, and the connection stays.
    Hold(usize),
}

/// A relay. Connections end with it.
pub struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mutex<Mode>,
    connections: Mutex<Vec<TcpStream>>,
    spoilt: AtomicUsize,
}

impl Relay {
    /// Starts it on the addresses of `host`, for the server on its loopback.
    pub(super) fn start(host: &Host) -> Result<Self> {
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            connections: Mutex::new(Vec::new()),
            spoilt: AtomicUsize::new(0),
        });
        for address in host.addresses().both() {
            let listener = host.namespace().run(|| Ok(TcpListener::bind((address, PORT))?))?;
            let (namespace, serving) = (host.namespace_handle(), Arc::clone(&shared));
            // Ends with the process; what it holds is a socket and a namespace.
            thread::spawn(move || {
                if namespace.enter().is_err() {
                    return;
                }
                for client in listener.incoming().flatten() {
                    let shared = Arc::clone(&serving);
                    // Made here, where the namespace is the right one.
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)) else {
                        continue;
                    };
                    thread::spawn(move || shared.carry(client, server));
                }
            });
        }
        Ok(Self { shared })
    }

    /// Everything passes, from the next connection on.
    pub fn pass(&self) {
        self.set(Mode::Pass);
    }

    /// Ends all connections, and lets no new one through.
    pub fn refuse(&self) {
        self.set(Mode::Refuse);
        self.cut();
    }

    /// Ends each new connection after so many bytes from the server.
    pub fn cut_after(&self, bytes: usize) {
        self.set(Mode::Cut(bytes));
    }

    /// Holds each new connection after so many bytes from the server.
    pub fn hold_after(&self, bytes: usize) {
        self.set(Mode::Hold(bytes));
    }

    /// Ends all connections.
    pub fn cut(&self) {
        for connection in locked(&self.shared.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were refused, cut off or held.
    #[must_use]
    pub fn spoilt(&self) -> usize {
        self.shared.spoilt.load(Ordering::Relaxed)
    }

    fn set(&self, mode: Mode) {
        *locked(&self.shared.mode) = mode;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.refuse();
    }
}

impl Shared {
    /// Carries both directions of a connection to its end.
    fn carry(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let mode = *locked(&self.mode);
        if matches!(mode, Mode::Refuse) {
            self.spoilt.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (Ok(from_client), Ok(to_server), Ok(to_cut), Ok(other_to_cut)) =
            (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone())
        else {
            return;
        };
        locked(&self.connections).extend([to_cut, other_to_cut]);
        thread::spawn(move || copy(&from_client, &to_server, usize::MAX));
        let limit = match mode {
            Mode::Cut(bytes) | Mode::Hold(bytes) => bytes,
            Mode::Pass | Mode::Refuse => usize::MAX,
        };
        if copy(&server, &client, limit) < limit {
            return;
        }
        self.spoilt.fetch_add(1, Ordering::Relaxed);
        if let Mode::Hold(_) = mode {
            // Until it is cut, or the server ends it.
            while server.peek(&mut [0]).is_ok_and(|there| there > 0) {
                thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

/// Copies up to `limit` bytes; returns how many there were.
fn copy(mut from: &TcpStream, mut to: &TcpStream, limit: usize) -> usize {
    let mut buffer = [0; 16 * 1024];
    let mut copied = 0;
    while copied < limit {
        let wanted = buffer.len().min(limit - copied);
        let Ok(length @ 1..) = from.read(&mut buffer[..wanted]) else { break };
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        copied += length;
    }
    if copied < limit {
        let _ = to.shutdown(Shutdown::Write);
    }
    copied
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
