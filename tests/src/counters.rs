//! The kernel's own network counters of a namespace: what it thought of the packets.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use crate::NetNs;

/// Counters of packets whose source could not be: strict reverse path filter, martians, bad headers.
const SUSPICIONS: [&str; 3] = ["TcpExt.IPReversePathFilter", "Ip.InAddrErrors", "Ip.InHdrErrors"];

/// A reading of all counters.
#[derive(Clone, Debug)]
pub struct Counters {
    values: BTreeMap<String, i64>,
}

impl Counters {
    pub(crate) fn read(namespace: &NetNs) -> Result<Self> {
        namespace.run(|| {
            let mut values = BTreeMap::new();
            for file in ["netstat", "snmp"] {
                let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
                let lines: Vec<&str> = text.lines().collect();
                // Pairs of lines: `Group: name name …` and `Group: value value …`.
                for [names, numbers] in lines.as_chunks().0 {
                    let (group, names) = names.split_once(": ").context("no group")?;
                    let (_, numbers) = numbers.split_once(": ").context("no group")?;
                    for (name, number) in names.split(' ').zip(numbers.split(' ')) {
                        values.insert(format!("{group}.{name}"), number.parse()?);
                    }
                }
            }
            Ok(Self { values })
        })
    }

    /// Those that say that the host mistrusted packets, and how many.
    #[must_use]
    pub fn suspicions(&self) -> BTreeMap<&'static str, i64> {
        SUSPICIONS
            .into_iter()
            .map(|name| (name, self.value(name)))
            .filter(|&(_, value)| value != 0)
            .collect()
    }

    /// One counter, `Group.Name` as in `/proc/net/netstat` and `/proc/net/snmp`.
    #[must_use]
    pub fn value(&self, name: &str) -> i64 {
        self.values.get(name).copied().unwrap_or(0)
    }
}
