//! `/proc/self/mountinfo`, as far as it is needed: where which kind of file system is mounted.
//!
//! Pure but for [`read`]. Called by [`crate::host::cgroup`] and [`crate::host::bpffs`].

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// One line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Which directory of the file system is mounted; `/` when all of it is.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The kind of file system: `bpf`, `cgroup2`, …
    pub kind: String,
    /// What was given as the source; any text for file systems without a device.
    pub source: String,
}

/// The mounts of this process' mount namespace, in the order in which they were made.
///
/// # Errors
/// When `/proc` isn't mounted.
pub fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The mounts that `text` lists. Lines that don't have the form are left out.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// The name of the network namespace whose `ip netns exec` this process runs under: that command
/// hides what was mounted under /sys behind a sysfs whose source is the namespace's name.
#[must_use]
pub fn netns_exec(mounts: &[Mount]) -> Option<&str> {
    let sys = mounts.iter().rev().find(|mount| mount.mount_point == Path::new("/sys"))?;
    (sys.kind == "sysfs" && !matches!(sys.source.as_str(), "sysfs" | "sys" | "none"))
        .then_some(sys.source.as_str())
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    // 36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw,errors=continue
    let mut fields = line.split(|byte| *byte == b' ');
    let root = fields.nth(3)?;
    let mount_point = fields.next()?;
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = after.next()?;
    let source = after.next()?;
    Some(Mount {
        root: OsString::from_vec(unescape(root)).into(),
        mount_point: OsString::from_vec(unescape(mount_point)).into(),
        kind: String::from_utf8_lossy(kind).into_owned(),
        source: String::from_utf8_lossy(&unescape(source)).into_owned(),
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if byte == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{netns_exec, parse};

    const HYBRID: &[u8] = b"\
24 30 0:22 / /sys rw,relatime shared:2 - sysfs sysfs rw
31 24 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
43 31 0:39 / /sys/fs/cgroup/unified rw,relatime shared:9 master:3 - cgroup2 cgroup2 rw
";

    #[test]
    fn optional_fields_are_skipped_whatever_their_number() {
        let mounts = parse(HYBRID);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[3].kind, "cgroup2");
        assert_eq!(mounts[3].mount_point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mounts[1].source, "tmpfs");
    }

    #[test]
    fn ip_netns_exec_is_known_by_the_sysfs_it_mounts() {
        assert_eq!(netns_exec(&parse(HYBRID)), None);
        let inside = parse(
            b"24 30 0:22 / /sys rw - sysfs sysfs rw\n90 30 0:77 / /sys rw - sysfs node-a rw\n",
        );
        assert_eq!(netns_exec(&inside), Some("node-a"));
    }

    #[test]
    fn escaped_blanks_in_a_mount_point_are_undone() {
        let mounts = parse(b"36 35 98:0 / /mnt/a\\040b\\134c rw - bpf sluice rw\n");
        assert_eq!(mounts[0].mount_point, Path::new("/mnt/a b\\c"));
    }

    #[test]
    fn a_line_that_ends_early_is_left_out() {
        assert!(parse(b"36 35 98:0 / /mnt rw -\n\n36 35\n").is_empty());
    }
}
