//! Is there a kube-proxy process that works on this network namespace?
//!
//! Sees the processes of this PID namespace. A kube-proxy inside another program (k3s, hyperkube)
//! has no process of its own and isn't found; its rules are. Called by [`crate::kube_proxy`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What the kernel calls the process.
const NAME: &str = "kube-proxy";
/// The inode number of the first PID namespace (`PROC_PID_INIT_INO` of linux/proc_ns.h).
const FIRST: &str = "pid:[4026531836]";

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// Its id, as this PID namespace counts.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// The kube-proxy processes of this network namespace.
///
/// # Errors
/// When `/proc` can't be read.
pub fn running() -> io::Result<Vec<Process>> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let path = entry.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        // Where its namespace can't be told, it may be ours.
        let elsewhere = fs::read_link(path.join("ns/net")).is_ok_and(|other| other != ours);
        if name.trim_end() == NAME && !elsewhere && !is_dead(path.join("stat")) {
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            found.push(Process { pid, command: command.trim_end_matches('\0').replace('\0', " ") });
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Whether the processes of the whole machine are seen, and not those of a container only.
#[must_use]
pub fn sees_all() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(FIRST))
        // Process 2 is kthreadd: where the host's /proc is mounted, it is there.
        || fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim_end() == "kthreadd")
}

/// A zombie works on nothing.
fn is_dead(stat: PathBuf) -> bool {
    let text = fs::read_to_string(stat).unwrap_or_default();
    // 4711 (kube-proxy) Z 1 …
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}
