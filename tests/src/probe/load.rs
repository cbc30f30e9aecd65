//! Many TCP connections: a crowd that is open at a time, or one connection after the other.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Answer, Common, CrowdAnswer, CrowdRequest, Failure, LoadAnswer, LoadRequest, Question as _,
    Report, TcpRequest, socket::Stopwatch, tcp::Connection,
};

/// How many failures are reported at most.
const FAILURES_MAX: usize = 100;

/// Connections that are open at a time.
pub(super) struct Crowd {
    connections: Vec<Connection>,
}

/// Opens them, and asks each once.
pub(super) fn gather(request: &CrowdRequest) -> (Crowd, Report) {
    let mut crowd = Crowd { connections: Vec::with_capacity(request.connections) };
    let (mut endpoints, mut failures) = (Vec::new(), Vec::new());
    for _ in 0..request.connections {
        match connect(request.to, request.timeout_ms, false) {
            Ok((connection, answer)) => {
                crowd.connections.push(connection);
                endpoints.push(answer.endpoint);
            }
            Err(failure) => failures.push(failure),
        }
    }
    (crowd, told(endpoints, failures))
}

impl Crowd {
    /// Asks each of them. Who doesn't answer is left out from then on.
    pub(super) fn ask(&mut self) -> Report {
        let (mut endpoints, mut failures) = (Vec::new(), Vec::new());
        self.connections.retain_mut(|connection| match connection.ask_since(&Stopwatch::start()) {
            Ok(answer) => {
                endpoints.push(answer.endpoint);
                true
            }
            Err(failure) => {
                failures.push(failure);
                false
            }
        });
        told(endpoints, failures)
    }
}

fn told(endpoints: Vec<SocketAddr>, mut failures: Vec<Failure>) -> Report {
    failures.truncate(FAILURES_MAX);
    Report::Crowd(CrowdAnswer { endpoints, failures })
}

/// Makes one connection after the other until the time is over.
pub(super) fn one_by_one(request: &LoadRequest) -> Report {
    let mut told = LoadAnswer { endpoints: Vec::new(), failures: Vec::new() };
    let (start, end) = (Instant::now(), Duration::from_millis(request.duration_ms));
    while start.elapsed() < end && told.failures.len() < FAILURES_MAX {
        match connect(request.to, request.timeout_ms, true) {
            Ok((_, answer)) => told.endpoints.push(answer.endpoint),
            Err(failure) => told.failures.push(failure),
        }
    }
    Report::Load(told)
}

fn connect(to: SocketAddr, timeout_ms: u64, abort: bool) -> Result<(Connection, Answer), Failure> {
    let request = TcpRequest { abort, ..TcpRequest::new(Common::new(to, timeout_ms)) };
    let watch = Stopwatch::start();
    let mut connection = Connection::open(&request, &watch)?;
    let answer = connection.ask_since(&watch)?;
    Ok((connection, answer))
}
