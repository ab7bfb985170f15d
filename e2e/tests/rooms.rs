//! The rooms on the kernel that the device has: every test of `tests/kernel` of the rooms that need it, also those
//! that are ignored on a build host because its kernel lacks what they need. `cargo xtask test vm` makes what is booted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::direct::Boot;

/// What `xtask/src/rooms/run` prints last.
const DONE: &str = "rooms: done";
/// All of it under TCG on a busy machine; less than a minute on an idle one.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn vm_rooms_hold_on_the_device_kernel() -> Result<()> {
    let folder = Artefacts::new().rooms();
    let (kernel, initramfs) = (folder.join("kernel"), folder.join("initramfs"));
    for file in [&kernel, &initramfs] {
        ensure!(file.exists(), "no `{}` (hint: `cargo xtask test vm` makes it)", file.display());
    }
    let started = Instant::now();
    let tests = std::fs::read(folder.join("tests.json")).context("it was not written down how many tests there are")?;
    let tests: BTreeMap<String, usize> = serde_json::from_slice(&tests)?;
    let boot = Boot { kernel: &kernel, initramfs: &initramfs, memory_mib: 1024 };
    let report = Report::read(&boot.run_until(DONE, PATIENCE)?);
    println!("passed on the device's kernel in {:.1} s: {:?}", started.elapsed().as_secs_f32(), report.passed);
    report.check(&tests)
}

/// What the machine's console says of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    /// How many tests passed, by room.
    passed: BTreeMap<String, usize>,
    /// Room, test and output of each other.
    failed: Vec<String>,
}

impl Report {
    fn read(console: &str) -> Self {
        let mut report = Self::default();
        for test in console.split("rooms: begin ").skip(1) {
            let (name, output) = test.split_once('\n').unwrap_or((test, ""));
            let (output, end) = output.split_once("rooms: end ").unwrap_or((output, ""));
            let passed = end.lines().next() == Some("0")
                && output.contains("\ntest result: ok. 1 passed; 0 failed; 0 ignored; ")
                // A test that finds something missing says so with this word: here nothing is.
                && !output.contains("skipped:");
            if passed {
                let room = name.split(' ').next().unwrap_or_default();
                *report.passed.entry(room.to_owned()).or_default() += 1;
            } else {
                report.failed.push(format!("{name}:\n{}", output.trim()));
            }
        }
        report
    }

    /// Whether all `tests` that each room has passed.
    fn check(&self, tests: &BTreeMap<String, usize>) -> Result<()> {
        ensure!(self.failed.is_empty(), "{}", self.failed.join("\n\n"));
        ensure!(!tests.is_empty() && tests.values().all(|count| *count > 0), "some room has no tests: {tests:?}");
        ensure!(self.passed == *tests, "{:?} passed of {tests:?}", self.passed);
        Ok(())
    }
}

#[test]
fn only_a_test_that_ran_to_its_end_passed() {
    let test = |name: &str, output: &str, code: &str| {
        format!("rooms: begin {name}\n\nrunning 1 test\n{output}; 0 measured; 3 filtered out\n\nrooms: end {code}\n")
    };
    let ok = "test a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored";
    let console = [
        "a line of the kernel\n",
        &test("limits a", ok, "0"),
        &test("guests a", ok, "0"),
        &test("limits b", ok, "0"),
        &test("limits failed", "test a ... FAILED\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored", "101"),
        &test("limits ignored", "test a ... ignored\n\ntest result: ok. 0 passed; 0 failed; 1 ignored", "0"),
        &test("limits renamed", "\ntest result: ok. 0 passed; 0 failed; 0 ignored", "0"),
        &test("limits skipped", &format!("skipped: no memory controller\n{ok}"), "0"),
        &test("limits crashed", "test a ... ", "139"),
        &test("limits leaked", ok, "1"),
        "rooms: begin limits hung\ntest a ... ",
    ];
    let report = Report::read(&console.concat());
    assert_eq!(report.passed, BTreeMap::from([("guests".to_owned(), 1), ("limits".to_owned(), 2)]));
    let failed: Vec<&str> = report.failed.iter().filter_map(|failed| failed.split([' ', ':']).nth(1)).collect();
    assert_eq!(failed, ["failed", "ignored", "renamed", "skipped", "crashed", "leaked", "hung"]);
    assert!(report.check(&report.passed).is_err());
}

#[test]
fn tests_that_got_lost_are_missed() {
    let tests = BTreeMap::from([("guests", 6), ("limits", 5)].map(|(room, count)| (room.to_owned(), count)));
    let all = Report { passed: tests.clone(), failed: Vec::new() };
    all.check(&tests).expect("all of them");
    assert!(all.check(&BTreeMap::new()).is_err());
    for (room, count) in &tests {
        let mut fewer = Report { passed: tests.clone(), failed: Vec::new() };
        fewer.passed.insert(room.clone(), count - 1);
        assert!(fewer.check(&tests).is_err(), "{room}");
    }
}
