//! The kernel's settings of this network namespace, as far as they decide whether traffic gets
//! through. Read, never written: they are the administrator's.
//!
//! Called by [`crate::preflight`].

use std::{fs, ops::RangeInclusive};

/// The value of a setting, by its name with dots (`net.ipv4.ip_forward`); `None` where this kernel
/// has no such setting.
#[must_use]
pub fn read(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}

/// The ports that the kernel hands out to sockets that ask for none
/// (`net.ipv4.ip_local_port_range`, which counts for IPv6 too).
#[must_use]
pub fn local_ports() -> Option<RangeInclusive<u16>> {
    pair(&read(LOCAL_PORTS)?)
}

/// The name of the setting behind [`local_ports`].
pub const LOCAL_PORTS: &str = "net.ipv4.ip_local_port_range";
/// Ports of [`local_ports`] that are not handed out all the same.
pub const RESERVED_PORTS: &str = "net.ipv4.ip_local_reserved_ports";

fn pair(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace();
    let (first, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(first..=last)
}

/// Whether a list like `80,1000-1010` holds every one of `ports`.
#[must_use]
pub fn covers(list: &str, ports: &RangeInclusive<u16>) -> bool {
    let ranges = list.split(',').filter_map(|item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    });
    let mut ranges: Vec<RangeInclusive<u16>> = ranges.collect();
    ranges.sort_by_key(|range| *range.start());
    // The first port that no range has held so far.
    let mut next = u32::from(*ports.start());
    for range in ranges {
        if u32::from(*range.start()) > next {
            break;
        }
        next = next.max(u32::from(*range.end()) + 1);
    }
    next > u32::from(*ports.end())
}

#[cfg(test)]
mod tests {
    use super::{covers, pair, read};

    #[test]
    fn a_setting_that_does_not_exist_is_none() {
        assert_eq!(read("net.no_such.setting"), None);
    }

    #[test]
    fn a_range_is_two_numbers() {
        assert_eq!(pair("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(pair("32768"), None);
    }

    #[test]
    fn reserved_ports_may_be_listed_in_pieces() {
        assert!(covers("61000-62000,80,62001-65535", &(61_000..=65_535)));
        assert!(!covers("61000-62000,62002-65535", &(61_000..=65_535)));
        assert!(!covers("", &(61_000..=61_000)));
    }
}
