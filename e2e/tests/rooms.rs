//! The rooms on the kernel that the device has: every test of `tests/kernel` of guests, limits and containers, also those
//! that are ignored on a build host because its kernel lacks what they need. `cargo xtask test vm` makes what is booted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::direct::Boot;

/// Each room, and how many tests it had when this was last looked at: with fewer, some were lost on the way.
const ROOMS: [(&str, usize); 3] = [("containers", 26), ("guests", 6), ("limits", 5)];
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
    let boot = Boot { kernel: &kernel, initramfs: &initramfs, memory_mib: 1024 };
    let report = Report::read(&boot.run_until(DONE, PATIENCE)?);
    println!("passed on the device's kernel in {:.1} s: {:?}", started.elapsed().as_secs_f32(), report.passed);
    report.check()
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

    fn check(&self) -> Result<()> {
        ensure!(self.failed.is_empty(), "{}", self.failed.join("\n\n"));
        for (room, least) in ROOMS {
            let passed = self.passed.get(room).copied().unwrap_or_default();
            ensure!(passed >= least, "{room}: {passed} tests ran, but there were {least}");
        }
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
    assert!(report.check().is_err());
}

#[test]
fn tests_that_got_lost_are_missed() {
    let all = Report { passed: ROOMS.map(|(room, least)| (room.to_owned(), least)).into(), failed: Vec::new() };
    all.check().expect("all of them");
    for (room, least) in ROOMS {
        let mut fewer = Report { passed: all.passed.clone(), failed: Vec::new() };
        fewer.passed.insert(room.to_owned(), least - 1);
        assert!(fewer.check().is_err(), "{room}");
    }
}
