//! A pair of WireGuard devices in two namespaces, each the other's only peer.
//!
//! Both are made in the first namespace, and their UDP sockets stay there when one of them moves: they
//! talk over its loopback, whose addresses nobody else sees.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context as _, Result, ensure};

use crate::NetNs;

/// What one end is known by.
struct End {
    /// In base64, as `wg` prints it.
    private_key: String,
    public_key: String,
    port: u16,
}

impl End {
    fn new() -> Result<Self> {
        let private_key = wg("genkey", "")?;
        let public_key = wg("pubkey", &private_key)?;
        Ok(Self { private_key, public_key, port: NEXT_PORT.fetch_add(1, Ordering::Relaxed) })
    }

    /// What `wg setconf` reads: everything goes to the peer, and may come from it.
    fn configuration(&self, peer: &Self) -> String {
        format!(
            "[Interface]
PrivateKey = {}
ListenPort = {}

[Peer]
PublicKey = {}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 127.0.0.1:{}
",
            self.private_key, self.port, peer.public_key, peer.port
        )
    }
}

/// What `wg <verb>` makes of `input`.
fn wg(verb: &str, input: &str) -> Result<String> {
    let mut command = Command::new("wg");
    let mut child = command
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run wg: run `cargo xtask setup`")?;
    child.stdin.take().context("stdin is a pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "wg {verb}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// The next port of a device. Devices of one namespace must not share one.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

/// Makes the device `first_name` in `first` and `second_name` in `second`.
pub(super) fn connect(
    first: &NetNs,
    first_name: &str,
    second: &NetNs,
    second_name: &str,
) -> Result<()> {
    let moving = format!("{first_name}-far");
    first.ip(&format!(
        "link add name {first_name} mtu 1500 type wireguard
         link add name {moving} mtu 1500 type wireguard"
    ))?;
    let (near, far) = (End::new()?, End::new()?);
    first.wireguard(first_name, &near.configuration(&far))?;
    first.wireguard(&moving, &far.configuration(&near))?;
    let path = second.path().display();
    first.ip(&format!("link set dev {moving} name {second_name} netns {path}"))
}
