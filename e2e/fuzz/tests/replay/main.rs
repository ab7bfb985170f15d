//! Every input that was ever worth keeping, through its target. A crash becomes a file in `regressions/` and stays here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod seeds;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use catenoid_fuzz::{TARGETS, control::answer_to};

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(kind).join(target)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn kept_inputs_break_no_promise() {
    for target in TARGETS {
        let (began, mut count) = (Instant::now(), 0);
        let kept = ["corpus", "regressions"].map(|kind| files(&folder(kind, target.name)));
        for path in kept.concat() {
            let bytes = fs::read(&path).unwrap();
            let kept = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_ok();
            assert!(kept, "{} (above: the promise)", path.display());
            count += 1;
        }
        println!("{}: {count} inputs, {} ms", target.name, began.elapsed().as_millis());
        assert!(count > 0, "{} has no corpus", target.name);
    }
}

/// Real documents, from which a corpus begins. Written anew with `CATENOID_BLESS=1`, after a change of format.
#[test]
fn seeds_are_what_the_house_writes_today() {
    for (target, name, bytes) in seeds::all() {
        let path = folder("corpus", target).join(format!("seed-{name}"));
        if std::env::var_os("CATENOID_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).is_ok_and(|held| held == bytes), "{} is another now", path.display());
    }
}

/// The seeds of the control socket come as far as they mean to: a mutation of them begins there.
#[test]
fn conversations_get_their_answers() {
    let statuses = |answer: Vec<u8>| {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let statuses = answer.split("HTTP/1.1 ").filter_map(|answer| answer.get(..3)?.parse::<u16>().ok());
        statuses.map(|status| format!(" {status}")).collect::<String>()
    };
    let seen: Vec<_> = seeds::all()
        .into_iter()
        .filter(|(target, ..)| *target == "control")
        .map(|(_, name, bytes)| format!("{name}{}", statuses(answer_to(&bytes))))
        .collect();
    let expected = [
        "version 200",
        "everything 200 200 404 200 200",
        "held-blob 200",
        "output 404",
        "openapi 200",
        "events 200",
        "no-such-call 404",
        "forbidden 403",
        "dry-run 200",
        "manifest 200 200",
        "chunked 200",
        "broken-off 400",
        "push 201",
        "push-in-two 408 201",
        "push-elsewhere 413",
        "silent 408",
    ];
    assert_eq!(seen, expected);
}

/// A fuzzer's inputs are small. A quarter of a megabyte of one thing after the other takes no time that grows faster than
/// the bytes: each takes about 0.2 s here.
#[test]
fn no_repetition_takes_long() {
    const BYTES: usize = 1 << 18;
    const LIMIT: Duration = Duration::from_secs(10);
    let fragments = [
        "[",
        "{",
        "]",
        "- ",
        "? ",
        "a: ",
        "a: b\n",
        "- a\n",
        "{a: b}, ",
        "[a, b], ",
        "\"",
        "'",
        "\\",
        "&a ",
        "*a ",
        "!t ",
        "<<: ",
        "\t",
        " ",
        "#",
        "|\n ",
        ">\n ",
        "%",
        "---\n",
        "...\n",
        "\n",
        "a",
        "\u{e9}",
        "1",
        "? a\n: b\n",
        "- - ",
        "  a:\n",
    ];
    let manifest = include_str!("../../../../manifests/golden/smallest/manifest.yaml");
    let yaml = TARGETS.iter().find(|target| target.name == "yaml").unwrap();
    for fragment in fragments {
        let repeated = fragment.repeat(BYTES / fragment.len());
        for text in [repeated.clone(), format!("{manifest}\n{repeated}")] {
            let began = Instant::now();
            (yaml.run)(text.as_bytes());
            assert!(began.elapsed() < LIMIT, "{fragment:?} took {:?}", began.elapsed());
        }
    }
}
