//! A server on a host: one probe that serves TCP and UDP by both families.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{Family, Host, Process, probe::Report};

const PATIENCE: Duration = Duration::from_secs(10);

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct Server {
    name: String,
    host: Host,
    tcp: u16,
    udp: u16,
    _process: Process,
}

impl Server {
    /// Starts a server at each of `addresses`, or at every address there is.
    pub(crate) fn start(
        host: &Host,
        name: &str,
        addresses: [IpAddr; 2],
        (tcp, udp): (u16, u16),
    ) -> Result<Self> {
        let mut command = host.probe()?;
        command.args(["serve", "--name", name]).stdout(Stdio::piped());
        for address in addresses {
            command.args(["--tcp", &SocketAddr::new(address, tcp).to_string()]);
            command.args(["--udp", &SocketAddr::new(address, udp).to_string()]);
        }
        let mut process = Process::start(&format!("server {name}"), &mut command)?;
        let first = process.lines().next(PATIENCE)?;
        match serde_json::from_str(&first)? {
            Report::Ready => {
                Ok(Self { name: name.to_owned(), host: host.clone(), tcp, udp, _process: process })
            }
            other => bail!("server {name} started with {other:?}"),
        }
    }

    /// The name it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its TCP address of `family`.
    #[must_use]
    pub fn tcp(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.host.address(family), self.tcp)
    }

    /// Its UDP address of `family`.
    #[must_use]
    pub fn udp(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.host.address(family), self.udp)
    }
}
