//! Whether a process may have a port.

use socket2::Type;

use super::{
    BindRequest, Phase, Report,
    socket::{self, Stopwatch},
};

/// Binds the port, and lets go of it.
pub(super) fn request(request: &BindRequest) -> Report {
    let watch = Stopwatch::start();
    let kind = if request.datagrams { Type::DGRAM } else { Type::STREAM };
    let bound = socket::for_server(request.address, kind)
        .and_then(|socket| socket.bind(&request.address.into()));
    match bound {
        Ok(()) => Report::Bound,
        Err(error) => Report::Failure(watch.failure(Phase::Socket, &error)),
    }
}
