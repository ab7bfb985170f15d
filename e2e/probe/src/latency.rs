//! A neighbour that does little, and measures how long it waits for it: a timer of a millisecond, and writing 64 bytes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sys::{Arg, Refusal, call};

const PERIOD: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const BYTES: [u8; 64] = [b'-'; 64];
const FILE: &str = "/tmp/latency";
/// `TIMER_ABSTIME` (linux/time.h).
const ABSOLUTE: i64 = 1;

/// Measures for this long, again and again, and prints the figures each time: in microseconds, and when they were taken.
pub(crate) fn run(duration: Duration, rounds: u64) -> Result<(), Refusal> {
    let file = File::create(FILE)?;
    for _ in 0..rounds {
        let from = now()?;
        let writes = || {
            let before = now()?;
            file.write_all_at(&BYTES, 0)?;
            Ok(now()? - before)
        };
        let (late, written) = thread::scope(|scope| {
            let writer = scope.spawn(|| each_period(duration, |_| writes()));
            let late = each_period(duration, |due| Ok(now()?.saturating_sub(due)));
            (late, writer.join().unwrap_or(Err(Refusal { errno: libc::EIO, filter: false })))
        });
        let (timer, write) = (figures(late?), figures(written?));
        crate::say(&json!({"from": from, "until": now()?, "timer": timer, "write": write}).to_string());
    }
    Ok(())
}

/// Does `measure` at each millisecond, given when it is due. One that is late keeps none of the next ones back: what a
/// standstill made late is counted for each millisecond of it.
fn each_period(duration: Duration, mut measure: impl FnMut(u64) -> Result<u64, Refusal>) -> Result<Vec<u64>, Refusal> {
    let start = now()?;
    let periods = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) / PERIOD;
    (1..=periods)
        .map(|period| {
            let due = start + period * PERIOD;
            let mut at = [due / SECOND, due % SECOND].map(u64::to_ne_bytes).concat();
            let clock = libc::CLOCK_MONOTONIC;
            call(libc::SYS_clock_nanosleep, [clock.into(), ABSOLUTE.into(), Arg::Bytes(&mut at), 0.into()])?;
            measure(due)
        })
        .collect()
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> Result<u64, Refusal> {
    let mut time = [0; 16];
    call(libc::SYS_clock_gettime, [libc::CLOCK_MONOTONIC.into(), Arg::Bytes(&mut time)])?;
    let [seconds, nanoseconds] = [time.first_chunk(), time.last_chunk()].map(|word| word.copied().unwrap_or_default());
    Ok(u64::from_ne_bytes(seconds) * SECOND + u64::from_ne_bytes(nanoseconds))
}

fn figures(mut nanoseconds: Vec<u64>) -> Value {
    nanoseconds.sort_unstable();
    let at = |thousandths: usize| {
        let last = nanoseconds.len().saturating_sub(1);
        nanoseconds.get(last * thousandths / 1000).copied().unwrap_or_default().div_ceil(1000)
    };
    json!({"count": nanoseconds.len(), "p50": at(500), "p99": at(990), "max": at(1000)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_microseconds_of_the_sorted_times() {
        let times = (0..=1000).rev().map(|micros| micros * 1000).collect();
        assert_eq!(figures(times), json!({"count": 1001, "p50": 500, "p99": 990, "max": 1000}));
        assert_eq!(figures(vec![1]), json!({"count": 1, "p50": 1, "p99": 1, "max": 1}));
        assert_eq!(figures(Vec::new()), json!({"count": 0, "p50": 0, "p99": 0, "max": 0}));
    }
}
