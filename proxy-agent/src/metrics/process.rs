//! What the agent itself takes, from /proc.

use std::{fs, io, time::Duration};

/// What the process takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// Resident memory in bytes.
    pub(super) memory: u64,
    /// CPU time, in user space and in the kernel.
    pub(super) cpu: Duration,
    /// Open file descriptors.
    pub(super) files: usize,
}

/// What this process takes now.
pub(super) fn usage() -> io::Result<Usage> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let page = rustix::param::page_size() as u64;
    let tick = rustix::param::clock_ticks_per_second();
    let (cpu, pages) = parse(&stat, tick).ok_or(io::ErrorKind::InvalidData)?;
    let files = fs::read_dir("/proc/self/fd")?.count();
    Ok(Usage { memory: pages * page, cpu, files })
}

/// CPU time and resident pages, out of `/proc/PID/stat` (proc_pid_stat(5)).
fn parse(stat: &str, ticks_per_second: u64) -> Option<(Duration, u64)> {
    // The command, second in line, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // What is behind the command begins with field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    let cpu = Duration::from_millis(ticks * 1000 / ticks_per_second.max(1));
    Some((cpu, field(24)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, usage};

    #[test]
    fn a_command_with_blanks_and_brackets_is_no_obstacle() {
        let stat = "42 (a b) c) S 1 1 1 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 4 0 100 1000 77 99";
        assert_eq!(parse(stat, 100), Some((Duration::from_secs(2), 77)));
        assert_eq!(parse("42 (a) S 1", 100), None);
    }

    #[test]
    fn this_process_takes_something() {
        let usage = usage().unwrap();
        assert!(usage.memory > 1 << 20 && usage.files > 2, "{usage:?}");
    }
}
