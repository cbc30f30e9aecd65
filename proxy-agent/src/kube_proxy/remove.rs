//! Takes away what kube-proxy has left, and nothing else.
//!
//! Rules of others that lead to its chains go first: from then on nothing meets what is left of it,
//! and the rest may take its time. Called by [`crate::cli`], which has made sure that no kube-proxy
//! runs: it would put everything back.

use std::{
    io::{self, Write as _},
    process::Stdio,
};

use serde::Serialize;

use super::{
    iptables, ipvs,
    leftovers::{Leftovers, LegacyPart, command, output},
};
use crate::host::nftables::{NfTables, Removal};

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Tables of nftables: `ip kube-proxy`.
    pub tables: Vec<String>,
    /// Chains of iptables-nft, as `ip nat KUBE-SERVICES`, and of legacy iptables, as
    /// `iptables-legacy nat KUBE-SERVICES`.
    pub chains: Vec<String>,
    /// How many rules in chains of others led to them.
    pub rules: usize,
    /// Devices.
    pub devices: Vec<String>,
    /// Virtual servers of IPVS.
    pub servers: Vec<String>,
    /// ipsets.
    pub sets: Vec<String>,
    /// What is left, and what to do about it.
    pub left: Vec<String>,
}

impl Removed {
    /// Whether nothing was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why something is left.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}: what went before is gone; run it again")]
pub struct RemoveError {
    /// What was being removed.
    what: String,
    /// What the kernel or the tool said.
    source: io::Error,
}

/// Removes `found`.
///
/// # Errors
/// At the first thing that can't be removed. What went before stays gone.
pub fn remove(found: &Leftovers) -> Result<Removed, RemoveError> {
    let mut removed = Removed { left: found.unknown.clone(), ..Removed::default() };
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| RemoveError { what, source }
    };
    remove_nftables(found, &mut removed).map_err(failed("nftables"))?;
    for part in &found.legacy {
        remove_legacy(part, &mut removed).map_err(failed(&part.restore))?;
    }
    remove_ipvs(found, &mut removed).map_err(failed("IPVS"))?;
    Ok(removed)
}

fn remove_nftables(found: &Leftovers, removed: &mut Removed) -> io::Result<()> {
    if found.tables.is_empty() && found.chains.is_empty() {
        return Ok(());
    }
    let nftables = NfTables::open()?;
    let rules: Vec<_> = found.rules.iter().map(Removal::Rule).collect();
    nftables.remove(&rules)?;
    removed.rules += rules.len();
    // Their own rules lead from one chain to another: all of them go before the first chain does.
    let contents: Vec<_> = found.chains.iter().map(Removal::Rules).collect();
    nftables.remove(&contents)?;
    let chains: Vec<_> = found.chains.iter().map(Removal::Chain).collect();
    nftables.remove(&chains)?;
    removed
        .chains
        .extend(found.chains.iter().map(|chain| format!("{} {}", chain.table, chain.name)));
    let tables: Vec<_> = found.tables.iter().map(Removal::Table).collect();
    nftables.remove(&tables)?;
    removed.tables.extend(found.tables.iter().map(ToString::to_string));
    Ok(())
}

fn remove_legacy(part: &LegacyPart, removed: &mut Removed) -> io::Result<()> {
    let mut child = command(&part.restore)
        .arg("--noflush")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that gives up early says why when it ends.
        let _ = stdin.write_all(iptables::removal(&part.parts).as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{}: {}", output.status, said.trim())));
    }
    let tool = if part.family.v6 { "ip6tables-legacy" } else { "iptables-legacy" };
    for part in &part.parts {
        removed.rules += part.rules.len();
        let chains = part.chains.iter().map(|chain| format!("{tool} {} {chain}", part.table));
        removed.chains.extend(chains);
    }
    Ok(())
}

fn remove_ipvs(found: &Leftovers, removed: &mut Removed) -> io::Result<()> {
    for (flag, place) in &found.ipvs.servers {
        match output("ipvsadm", &["-D", flag, place]) {
            Ok(_) => removed.servers.push(place.clone()),
            Err(error) => removed.left.push(format!(
                "virtual server {place} of IPVS: {error}: remove it with `ipvsadm -D {flag} {place}`"
            )),
        }
    }
    if !found.ipvs.others.is_empty() {
        removed.left.push(format!(
            "virtual servers of IPVS at {}: kube-proxy's, if nobody else uses IPVS here; then \
             `ipvsadm --clear` removes them",
            found.ipvs.others.join(", ")
        ));
    }
    for set in &found.ipvs.sets {
        match output("ipset", &["destroy", set]) {
            Ok(_) => removed.sets.push(set.clone()),
            Err(error) => removed
                .left
                .push(format!("ipset {set}: {error}: remove it with `ipset destroy {set}`")),
        }
    }
    // The last: by it the others are found again, should something come in between.
    if let Some(device) = &found.device {
        ipvs::remove_device()?;
        removed.devices.push(device.clone());
    }
    Ok(())
}
