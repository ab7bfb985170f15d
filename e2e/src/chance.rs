//! Random choices that can be made again: the seed is printed, and `CATENOID_SEED` sets it.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose with.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// Starts from `CATENOID_SEED`, or else from the time; prints which, with `what` is chosen.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seed = env::var("CATENOID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(since);
        println!("{what}: CATENOID_SEED={seed}");
        Self::of(seed)
    }

    /// Starts from `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A time shorter than `limit`, to the millisecond.
    pub fn shorter_than(&mut self, limit: Duration) -> Duration {
        Duration::from_millis(self.below(limit.as_millis().try_into().unwrap_or(u64::MAX).max(1)))
    }
}

/// Whether the whole set is asked for (`CATENOID_WHOLE=1`, which `cargo xtask whole` sets) where a run makes do with a
/// sample otherwise. A test that calls it says which set it is: `[whole: NAME]` in its doc comment.
#[must_use]
pub fn whole() -> bool {
    env::var("CATENOID_WHOLE").is_ok_and(|whole| whole == "1")
}

/// Which share of the whole set is asked for, and of how many (`CATENOID_SHARE=1/2`): each is a process of its own.
///
/// # Errors
/// What cannot be read as that.
pub fn share() -> Result<(usize, usize)> {
    let Ok(text) = env::var("CATENOID_SHARE") else { return Ok((1, 1)) };
    parse_share(&text).with_context(|| format!("CATENOID_SHARE is `{text}`, not like 1/2"))
}

/// Reads `1/2`: which share, from 1 on, and of how many.
#[must_use]
pub fn parse_share(text: &str) -> Option<(usize, usize)> {
    let (share, of) = text.split_once('/')?;
    let (share, of) = (share.parse().ok()?, of.parse().ok()?);
    (1..=of).contains(&share).then_some((share, of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_or_refused() {
        assert_eq!(parse_share("2/3"), Some((2, 3)));
        for text in ["0/2", "3/2", "1", "1/0", "a/b", ""] {
            assert_eq!(parse_share(text), None, "{text}");
        }
    }
}
