//! What kube-proxy has left on this node, or has there while it runs.
//!
//! Only looks. nftables, and iptables that is kept there, over netlink; legacy iptables with the
//! machine's own tools, if it has any rules. Called by [`crate::kube_proxy`].

use std::{
    fs, io,
    process::{Command, Stdio},
};

use super::{
    iptables::{self, Part},
    ipvs, names,
};
use crate::host::nftables::{Chain, NfTables, Rule, Table};

/// The legacy tools for a family, and where the kernel says which tables they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// Whether it is IPv6.
    pub v6: bool,
}

impl Legacy {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self { v6: false }, Self { v6: true }];

    fn tables(self) -> &'static str {
        if self.v6 { "/proc/net/ip6_tables_names" } else { "/proc/net/ip_tables_names" }
    }

    /// The name of a tool by the family: `iptables-legacy-save`.
    #[must_use]
    pub fn tool(self, what: &str) -> String {
        format!("{}-legacy-{what}", if self.v6 { "ip6tables" } else { "iptables" })
    }

    /// The same tool where a machine has legacy iptables alone.
    fn plain_tool(self, what: &str) -> String {
        format!("{}-{what}", if self.v6 { "ip6tables" } else { "iptables" })
    }
}

/// What is kube-proxy's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Tables of the nftables mode.
    pub tables: Vec<Table>,
    /// Chains of iptables-nft.
    pub chains: Vec<Chain>,
    /// Rules of others that lead to them.
    pub rules: Vec<Rule>,
    /// Its parts of legacy iptables, with the tool that saved them and the one that restores.
    pub legacy: Vec<LegacyPart>,
    /// The device of the IPVS mode.
    pub device: Option<String>,
    /// What it has in IPVS.
    pub ipvs: ipvs::Found,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
}

/// A family's part of legacy iptables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyPart {
    /// Which family.
    pub family: Legacy,
    /// The tool that removes it.
    pub restore: String,
    /// What there is, by table.
    pub parts: Vec<Part>,
}

impl Leftovers {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_words().is_empty()
    }

    /// What was found, a line for each kind.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let mut words: Vec<String> =
            self.tables.iter().map(|table| format!("nftables table {table}")).collect();
        if !self.chains.is_empty() {
            words.push(format!("{} chains of iptables-nft", self.chains.len()));
        }
        for part in &self.legacy {
            let chains: usize = part.parts.iter().map(|part| part.chains.len()).sum();
            let family = if part.family.v6 { "ip6tables" } else { "iptables" };
            words.push(format!("{chains} chains of legacy {family}"));
        }
        words.extend(self.device.iter().map(|device| format!("device {device}")));
        if !self.ipvs.servers.is_empty() {
            words.push(format!("{} virtual servers of IPVS", self.ipvs.servers.len()));
        }
        if !self.ipvs.sets.is_empty() {
            words.push(format!("{} ipsets", self.ipvs.sets.len()));
        }
        words
    }
}

/// Looks for everything. What can't be looked at is said in `unknown`.
#[must_use]
pub fn find() -> Leftovers {
    let mut found = Leftovers::default();
    if let Err(error) = find_nftables(&mut found)
        && !is_missing(&error)
    {
        found
            .unknown
            .push(format!("nftables can't be listed: {error}: CAP_NET_ADMIN is needed for that"));
    }
    for family in Legacy::BOTH {
        match find_legacy(family) {
            Ok(part) => found.legacy.extend(part),
            Err(why) => found.unknown.push(why),
        }
    }
    ipvs::find(&mut found);
    found
}

/// A kernel without nftables has nothing there.
fn is_missing(error: &io::Error) -> bool {
    let missing = [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL, libc::EAFNOSUPPORT];
    error.raw_os_error().is_some_and(|errno| missing.contains(&errno))
}

fn find_nftables(found: &mut Leftovers) -> io::Result<()> {
    let nftables = NfTables::open()?;
    found.tables = nftables.tables()?.into_iter().filter(names::is_table).collect();
    found.chains = nftables
        .chains()?
        .into_iter()
        .filter(|chain| names::is_of_iptables(&chain.table) && names::is_chain(&chain.name))
        .collect();
    let mut tables: Vec<&Table> = found.chains.iter().map(|chain| &chain.table).collect();
    tables.sort();
    tables.dedup();
    for table in tables {
        let leads_to_it = |rule: &Rule| {
            !names::is_chain(&rule.chain) && rule.target.as_deref().is_some_and(names::is_chain)
        };
        found.rules.extend(nftables.rules(table)?.into_iter().filter(leads_to_it));
    }
    Ok(())
}

fn find_legacy(family: Legacy) -> Result<Option<LegacyPart>, String> {
    // The kernel names the tables of this network namespace that were ever used.
    let tables = fs::read_to_string(family.tables()).unwrap_or_default();
    if tables.trim().is_empty() {
        return Ok(None);
    }
    for (save, restore) in [
        (family.tool("save"), family.tool("restore")),
        (family.plain_tool("save"), family.plain_tool("restore")),
    ] {
        // A tool that is of iptables-nft sees nothing of it.
        if save == family.plain_tool("save") && !is_legacy(&save) {
            continue;
        }
        let Ok(saved) = output(&save, &[]) else { continue };
        let parts = iptables::parts(&saved);
        return Ok((!parts.is_empty()).then_some(LegacyPart { family, restore, parts }));
    }
    Err(format!(
        "{} says that legacy iptables is in use, and there is no {} to list it with: look from \
         the host itself",
        family.tables(),
        family.tool("save"),
    ))
}

fn is_legacy(tool: &str) -> bool {
    output(tool, &["--version"]).is_ok_and(|text| text.contains("legacy"))
}

/// What a tool of the machine prints. Administrators' tools lie where not every PATH looks.
pub(super) fn output(tool: &str, arguments: &[&str]) -> io::Result<String> {
    let output = command(tool).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{tool}: {}: {}", output.status, said.trim())))
    }
}

pub(super) fn command(tool: &str) -> Command {
    let mut command = Command::new(tool);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"));
    command
}

#[cfg(test)]
mod tests {
    use super::Leftovers;
    use crate::host::nftables::{Family, Table};

    #[test]
    fn what_was_found_is_told_by_kind() {
        assert!(Leftovers::default().is_empty());
        let table = Table { family: Family::Ip6, name: "kube-proxy".into() };
        let found = Leftovers { tables: vec![table], ..Leftovers::default() };
        assert_eq!(found.in_words(), ["nftables table ip6 kube-proxy"]);
    }
}
