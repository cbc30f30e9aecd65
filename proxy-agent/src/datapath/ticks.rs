//! How the kernel's count of ticks is turned into time: learned from one run of a small program, and
//! held against how long the kernel has been running.
//!
//! Called by [`super::kernel`].

use aya::maps::{Array, MapError};
use proxy_common::{Nanoseconds, TickClock};
use rustix::time::{ClockId, clock_getres};

use super::questions::{Question, QuestionError};
use crate::host::clock;

/// How often the count is read until no tick comes between it and the clock.
const ATTEMPTS: u32 = 16;

const SECOND: u64 = 1_000_000_000;

/// Why ticks are not used.
#[derive(Debug, thiserror::Error)]
pub enum TicksError {
    /// The program that reads the count.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// Its map.
    #[error("the map that the count of ticks is in: {}", super::object::chain(.0))]
    Map(#[from] MapError),
    /// Ticks came between the clock and the count, every time.
    #[error("the clock never stood still while the count of ticks was read")]
    Restless,
    /// Ticks are not what they should be.
    #[error(
        "{ticks} ticks of {tick} ns since boot are not the {} s that the clock shows",
        now.get() / SECOND
    )]
    Apart {
        /// How many since boot.
        ticks: u64,
        /// How long one is.
        tick: u64,
        /// What the clock shows.
        now: Nanoseconds,
    },
}

/// Learns it. Takes a millisecond.
///
/// # Errors
/// See [`TicksError`]. The datapath has another clock then.
pub fn learn() -> Result<TickClock, TicksError> {
    let question = Question::load("tell_ticks")?;
    let tick = tick();
    for _ in 0..ATTEMPTS {
        let before = clock::now();
        question.run()?;
        let ticks = Array::<_, u64>::try_from(question.map("TICKS")?)?.get(&0, 0)?;
        if before == clock::now() {
            return checked(tick, ticks, before);
        }
    }
    Err(TicksError::Restless)
}

/// How long a tick is, in nanoseconds: as often the coarse clock moves on (`TICK_NSEC`).
fn tick() -> u64 {
    let resolution = clock_getres(ClockId::MonotonicCoarse);
    u64::try_from(resolution.tv_nsec).unwrap_or_default()
}

/// The clock, if as many ticks have passed since boot as there should have.
fn checked(tick: u64, ticks: u64, now: Nanoseconds) -> Result<TickClock, TicksError> {
    let since_boot = ticks.wrapping_sub(first(tick));
    let passed = since_boot.saturating_mul(tick);
    let allowed = SECOND + now.get() / 1000;
    if tick == 0 || passed.abs_diff(now.get()) > allowed {
        return Err(TicksError::Apart { ticks: since_boot, tick, now });
    }
    Ok(TickClock::new(tick, ticks, now))
}

/// What the count starts with: five minutes before its lower 32 bits wrap (`INITIAL_JIFFIES`).
fn first(tick: u64) -> u64 {
    let a_second = (SECOND + tick / 2).checked_div(tick).unwrap_or(0);
    (1 << 32) - 300 * a_second
}

#[cfg(test)]
mod tests {
    use proxy_common::Nanoseconds;

    use super::{SECOND, checked, first};

    const DAY: u64 = 86_400;

    #[test]
    fn the_count_starts_five_minutes_before_it_wraps_32_bits() {
        assert_eq!(first(4_000_000), 0xfffe_db08);
        assert_eq!(first(3_333_333), (1 << 32) - 90_000);
    }

    #[test]
    fn a_count_that_keeps_up_with_the_clock_is_one() {
        let (tick, day) = (4_000_000, Nanoseconds::new(DAY * SECOND));
        let ticks = first(tick) + DAY * 250;
        let clock = checked(tick, ticks, day).unwrap();
        assert_eq!(clock.at(ticks + 250).get(), (DAY + 1) * SECOND);
    }

    #[test]
    fn a_count_of_another_length_is_refused() {
        let day = Nanoseconds::new(DAY * SECOND);
        let ticks = first(4_000_000) + DAY * 250;
        assert!(checked(1_000_000, ticks, day).is_err());
        assert!(checked(4_000_000, first(4_000_000) + DAY * 249, day).is_err());
        assert!(checked(0, ticks, day).is_err());
    }
}
