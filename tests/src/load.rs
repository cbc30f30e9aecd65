//! Many connections of a host: a crowd that stays, or one connection after the other.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail};

use crate::{
    Host,
    client::{PATIENCE_MS, Session},
    probe::{CrowdAnswer, CrowdRequest, LoadAnswer, LoadRequest, Report, Request},
};

/// Open TCP connections, all in one process.
pub struct Crowd {
    session: Session,
}

impl Crowd {
    pub(crate) fn gather(
        host: &Host,
        to: SocketAddr,
        connections: usize,
        patience_ms: u64,
    ) -> Result<(Self, CrowdAnswer)> {
        let mut session = Session::start(host)?;
        let request = Request::Crowd(CrowdRequest { to, connections, timeout_ms: patience_ms });
        let answer = outcome(session.request(&request)?)?;
        Ok((Self { session }, answer))
    }

    /// Asks each of them once.
    pub fn ask(&mut self) -> Result<CrowdAnswer> {
        outcome(self.session.request(&Request::Again)?)
    }
}

fn outcome(report: Report) -> Result<CrowdAnswer> {
    match report {
        Report::Crowd(answer) => Ok(answer),
        other => bail!("the probe answered a crowd with {other:?}"),
    }
}

/// TCP connections that are being made one after the other, in a process of its own.
pub struct Load {
    session: Session,
}

impl Load {
    pub(crate) fn start(host: &Host, to: SocketAddr, duration: Duration) -> Result<Self> {
        let mut session = Session::start(host)?;
        let duration_ms = u64::try_from(duration.as_millis())?;
        session.begin(&Request::Load(LoadRequest { to, duration_ms, timeout_ms: PATIENCE_MS }))?;
        Ok(Self { session })
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Result<LoadAnswer> {
        match self.session.report()? {
            Report::Load(answer) => Ok(answer),
            other => bail!("the probe answered a load with {other:?}"),
        }
    }
}
