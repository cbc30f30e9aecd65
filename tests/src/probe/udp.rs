//! UDP as a client and as a server: a datagram, its answer, and where the answer came from.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use socket2::{SockAddr, Socket, Type};

use super::{
    Answer, Failure, Pattern, Phase, Report, UdpRequest,
    conversation::{DatagramRead, NONCE_LENGTH, Who, canonical},
    socket::{self, Stopwatch},
};

const LARGEST_DATAGRAM: usize = 65_535;
/// Seed of a datagram's filling.
const FILLING: u64 = 3;

/// A socket that the client keeps.
pub(super) struct Datagrams {
    socket: Socket,
    to: SockAddr,
    connected: bool,
    size: usize,
    nonce: u64,
}

/// Does `request`; returns the socket too, for [`Datagrams::ask`].
pub(super) fn request(request: &UdpRequest) -> (Option<Datagrams>, Report) {
    let watch = Stopwatch::start();
    let mut datagrams = match Datagrams::open(request, &watch) {
        Ok(datagrams) => datagrams,
        Err(failure) => return (None, Report::Failure(failure)),
    };
    let report = datagrams.ask_since(&watch);
    (Some(datagrams), report)
}

impl Datagrams {
    fn open(request: &UdpRequest, watch: &Stopwatch) -> Result<Self, Failure> {
        let UdpRequest { connected, size, fragmented, ref common } = *request;
        let prepare = || {
            let (socket, to) = socket::open(common, Type::DGRAM)?;
            socket.set_read_timeout(Some(Duration::from_millis(common.timeout_ms)))?;
            if fragmented {
                socket::allow_fragments(&socket, &to)?;
            }
            if !connected {
                socket::report_icmp_errors(&socket, &to)?;
            }
            Ok((socket, to))
        };
        let (socket, to) = prepare().map_err(|error| watch.failure(Phase::Socket, &error))?;
        if connected {
            socket.connect(&to).map_err(|error| watch.failure(Phase::Connect, &error))?;
        }
        Ok(Self { socket, to, connected, size, nonce: 0 })
    }

    /// Sends a datagram and waits for its answer.
    pub(super) fn ask(&mut self) -> Report {
        self.ask_since(&Stopwatch::start())
    }

    fn ask_since(&mut self, watch: &Stopwatch) -> Report {
        match self.try_ask(watch) {
            Ok(answer) => Report::Answer(answer),
            Err(error) => Report::Failure(watch.failure(Phase::Exchange, &error)),
        }
    }

    fn try_ask(&mut self, watch: &Stopwatch) -> io::Result<Answer> {
        self.nonce += 1;
        let mut datagram = Pattern::new(FILLING).bytes(self.size.max(NONCE_LENGTH));
        datagram[..NONCE_LENGTH].copy_from_slice(&self.nonce.to_be_bytes());
        if self.connected {
            self.socket.send(&datagram)?;
        } else {
            self.socket.send_to(&datagram, &self.to)?;
        }
        let (read, from) = self.receive()?;
        if read.length != datagram.len() || read.fault.is_some() {
            return Err(io::Error::other("the datagram was changed on its way"));
        }
        let peer = if self.connected { self.socket.peer_addr()?.as_socket() } else { None };
        let local = self.socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Other)?;
        Ok(Answer {
            server: read.who.server,
            client_seen: read.who.client_seen,
            endpoint: read.who.endpoint,
            local: canonical(local),
            peer: peer.map(canonical),
            received_from: Some(canonical(from)),
            took_us: watch.microseconds(),
        })
    }

    /// The answer to the last datagram; answers to earlier ones, which came too late, are left out.
    fn receive(&self) -> io::Result<(DatagramRead, SocketAddr)> {
        loop {
            let mut buffer = [0; LARGEST_DATAGRAM];
            let (length, from) = socket::receive(&self.socket, &mut buffer)?;
            let read: DatagramRead = serde_json::from_slice(&buffer[..length])?;
            if read.nonce == self.nonce {
                return Ok((read, from));
            }
        }
    }
}

/// A socket for [`serve`], or why there is none.
pub(super) fn listen(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket::for_server(address, Type::DGRAM)?;
    socket::allow_fragments(&socket, &address.into())?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers datagrams on `socket` until it fails.
pub(super) fn serve(name: &str, socket: &UdpSocket) -> io::Result<()> {
    let endpoint = canonical(socket.local_addr()?);
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer) {
            // An ICMP error about an earlier answer: that client is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            other => other?,
        };
        let Some((nonce, filling)) = buffer[..length].split_first_chunk::<NONCE_LENGTH>() else {
            continue;
        };
        let expected = Pattern::new(FILLING).bytes(length);
        let fault = filling
            .iter()
            .zip(&expected[NONCE_LENGTH..])
            .position(|(found, expected)| found != expected)
            .map(|offset| offset as u64);
        let who = Who { server: name.to_owned(), client_seen: canonical(from), endpoint };
        let nonce = u64::from_be_bytes(*nonce);
        let mut answer = serde_json::to_vec(&DatagramRead { who, nonce, length, fault })?;
        // As long as the question, so that what has to be fragmented one way has to be both ways.
        answer.resize(length.max(answer.len()), b' ');
        // The client's business if the answer can't be delivered.
        let _ = socket.send_to(&answer, from);
    }
}
