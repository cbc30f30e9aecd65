//! Packets that can't be, as the kernel tells of them: martians in its log, others (the strict reverse
//! path filter's among them) in counters.
//!
//! The log is one for all namespaces. What it tells of a packet includes the hardware addresses it
//! went between, and so whose lab it was in. Called by [`crate::lab`] at both ends of a lab's life.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{Counters, NetNs};

/// The kernel's log from the moment it was opened.
pub(crate) struct KernelLog {
    file: File,
}

/// A packet that the kernel would not believe.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Martian {
    text: String,
    /// The hardware addresses it went between, where the device has such addresses.
    ends: Option<[String; 2]>,
}

impl KernelLog {
    /// From now on.
    pub(crate) fn from_now() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("cannot read the kernel's log")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file })
    }

    /// What hosts, by name, mistrusted since the log was opened and since they were made.
    pub(crate) fn suspicions(&mut self, hosts: &[(String, Arc<NetNs>)]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let martians = martians(&self.lines()?);
        for (name, namespace) in hosts {
            for (counter, packets) in Counters::read(namespace)?.suspicions() {
                found.push(format!("{name}: {counter} is {packets}"));
            }
            if martians.is_empty() {
                continue;
            }
            let devices = namespace.ip_json(&["link", "show"])?;
            let devices = devices.as_array().context("devices are no list")?;
            for martian in &martians {
                if devices.iter().any(|device| martian.concerns(device)) {
                    found.push(format!("{name}: {}", martian.text));
                }
            }
        }
        Ok(found)
    }

    fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(length) => lines.push(String::from_utf8_lossy(&record[..length]).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(lines),
                // The log went on faster than it was read: the next record is the oldest there is.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The martians among records of the log. A record with the packet's link-layer header may follow.
fn martians(lines: &[String]) -> Vec<Martian> {
    let mut found: Vec<Martian> = Vec::new();
    for line in lines {
        let (_, text) = line.split_once(';').unwrap_or(("", line));
        if text.contains("martian ") {
            found.push(Martian { text: text.trim().to_owned(), ends: None });
        } else if let Some(header) = text.trim().strip_prefix("ll header: 00000000: ")
            && let Some(last) = found.last_mut()
        {
            let bytes: Vec<&str> = header.split(' ').collect();
            if let [destination, source, _] = bytes.chunks(6).collect::<Vec<_>>().as_slice() {
                last.ends.get_or_insert([destination.join(":"), source.join(":")]);
            }
        }
    }
    found
}

impl Martian {
    /// Whether `device`, as `ip -json` describes it, had to do with it.
    fn concerns(&self, device: &Value) -> bool {
        match &self.ends {
            Some(ends) => ends.iter().any(|address| device["address"] == *address.as_str()),
            None => {
                device["link_type"] == "none"
                    && device["ifname"]
                        .as_str()
                        .is_some_and(|name| self.text.ends_with(&format!("on dev {name}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::martians;

    #[test]
    fn a_martian_is_told_by_its_hardware_addresses() {
        let lines = [
            "4,1,11,-;IPv4: martian source 10.9.0.1 from 10.99.0.1, on dev uplink\n",
            "4,2,12,-;ll header: 00000000: 52 16 4e 45 73 93 8a 23 e7 9d 2d 5a 08 00\n",
            "6,3,13,-;fabric: port 1(node-a) entered disabled state\n",
            "4,4,14,-;IPv4: martian source 10.9.0.1 from 10.9.0.1, on dev uplink\n",
        ];
        let found = martians(&lines.map(str::to_owned));
        let [ethernet, bare] = found.as_slice() else { panic!("{found:?}") };
        let ours = json!({ "ifname": "x", "link_type": "ether", "address": "52:16:4e:45:73:93" });
        let other =
            json!({ "ifname": "uplink", "link_type": "ether", "address": "02:00:00:00:00:01" });
        let sender =
            json!({ "ifname": "eth0", "link_type": "ether", "address": "8a:23:e7:9d:2d:5a" });
        let tun = json!({ "ifname": "uplink", "link_type": "none" });
        assert!(
            ethernet.concerns(&ours)
                && ethernet.concerns(&sender)
                && !ethernet.concerns(&other)
                && !ethernet.concerns(&tun)
        );
        assert!(bare.concerns(&tun) && !bare.concerns(&ours) && !bare.concerns(&other));
    }
}
