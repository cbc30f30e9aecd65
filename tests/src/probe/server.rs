//! The probe's server: a thread for each listener and connection.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    thread,
};

use anyhow::{Context as _, Result};

use super::{Report, tcp, udp};

/// Serves on all addresses until killed; prints [`Report::Ready`] when all are bound.
pub(super) fn run(name: &str, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Result<()> {
    // All are bound before the first thread starts: a thread that accepts never ends.
    let listeners = tcp
        .iter()
        .map(|&address| {
            tcp::listen(address).with_context(|| format!("cannot serve TCP on {address}"))
        })
        .collect::<Result<Vec<_>>>()?;
    let sockets = udp
        .iter()
        .map(|&address| {
            udp::listen(address).with_context(|| format!("cannot serve UDP on {address}"))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, &Report::Ready)?;
    output.write_all(b"\n")?;
    output.flush()?;
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(move || -> io::Result<()> {
                loop {
                    let (stream, _) = listener.accept()?;
                    // How a connection ends is the client's to report.
                    scope.spawn(move || tcp::serve(name, stream).ok());
                }
            });
        }
        for socket in &sockets {
            scope.spawn(move || udp::serve(name, socket));
        }
    });
    Ok(())
}
