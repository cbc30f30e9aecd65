//! The load: servers and clients that run inside pods, pinned to one CPU so that the rate is the
//! cost. The server closes first, so that the client's ports are free again at once.
//!
//! Only sockets here; which address is asked, and why, is for others to say.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// Not counted at the start of each sample.
const WARM_UP: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);
const BLOCK: usize = 64 * 1024;

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// Connects, sends a byte, gets one, closes
    Connect,
    /// Sends a byte and gets one, on one connection
    Request,
    /// Sends as much as it can on one connection
    Bulk,
    /// Sends a datagram and gets one, on a new socket each time
    UdpNew,
    /// Sends a datagram and gets one, on one socket
    UdpOne,
}

impl Work {
    /// The port of the server, also of the Service.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Connect => 8080,
            Self::Request => 8081,
            Self::Bulk => 8082,
            Self::UdpNew | Self::UdpOne => 8083,
        }
    }
}

/// What a client saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Operations a second; of bulk, bytes.
    pub(crate) rate: f64,
    /// The median and the 99th percentile of connect(), in µs.
    pub(crate) connect: Option<[f64; 2]>,
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on CPU {cpu}"))
}

/// Serves all kinds of work at `address`, until killed.
pub(crate) fn serve(address: IpAddr, cpu: usize) -> Result<()> {
    pin(cpu)?;
    let listen = |work: Work| TcpListener::bind((address, work.port()));
    let (connect, request, bulk) =
        (listen(Work::Connect)?, listen(Work::Request)?, listen(Work::Bulk)?);
    let datagrams = UdpSocket::bind((address, Work::UdpNew.port()))?;
    // A client that goes away is none of a server's failures.
    let threads = [
        thread::spawn(move || {
            each(&connect, |stream| {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                stream.write_all(&byte)
            });
        }),
        thread::spawn(move || {
            each(&request, |stream| {
                stream.set_nodelay(true)?;
                let mut byte = [0];
                while stream.read(&mut byte)? == 1 {
                    stream.write_all(&byte)?;
                }
                Ok(())
            });
        }),
        thread::spawn(move || {
            each(&bulk, |stream| {
                let mut block = vec![0; BLOCK];
                while stream.read(&mut block)? > 0 {}
                stream.write_all(&[1])
            });
        }),
        thread::spawn(move || {
            let mut byte = [0];
            while let Ok((length, from)) = datagrams.recv_from(&mut byte) {
                let _ = datagrams.send_to(&byte[..length], from);
            }
        }),
    ];
    for thread in threads {
        thread.join().ok().context("a server panicked")?;
    }
    Ok(())
}

fn each(listener: &TcpListener, answer: impl Fn(&mut TcpStream) -> std::io::Result<()>) {
    for mut stream in listener.incoming().flatten() {
        let _ = answer(&mut stream);
    }
}

/// Does `work` for so long.
pub(crate) fn ask(work: Work, to: SocketAddr, length: Duration, cpu: usize) -> Result<Seen> {
    pin(cpu)?;
    let mut byte = [1];
    match work {
        Work::Connect => connect(to, length),
        Work::Request => {
            let mut stream = open(to)?;
            repeat(length, || {
                stream.write_all(&byte)?;
                stream.read_exact(&mut byte)?;
                Ok(1)
            })
        }
        Work::Bulk => {
            let (mut stream, block) = (open(to)?, vec![0; BLOCK]);
            let seen = repeat(length, || {
                stream.write_all(&block)?;
                Ok(u32::try_from(BLOCK)?)
            })?;
            stream.shutdown(std::net::Shutdown::Write)?;
            stream.read_exact(&mut byte)?;
            Ok(seen)
        }
        Work::UdpNew => repeat(length, || exchange(&socket(to)?)),
        Work::UdpOne => {
            let socket = socket(to)?;
            repeat(length, || exchange(&socket))
        }
    }
}

fn connect(to: SocketAddr, length: Duration) -> Result<Seen> {
    let mut latencies = Vec::new();
    let warm = Instant::now() + WARM_UP;
    let mut seen = repeat(length, || {
        let start = Instant::now();
        let mut stream = TcpStream::connect(to)?;
        let latency = start.elapsed();
        if start >= warm {
            latencies.push(latency);
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut byte = [1];
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        ensure!(stream.read(&mut byte)? == 0, "the server sent more than one byte");
        Ok(1)
    })?;
    latencies.sort_unstable();
    let at = |percent: usize| {
        let place = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(place).map(|latency| latency.as_secs_f64() * 1e6)
    };
    seen.connect = at(50).zip(at(99)).map(|(median, high)| [median, high]);
    Ok(seen)
}

/// Repeats `operation` for so long; it says how much it did.
fn repeat(length: Duration, mut operation: impl FnMut() -> Result<u32>) -> Result<Seen> {
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        operation()?;
    }
    let (start, mut done) = (Instant::now(), 0.0);
    while start.elapsed() < length {
        done += f64::from(operation()?);
    }
    Ok(Seen { rate: done / start.elapsed().as_secs_f64(), connect: None })
}

fn open(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn socket(to: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket) -> Result<u32> {
    let mut byte = [1];
    socket.send(&byte)?;
    socket.recv(&mut byte)?;
    Ok(1)
}
