//! Pages that an agent serves, as a load balancer, a kubelet or Prometheus asks for them. Called by
//! stories and benches.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::Host;
use anyhow::{Context as _, Result, bail};

/// How long a page may take to become what is expected.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its status.
    pub status: u16,
    /// Its first line and its headers, in lower case.
    pub headers: String,
    /// What it says.
    pub body: String,
}

/// What `path` at `address` is, seen from `host`.
pub fn page(host: &Host, address: &str, path: &str) -> Result<Page> {
    let address: SocketAddr = address.parse()?;
    let text = host.namespace().run(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?;
    let (headers, body) = text.split_once("\r\n\r\n").context("no HTTP")?;
    let status = headers.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Page { status, headers: headers.to_lowercase(), body: body.to_owned() })
}

/// The page once it is as `wanted`.
pub fn page_when(
    host: &Host,
    address: &str,
    path: &str,
    wanted: impl Fn(&Page) -> bool,
) -> Result<Page> {
    let start = Instant::now();
    loop {
        let page = page(host, address, path);
        match page {
            Ok(page) if wanted(&page) => return Ok(page),
            other if start.elapsed() > PATIENCE => bail!("{address}{path} is {other:?}"),
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The value of a series of `/metrics` on `host`.
pub fn metric(host: &Host, series: &str) -> Result<f64> {
    let page = page(host, "127.0.0.1:10249", "/metrics")?;
    let line = page.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.with_context(|| format!("no {series} in:\n{}", page.body))?.parse().context("a number")
}
