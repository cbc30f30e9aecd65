//! TCP as a client: connect, ask, move bytes.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use socket2::Type;

use super::{
    Answer, BulkAnswer, Failure, Pattern, Phase, Report, TcpRequest,
    conversation::{BulkRead, Question, Who, canonical},
    request::Bulk,
    socket::{self, Stopwatch},
};

/// Bulk bytes get more time than an answer.
const BULK_PATIENCE: Duration = Duration::from_secs(20);
/// Seeds of the two directions, so that a reflected stream is noticed.
pub(super) const UPLOAD_SEED: u64 = 1;
pub(super) const DOWNLOAD_SEED: u64 = 2;

/// A connection that the client keeps.
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
}

/// Does `request`; returns the connection too, for [`Connection::ask`].
pub(super) fn request(request: &TcpRequest) -> (Option<Connection>, Report) {
    let watch = Stopwatch::start();
    let mut connection = match Connection::open(request, &watch) {
        Ok(connection) => connection,
        Err(failure) => return (None, Report::Failure(failure)),
    };
    let report = match request.bulk {
        Some(bulk) => connection.move_bulk(bulk, &watch).map(Report::Bulk),
        None => connection.ask_since(&watch).map(Report::Answer),
    };
    (Some(connection), report.unwrap_or_else(Report::Failure))
}

impl Connection {
    pub(super) fn open(request: &TcpRequest, watch: &Stopwatch) -> Result<Self, Failure> {
        let patience = Duration::from_millis(request.common.timeout_ms);
        let prepare = || {
            let (socket, to) = socket::open(&request.common, Type::STREAM)?;
            if !request.ip_options.is_empty() {
                socket::set_ip_options(socket.as_fd(), &request.ip_options)?;
            }
            if request.abort {
                socket.set_linger(Some(Duration::ZERO))?;
            }
            socket.set_read_timeout(Some(patience))?;
            socket.set_write_timeout(Some(patience))?;
            socket.set_tcp_nodelay(true)?;
            Ok((socket, to))
        };
        let (socket, to) = prepare().map_err(|error| watch.failure(Phase::Socket, &error))?;
        socket
            .connect_timeout(&to, patience)
            .map_err(|error| watch.failure(Phase::Connect, &error))?;
        Ok(Self { reader: BufReader::new(socket.into()) })
    }

    /// Asks who answers.
    pub(super) fn ask(&mut self) -> Report {
        self.ask_since(&Stopwatch::start()).map_or_else(Report::Failure, Report::Answer)
    }

    pub(super) fn ask_since(&mut self, watch: &Stopwatch) -> Result<Answer, Failure> {
        self.try_ask(watch).map_err(|error| watch.failure(Phase::Exchange, &error))
    }

    fn try_ask(&mut self, watch: &Stopwatch) -> io::Result<Answer> {
        let stream = self.reader.get_ref();
        let peer = canonical(stream.peer_addr()?);
        let local = canonical(stream.local_addr()?);
        say(self.reader.get_mut(), &Question::Who)?;
        let Who { server, client_seen, endpoint } = hear(&mut self.reader)?;
        let took_us = watch.microseconds();
        let peer = Some(peer);
        Ok(Answer { server, client_seen, endpoint, local, peer, received_from: None, took_us })
    }

    fn move_bulk(&mut self, bulk: Bulk, watch: &Stopwatch) -> Result<BulkAnswer, Failure> {
        self.try_move_bulk(bulk, watch).map_err(|error| watch.failure(Phase::Exchange, &error))
    }

    fn try_move_bulk(&mut self, bulk: Bulk, watch: &Stopwatch) -> io::Result<BulkAnswer> {
        let mut writer = self.reader.get_ref().try_clone()?;
        writer.set_read_timeout(Some(BULK_PATIENCE))?;
        writer.set_write_timeout(Some(BULK_PATIENCE))?;
        say(&mut writer, &Question::Bulk(bulk))?;
        thread::scope(|scope| {
            let upload =
                scope.spawn(move || Pattern::new(UPLOAD_SEED).write(&mut writer, bulk.upload));
            let download_fault =
                Pattern::new(DOWNLOAD_SEED).check(&mut self.reader, bulk.download)?;
            upload.join().expect("writing does not panic")?;
            let BulkRead { server, fault: upload_fault } = hear(&mut self.reader)?;
            let took_us = watch.microseconds();
            Ok(BulkAnswer { server, upload_fault, download_fault, took_us })
        })
    }
}

/// Serves one connection until the client ends it.
pub(super) fn serve(name: &str, stream: TcpStream) -> io::Result<()> {
    let client_seen = canonical(stream.peer_addr()?);
    let endpoint = canonical(stream.local_addr()?);
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    if reader.fill_buf()?.starts_with(b"GET ") {
        return answer_http(name, client_seen, &mut reader);
    }
    loop {
        match hear(&mut reader)? {
            Question::Who => {
                let server = name.to_owned();
                say(reader.get_mut(), &Who { server, client_seen, endpoint })?;
            }
            Question::Bulk(bulk) => {
                let mut writer = reader.get_ref().try_clone()?;
                let download = thread::spawn(move || {
                    Pattern::new(DOWNLOAD_SEED).write(&mut writer, bulk.download)
                });
                let fault = Pattern::new(UPLOAD_SEED).check(&mut reader, bulk.upload)?;
                download.join().expect("writing does not panic")?;
                say(reader.get_mut(), &BulkRead { server: name.to_owned(), fault })?;
            }
        }
    }
}

/// One HTTP answer, for people who try `curl`.
fn answer_http(
    name: &str,
    client_seen: SocketAddr,
    reader: &mut BufReader<TcpStream>,
) -> io::Result<()> {
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = format!("{name} answers {client_seen}\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    write!(reader.get_mut(), "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The address of a listener as it was asked for, or why it can't listen.
pub(super) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket::for_server(address, Type::STREAM)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn say(stream: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn hear<T: DeserializeOwned>(reader: &mut BufReader<TcpStream>) -> io::Result<T> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
