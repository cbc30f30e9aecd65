//! Clients of a host: what a story asks, and what comes back as a type.
//!
//! The asking itself is done by the probe in the host's namespace and cgroup.

use std::{
    net::SocketAddr,
    process::{ChildStdin, Stdio},
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    Host, Lines, Process,
    probe::{Answer, Bulk, BulkAnswer, Failure, Report, Request, TcpRequest, UdpRequest},
};

/// How long a client waits unless a story says otherwise.
const PATIENCE_MS: u64 = 2_000;
/// How long the harness waits for the probe's report: longer than any client does.
const REPORT_PATIENCE: Duration = Duration::from_secs(60);

/// A probe that does requests, one after the other.
pub(crate) struct Session {
    // Dropped first, so that the probe ends by itself.
    stdin: ChildStdin,
    lines: Lines,
    _process: Process,
}

impl Session {
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let mut command = host.probe()?;
        command.arg("client").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&format!("client of {}", host.name()), &mut command)?;
        let (stdin, lines) = (process.stdin(), process.lines());
        Ok(Self { stdin, lines, _process: process })
    }

    pub(crate) fn request(&mut self, request: &Request) -> Result<Report> {
        use std::io::Write as _;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stdin.write_all(&line)?;
        Ok(serde_json::from_str(&self.lines.next(REPORT_PATIENCE)?)?)
    }
}

/// A TCP client, before it connects.
#[derive(Clone, Debug)]
#[must_use]
pub struct TcpClient<'a> {
    host: &'a Host,
    request: TcpRequest,
}

impl<'a> TcpClient<'a> {
    pub(crate) fn new(host: &'a Host, to: SocketAddr) -> Self {
        let request = TcpRequest {
            to,
            from_port: None,
            mapped: false,
            ip_options: Vec::new(),
            abort: false,
            timeout_ms: PATIENCE_MS,
            keep: false,
            bulk: None,
        };
        Self { host, request }
    }

    /// Comes from `port`.
    pub fn from_port(mut self, port: u16) -> Self {
        self.request.from_port = Some(port);
        self
    }

    /// Uses an IPv6 socket for an IPv4 address.
    pub fn mapped(mut self) -> Self {
        self.request.mapped = true;
        self
    }

    /// Ends the connection with a RST instead of a FIN: its port can be used again at once.
    pub fn aborting(mut self) -> Self {
        self.request.abort = true;
        self
    }

    /// Sends IPv4 options with every packet.
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        self.request.ip_options = options.to_vec();
        self
    }

    /// Waits no longer than this.
    pub fn patience_ms(mut self, patience: u64) -> Self {
        self.request.timeout_ms = patience;
        self
    }

    /// Connects, asks who answers, closes.
    pub fn ask(self) -> Result<Answer> {
        Ok(self.attempt()??)
    }

    /// Like [`Self::ask`]; that it fails is a result too.
    pub fn attempt(self) -> Result<Result<Answer, Failure>> {
        let Self { host, request } = self;
        outcome(host.request(&Request::Tcp(request))?)
    }

    /// Like [`Self::ask`], where an answer is the surprise.
    pub fn refusal(self) -> Result<Failure> {
        let to = self.request.to;
        expect_failure(to, self.attempt()?)
    }

    /// Connects, moves bytes both ways at once, closes.
    pub fn bulk(mut self, upload: u64, download: u64) -> Result<BulkAnswer> {
        self.request.bulk = Some(Bulk { upload, download });
        match self.host.request(&Request::Tcp(self.request))? {
            Report::Bulk(answer) => Ok(answer),
            Report::Failure(failure) => Err(failure.into()),
            other => bail!("the probe answered a request for bulk with {other:?}"),
        }
    }

    /// Connects, asks who answers, and keeps the connection.
    pub fn open(mut self) -> Result<(Connection, Answer)> {
        self.request.keep = true;
        let mut session = Session::start(self.host)?;
        let answer = outcome(session.request(&Request::Tcp(self.request))?)??;
        Ok((Connection { session }, answer))
    }
}

/// An open TCP connection, in a process of its own.
pub struct Connection {
    session: Session,
}

impl Connection {
    /// Asks who answers, on this connection.
    pub fn ask(&mut self) -> Result<Answer> {
        Ok(outcome(self.session.request(&Request::Again)?)??)
    }

    /// Like [`Self::ask`]; that it fails is a result too.
    pub fn attempt(&mut self) -> Result<Result<Answer, Failure>> {
        outcome(self.session.request(&Request::Again)?)
    }
}

/// A UDP client, before it sends.
#[derive(Clone, Debug)]
#[must_use]
pub struct UdpClient<'a> {
    host: &'a Host,
    request: UdpRequest,
}

impl<'a> UdpClient<'a> {
    pub(crate) fn new(host: &'a Host, to: SocketAddr) -> Self {
        let request = UdpRequest {
            to,
            from_port: None,
            mapped: false,
            connected: false,
            size: 32,
            timeout_ms: PATIENCE_MS,
            keep: false,
        };
        Self { host, request }
    }

    /// Uses `connect()` and `send()` instead of `sendto()`.
    pub fn connected(mut self) -> Self {
        self.request.connected = true;
        self
    }

    /// Comes from `port`.
    pub fn from_port(mut self, port: u16) -> Self {
        self.request.from_port = Some(port);
        self
    }

    /// Uses an IPv6 socket for an IPv4 address.
    pub fn mapped(mut self) -> Self {
        self.request.mapped = true;
        self
    }

    /// Sends a datagram of this length.
    pub fn size(mut self, size: usize) -> Self {
        self.request.size = size;
        self
    }

    /// Waits no longer than this.
    pub fn patience_ms(mut self, patience: u64) -> Self {
        self.request.timeout_ms = patience;
        self
    }

    /// Sends a datagram from a new socket and waits for its answer.
    pub fn ask(self) -> Result<Answer> {
        Ok(self.attempt()??)
    }

    /// Like [`Self::ask`]; that it fails is a result too.
    pub fn attempt(self) -> Result<Result<Answer, Failure>> {
        let Self { host, request } = self;
        outcome(host.request(&Request::Udp(request))?)
    }

    /// Like [`Self::ask`], where an answer is the surprise.
    pub fn refusal(self) -> Result<Failure> {
        let to = self.request.to;
        expect_failure(to, self.attempt()?)
    }

    /// Sends a datagram, waits for its answer, and keeps the socket.
    pub fn open(mut self) -> Result<(Datagrams, Answer)> {
        self.request.keep = true;
        let mut session = Session::start(self.host)?;
        let answer = outcome(session.request(&Request::Udp(self.request))?)??;
        Ok((Datagrams { session }, answer))
    }
}

/// A UDP socket, in a process of its own.
pub struct Datagrams {
    session: Session,
}

impl Datagrams {
    /// Sends a datagram from this socket and waits for its answer.
    pub fn ask(&mut self) -> Result<Answer> {
        Ok(outcome(self.session.request(&Request::Again)?)??)
    }

    /// Like [`Self::ask`]; that it fails is a result too.
    pub fn attempt(&mut self) -> Result<Result<Answer, Failure>> {
        outcome(self.session.request(&Request::Again)?)
    }
}

fn outcome(report: Report) -> Result<Result<Answer, Failure>> {
    match report {
        Report::Answer(answer) => Ok(Ok(answer)),
        Report::Failure(failure) => Ok(Err(failure)),
        other => bail!("the probe answered a question with {other:?}"),
    }
}

fn expect_failure(to: SocketAddr, outcome: Result<Answer, Failure>) -> Result<Failure> {
    match outcome {
        Err(failure) => Ok(failure),
        Ok(answer) => bail!("{to} should have refused, and {} answered: {answer:?}", answer.server),
    }
}
