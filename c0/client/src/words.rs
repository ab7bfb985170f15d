//! What is said of a device in few words. Pure; what a device says goes through [`clean`].

use catenoid_schema::{
    foreign::clean,
    status::{Blame, Condition, ManifestState},
    units::Timestamp,
};

/// How long before `now` something was: `12s`, `3m`, `2h`, `4d`. What a clock puts into the future counts as now.
#[must_use]
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.seconds().saturating_sub(then.seconds()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Who must act, as the end of a sentence.
#[must_use]
pub fn duty(blame: Blame) -> &'static str {
    match blame {
        Blame::ManifestAuthor => "whoever wrote the manifest must act",
        Blame::Administrator => "whoever runs the device must act",
        Blame::Nobody => "nobody must act: the device tries again",
        Blame::Us => "this is a defect of Catenoid: please report it",
    }
}

/// One manifest on one line.
#[must_use]
pub fn manifest(state: &ManifestState) -> String {
    format!("`{}`, sequence {}, sha256:{}", state.name, state.sequence, state.digest.short())
}

/// A condition on one line.
#[must_use]
pub fn said(condition: &Condition) -> String {
    if condition.message.is_empty() {
        clean(&condition.reason)
    } else {
        format!("{}: {}", clean(&condition.reason), clean(&condition.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let at = |seconds| Timestamp::from_seconds(seconds).expect("within range");
        let ages = [(5, "5s"), (60, "1m"), (7199, "1h"), (90_000, "1d")];
        for (seconds, text) in ages {
            assert_eq!(age(at(1_000_000 + seconds), at(1_000_000)), text);
        }
        assert_eq!(age(at(10), at(20)), "0s");
    }
}
