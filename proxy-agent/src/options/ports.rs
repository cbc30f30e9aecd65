//! Ranges of ports as people write them: `12000-29999`.
//!
//! Called by [`crate::options`].

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A range of ports: `12000-29999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// A text that is no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a range of ports: write the first and the last, from 1 to 65535, as in 12000-29999"
)]
pub struct PortsError(String);

impl Ports {
    /// Below the NodePort range (30000 to 32767) and the kernel's default local range (32768 to 60999), and
    /// as many as the ports that a client has of one parity, which it is handed first: see
    /// `masquerade::usual_port` of the datapath.
    pub const MASQUERADE: Self = Self { first: 12_000, last: 29_999 };

    /// The ports.
    #[must_use]
    pub const fn get(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for Ports {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = text.split_once('-').and_then(|(first, last)| {
            let first = first.trim().parse().ok().filter(|port| *port != 0)?;
            let last = last.trim().parse().ok().filter(|last| first <= *last)?;
            Some(Self { first, last })
        });
        range.ok_or_else(|| PortsError(text.into()))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn a_range_of_ports_has_a_first_and_a_last() {
        assert_eq!("12000-29999".parse(), Ok(Ports::MASQUERADE));
        assert_eq!("7-7".parse::<Ports>().unwrap().get(), 7..=7);
        for text in ["", "61000", "0-5", "9-8", "1-65536", "a-b", "1-2-3"] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }
}
