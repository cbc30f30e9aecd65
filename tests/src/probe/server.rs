//! The probe's server: a thread for each listener and connection.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, UdpSocket},
    thread,
};

use anyhow::{Context as _, Result};

use super::{Report, tcp, udp};

/// Serves on all addresses until killed; prints [`Report::Ready`] when all are bound.
pub(super) fn run(name: &str, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Result<()> {
    thread::scope(|scope| {
        let mut listeners = Vec::new();
        for &address in tcp {
            let listener =
                tcp::listen(address).with_context(|| format!("cannot serve TCP on {address}"))?;
            listeners.push(scope.spawn(move || -> io::Result<()> {
                loop {
                    let (stream, _) = listener.accept()?;
                    // How a connection ends is the client's to report.
                    scope.spawn(move || tcp::serve(name, stream).ok());
                }
            }));
        }
        for &address in udp {
            let socket = UdpSocket::bind(address)
                .with_context(|| format!("cannot serve UDP on {address}"))?;
            listeners.push(scope.spawn(move || udp::serve(name, &socket)));
        }
        let mut output = io::stdout().lock();
        serde_json::to_writer(&mut output, &Report::Ready)?;
        output.write_all(b"\n")?;
        output.flush()?;
        for listener in listeners {
            listener.join().expect("a listener does not panic")?;
        }
        Ok(())
    })
}
