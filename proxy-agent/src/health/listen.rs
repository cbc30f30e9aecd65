//! A port to listen on, had sooner or later: when somebody else has it, that is said, and it is
//! tried again.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::holder;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// How long to wait before a port is tried again: at first, and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// A listener at `address`, when it can be had. `what` is served there, in words that name the flag
/// or field that it comes from. `failing` is told of every failure that is another than the last.
pub(super) async fn listen(
    address: SocketAddr,
    what: &str,
    mut failing: impl FnMut(&str),
) -> TcpListener {
    let mut wait = WAIT.0;
    let mut told = String::new();
    loop {
        let error = match bind(address) {
            Ok(listener) => {
                if !told.is_empty() {
                    tracing::info!(%address, "{what}: listening at last");
                }
                return listener;
            }
            Err(error) => error,
        };
        let text = explain(address, what, &error);
        if text != told {
            tracing::warn!("{text}");
            failing(&text);
            told = text;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT.1);
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each family has a listener of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn explain(address: SocketAddr, what: &str, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => match holder::of(address) {
            Some(holder) => format!("{holder} has it: end that, or give another port"),
            None => "somebody has it: end that, or give another port".to_owned(),
        },
        io::ErrorKind::AddrNotAvailable => "the node doesn't have this address (yet)".to_owned(),
        _ => error.to_string(),
    };
    format!("{what}: {address} can't be listened on: {cure}; trying again")
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener as StdListener,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use super::listen;

    #[tokio::test]
    async fn a_port_that_is_taken_is_had_once_it_is_free() {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = told.clone();
        let listening = tokio::spawn(async move {
            let failing = |text: &str| heard.lock().unwrap().push(text.to_owned());
            listen(address, "--healthz-bind-address", failing).await
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let told = told.lock().unwrap().join("\n");
        assert!(told.starts_with("--healthz-bind-address: 127.0.0.1:"), "{told}");
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        drop(taken);
        let listener = tokio::time::timeout(Duration::from_secs(10), listening).await;
        assert_eq!(listener.unwrap().unwrap().local_addr().unwrap(), address);
    }
}
