//! The probe's client: does requests one by one, and keeps one connection or socket between them.

use std::io::{self, BufRead as _, Write as _};

use anyhow::{Context as _, Result};

use super::{Report, Request, bind, load, ping, tcp, udp};

enum Kept {
    Nothing,
    Tcp(tcp::Connection),
    Udp(udp::Datagrams),
    Crowd(load::Crowd),
}

/// Does requests until standard input ends.
pub(super) fn run() -> Result<()> {
    let mut kept = Kept::Nothing;
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let request = serde_json::from_str(&line).with_context(|| format!("bad request {line}"))?;
        let report = answer(&request, &mut kept)?;
        serde_json::to_writer(&mut output, &report)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(request: &Request, kept: &mut Kept) -> Result<Report> {
    Ok(match request {
        Request::Tcp(request) => {
            let (connection, report) = tcp::request(request);
            *kept = match connection {
                Some(connection) if request.common.keep => Kept::Tcp(connection),
                _ => Kept::Nothing,
            };
            report
        }
        Request::Udp(request) => {
            let (datagrams, report) = udp::request(request);
            *kept = match datagrams {
                Some(datagrams) if request.common.keep => Kept::Udp(datagrams),
                _ => Kept::Nothing,
            };
            report
        }
        Request::Again => match kept {
            Kept::Tcp(connection) => connection.ask(),
            Kept::Udp(datagrams) => datagrams.ask(),
            Kept::Crowd(crowd) => crowd.ask(),
            Kept::Nothing => anyhow::bail!("nothing was kept to ask again"),
        },
        Request::Ping(request) => ping::request(request),
        Request::Crowd(request) => {
            let (crowd, report) = load::gather(request);
            *kept = Kept::Crowd(crowd);
            report
        }
        Request::Load(request) => load::one_by_one(request),
        Request::Bind(request) => bind::request(request),
    })
}
