//! Durations as people write them: `90s`, `1h30m`, `500ms`.
//!
//! Called by [`crate::options`].

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A duration that was written down. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    duration: Duration,
}

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write numbers with units (ms, s, m, h, d), as in 90s or 1h30m")]
pub struct DurationError(String);

impl Span {
    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.duration
    }
}

impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = parse(text.trim()).filter(|duration| !duration.is_zero());
        duration.map(|duration| Self { duration }).ok_or_else(|| DurationError(text.into()))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = &after[..after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len())];
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = &after[unit.len()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Span;

    #[test]
    fn units_add_up() {
        let seconds = |text: &str| text.parse::<Span>().unwrap().get().as_secs();
        assert_eq!(seconds("90s"), 90);
        assert_eq!(seconds("1h30m"), 5400);
        assert_eq!(seconds("2d"), 172_800);
        assert_eq!("500ms".parse::<Span>().unwrap().get(), Duration::from_millis(500));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "0s", "10", "s", "-5s", "1.5h", "1w", "99999999999999999999s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
