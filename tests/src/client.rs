//! Clients of a host: what a story asks, and what comes back as a type.
//!
//! The asking itself is done by the probe in the host's namespace and cgroup. Many connections at a
//! time are in [`crate::load`].

use std::{
    net::{IpAddr, SocketAddr},
    process::{ChildStdin, Stdio},
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    Host, Lines, Process,
    probe::{
        Answer, Bulk, BulkAnswer, Common, Failure, Question, Report, Request, TcpRequest,
        UdpRequest,
    },
};

/// How long a client waits unless a story says otherwise.
pub(crate) const PATIENCE_MS: u64 = 10_000;
/// How long the harness waits for the probe's report: longer than any client does, and than bulk takes
/// through WireGuard where there is no KVM.
const REPORT_PATIENCE: Duration = Duration::from_secs(300);

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
        self.begin(request)?;
        self.report()
    }

    /// Makes a request, and doesn't wait for its report.
    pub(crate) fn begin(&mut self, request: &Request) -> Result<()> {
        use std::io::Write as _;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stdin.write_all(&line)?;
        Ok(())
    }

    /// The report on the request that was begun first.
    pub(crate) fn report(&mut self) -> Result<Report> {
        Ok(serde_json::from_str(&self.lines.next(REPORT_PATIENCE)?)?)
    }
}

/// A client, before it asks.
#[derive(Clone, Debug)]
#[must_use]
pub struct Client<'a, Q> {
    host: &'a Host,
    request: Q,
}

/// A TCP client, before it connects.
pub type TcpClient<'a> = Client<'a, TcpRequest>;
/// A UDP client, before it sends.
pub type UdpClient<'a> = Client<'a, UdpRequest>;

impl<'a, Q: Question> Client<'a, Q> {
    pub(crate) fn new(host: &'a Host, to: SocketAddr) -> Self {
        Self { host, request: Q::new(Common::new(to, PATIENCE_MS)) }
    }

    /// Comes from `address`, which the host must have.
    pub fn from(mut self, address: IpAddr) -> Self {
        self.request.common().from = Some(address);
        self
    }

    /// Comes from `port`.
    pub fn from_port(mut self, port: u16) -> Self {
        self.request.common().from_port = Some(port);
        self
    }

    /// Uses an IPv6 socket for an IPv4 address.
    pub fn mapped(mut self) -> Self {
        self.request.common().mapped = true;
        self
    }

    /// Waits no longer than this.
    pub fn patience_ms(mut self, patience: u64) -> Self {
        self.request.common().timeout_ms = patience;
        self
    }

    /// Asks who answers, by a new connection or socket.
    pub fn ask(self) -> Result<Answer> {
        Ok(self.attempt()??)
    }

    /// Like [`Self::ask`]; that it fails is a result too.
    pub fn attempt(self) -> Result<Result<Answer, Failure>> {
        outcome(self.host.request(&self.request.into_request())?)
    }

    /// Like [`Self::ask`], where an answer is the surprise.
    pub fn refusal(mut self) -> Result<Failure> {
        let to = self.request.common().to;
        match self.attempt()? {
            Err(failure) => Ok(failure),
            Ok(answer) => {
                bail!("{to} should have refused, and {} answered: {answer:?}", answer.server)
            }
        }
    }

    /// Asks who answers, and keeps the connection or socket, in a process of its own.
    pub fn open(mut self) -> Result<(Conversation, Answer)> {
        self.request.common().keep = true;
        let mut session = Session::start(self.host)?;
        let answer = outcome(session.request(&self.request.into_request())?)??;
        Ok((Conversation { session }, answer))
    }
}

impl TcpClient<'_> {
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

    /// Connects, moves bytes both ways at once, closes.
    pub fn bulk(mut self, upload: u64, download: u64) -> Result<BulkAnswer> {
        self.request.bulk = Some(Bulk { upload, download });
        match self.host.request(&self.request.into_request())? {
            Report::Bulk(answer) => Ok(answer),
            Report::Failure(failure) => Err(failure.into()),
            other => bail!("the probe answered a request for bulk with {other:?}"),
        }
    }
}

impl UdpClient<'_> {
    /// Uses `connect()` and `send()` instead of `sendto()`.
    pub fn connected(mut self) -> Self {
        self.request.connected = true;
        self
    }

    /// Sends a datagram of this length; its answer is as long.
    pub fn size(mut self, size: usize) -> Self {
        self.request.size = size;
        self
    }

    /// Lets the datagram be fragmented on its way (no path MTU discovery).
    pub fn fragmented(mut self) -> Self {
        self.request.fragmented = true;
        self
    }
}

/// An open TCP connection, or a UDP socket, in a process of its own.
pub struct Conversation {
    session: Session,
}

impl Conversation {
    /// Asks who answers, once more.
    pub fn ask(&mut self) -> Result<Answer> {
        Ok(self.attempt()??)
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
