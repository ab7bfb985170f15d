//! `catenoid-probe`: the attacker of the tests. It owns attempts to get out of a container and to hurt the agent through its
//! control socket; it runs on no device but the tests'. It needs nothing: linked statically, it runs in a guest that has
//! no other program. It gives one line of JSON for each attempt. Start reading at [`table`], then [`rows`].

mod exhaust;
mod forge;
mod frames;
mod hang;
mod hostile;
mod latency;
mod neighbour;
mod netlink;
mod rows;
mod sys;
mod table;

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use table::AttemptPlace;

const HELP: &str = "\
Usage: catenoid-probe COMMAND
  attempt core|service|root VICTIM   every attempt, from there; VICTIM is a process of the root namespace, by its number
  neighbour                          hold what others must not reach, until ended
  hog                                take memory until ended for it
  hang                               leave no processor to anybody, for ever
  hostile SOCKET EACH SKIPPED        everything that may hurt the agent, through its control socket; of hostile forms of calls
                                     each EACH-th after SKIPPED
  forge INTERFACE PORT FROM TO CORE  sends frames, honest and forged, FROM itself to its neighbour TO and to CORE, which hears
                                     PORT; each of these as HARDWARE,IPV4,IPV6
  hear SECONDS                       prints which of these frames arrive, for so long
  exhaust --list                     what can be used up, a line each
  exhaust ROW [--most N] [--seconds S]
                                     take N of it at most, for S seconds at most, print what was had, and hold it until ended
  turns SECONDS ROUNDS ROW...        takes the rows in turns, for so long each, and prints when
  latency SECONDS ROUNDS             what a neighbour waits for a timer and a write, for so long each time
";

/// Before a full pipe is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// The number of the process that is attacked, in the root namespace.
static VICTIM: OnceLock<i32> = OnceLock::new();

fn victim() -> i32 {
    VICTIM.get().copied().unwrap_or(1)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["attempt", place, victim] => match (AttemptPlace::parse(place), victim.parse()) {
            (Some(place), Ok(victim)) => attempt(place, victim),
            _ => usage(),
        },
        ["neighbour"] => match neighbour::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        ["hang"] => hang::run(),
        ["hog"] => {
            println!("{}", rows::limits::hog());
            ExitCode::FAILURE
        }
        ["hostile", socket, each, skipped] => match (each.parse::<NonZeroUsize>(), skipped.parse()) {
            (Ok(each), Ok(skipped)) if hostile::run(socket, each.get(), skipped) => ExitCode::SUCCESS,
            (Ok(_), Ok(_)) => ExitCode::FAILURE,
            _ => usage(),
        },
        ["forge", interface, port, from, to, core] => {
            match (port.parse(), forge::end(from), forge::end(to), forge::end(core)) {
                (Ok(port), Some(from), Some(to), Some(core)) => {
                    exit_code_of(forge::send(interface, &frames::rows(from, to, core, port)))
                }
                _ => usage(),
            }
        }
        ["hear", seconds] => match seconds.parse().map(Duration::from_secs) {
            Ok(seconds) => exit_code_of(forge::hear(seconds)),
            Err(_) => usage(),
        },
        ["exhaust", "--list"] => {
            exhaust::list();
            ExitCode::SUCCESS
        }
        ["exhaust", row, ref options @ ..] => match (exhaust::find(row), limits(options)) {
            (Some(row), Some((most, seconds))) => exhaust::run(row, most, seconds),
            _ => usage(),
        },
        ["turns", seconds, rounds, ref rows @ ..] if rows.iter().all(|row| exhaust::find(row).is_some()) => {
            rounds.parse().map_or_else(|_| usage(), |rounds| exit_code_of(exhaust::turns(rows, seconds, rounds)))
        }
        ["latency", seconds, rounds] => match (seconds.parse().map(Duration::from_secs), rounds.parse()) {
            (Ok(seconds), Ok(rounds)) => exit_code_of(latency::run(seconds, rounds)),
            _ => usage(),
        },
        // What a copy of this program reports of itself to whoever gave it a right.
        ["nothing"] => ExitCode::SUCCESS,
        ["euid"] => {
            println!(
                "{}",
                rows::status("self", "Uid")
                    .and_then(|ids| ids.split_whitespace().nth(1).map(str::to_owned))
                    .unwrap_or_default()
            );
            ExitCode::SUCCESS
        }
        ["capabilities"] => {
            println!("{}", rows::status("self", "CapEff").unwrap_or_default());
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

/// How many and for how many seconds, of the options of `exhaust`.
fn limits(options: &[&str]) -> Option<(u64, u64)> {
    let mut limits = (u64::MAX, exhaust::SECONDS);
    for option in options.chunks(2) {
        match option {
            ["--most", most] => limits.0 = most.parse().ok()?,
            ["--seconds", seconds] => limits.1 = seconds.parse().ok()?,
            _ => return None,
        }
    }
    Some(limits)
}

fn exit_code_of(outcome: Result<(), sys::Refusal>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("error: {refusal}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{HELP}");
    ExitCode::from(2)
}

fn attempt(place: AttemptPlace, victim: i32) -> ExitCode {
    let _ = VICTIM.set(victim);
    let mut all = true;
    for (area, rows) in rows::table(victim) {
        for row in rows {
            all &= row.run(area, place);
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a line. Standard output of a container is a pipe that does not wait for its reader.
fn say(line: &str) {
    let mut rest = format!("{line}\n").into_bytes();
    let mut out = std::io::stdout();
    while !rest.is_empty() {
        match out.write(&rest) {
            Ok(written) => drop(rest.drain(..written)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => drop(sys::readable(None, PAUSE)),
            // Nobody listens any more.
            Err(_) => return,
        }
    }
    let _ = out.flush();
}
