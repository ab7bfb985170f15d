//! What documents say in numbers and words, against the code that has them. Whoever changes one of the two finds the other.

use super::Breach;
use super::tree::{self, Source};

/// A sentence of a document, and the line of code that makes it true.
struct Fact {
    document: &'static str,
    says: &'static str,
    file: &'static str,
    has: &'static str,
}

const fn fact(document: &'static str, says: &'static str, file: &'static str, has: &'static str) -> Fact {
    Fact { document, says, file, has }
}

const ARCHITECTURE: &str = "docs/architecture.md";
const OPERATE: &str = "docs/operate.md";
const TESTING: &str = "docs/testing.md";
const GUARD: &str = "docs/decisions/0016-a-guard-for-what-nobody-counts.md";
const PID1: &str = "agent/src/init/pid1.rs";
const ROUTES: &str = "agent/src/control/routes.rs";

/// A line joins with what a document states. Line breaks count as spaces.
const FACTS: &[Fact] = &[
    fact(ARCHITECTURE, "ES384; 1 to 8 signers", "schema/envelope/src/limits.rs", "SIGNERS_LIMIT: usize = 8;"),
    fact(
        ARCHITECTURE,
        "the line before; 16 MiB each",
        "agent/src/record/audit/log.rs",
        "FILE_LIMIT: u64 = 16 * 1024 * 1024;",
    ),
    fact(
        ARCHITECTURE,
        "doubles from 0.5 s to 300 s",
        "reconcilers/core/src/retry.rs",
        "FIRST: Duration = Duration::from_millis(500);",
    ),
    fact(
        OPERATE,
        "pauses up to 300 s",
        "reconcilers/core/src/retry.rs",
        "LONGEST: Duration = Duration::from_secs(300);",
    ),
    fact(
        OPERATE,
        "what happened, the last 1000 events at most",
        "agent/src/record/audit/log.rs",
        "BACKLOG: usize = 1000;",
    ),
    fact(
        OPERATE,
        "the last 64 KiB that a container wrote",
        "reconcilers/containers/src/log.rs",
        "TAIL_LIMIT: usize = 64 * 1024;",
    ),
    fact(OPERATE, "its last 10 events", ROUTES, "WHY_EVENTS: usize = 10;"),
    fact(OPERATE, "A heartbeat older than 60 s", "c0/client/src/judge.rs", "HEARTBEAT_LIMIT: i64 = 60;"),
    fact(OPERATE, "at least every 30 s", "agent/src/pass/wake.rs", "LOOK_ANYWAY: Duration = Duration::from_secs(30);"),
    fact(
        OPERATE,
        "is looked at twice a second at the most",
        "agent/src/pass/wake.rs",
        "PACE_INSIDE: Duration = Duration::from_millis(500);",
    ),
    fact(
        OPERATE,
        "256 of a kind are reported at once and then one a minute",
        "agent/src/record/budget.rs",
        "most: 256, every_ms: 60_000",
    ),
    fact(
        OPERATE,
        "of one part of the device 1024 and then one a minute",
        "agent/src/record/budget.rs",
        "most: 1024, every_ms: 60_000",
    ),
    fact(OPERATE, "with a limit of 256 MiB", PID1, "AGENT_MEMORY: ByteSize = ByteSize::from_mebibytes(256);"),
    fact(
        OPERATE,
        "when the device was for 60 s as it is to be",
        "agent/src/init/boots.rs",
        "STABLE: Duration = Duration::from_secs(60);",
    ),
    fact(OPERATE, "or is up for 10 minutes", "agent/src/init/boots.rs", "LONG: Duration = Duration::from_secs(600);"),
    fact(OPERATE, "| 3 to 5 |", "agent/src/init/boots.rs", "IN_A_ROW: u8 = 3;"),
    fact(OPERATE, "are armed with 60 s", PID1, "WATCHDOG: Duration = Duration::from_secs(60);"),
    fact(OPERATE, "PID 1 feeds them every 20 s", "reconcilers/kernel/boot/src/watchdog.rs", "feed: least / 3"),
    fact(OPERATE, "on which no agent lived for 20 minutes", PID1, "NO_AGENT: Duration = Duration::from_secs(1200);"),
    fact(OPERATE, "one that shows no life for 90 s", PID1, "SILENCE: Duration = Duration::from_secs(90);"),
    fact(OPERATE, "or 15 minutes until its first pass is over", PID1, "START: Duration = Duration::from_secs(900);"),
    fact(OPERATE, "kills what is left after 10 s", PID1, "GRACE: Duration = Duration::from_secs(10);"),
    fact(
        OPERATE,
        "waits for the kernel for 5 minutes",
        "reconcilers/kernel/boot/src/settings.rs",
        "\"kernel/hung_task_timeout_secs\", \"300\"",
    ),
    fact(
        "docs/resources.md",
        "`preempt=full` on the signed command line",
        "e2e/xtask/src/image/mod.rs",
        " preempt=full rcutree.use_softirq=0\"",
    ),
    fact(OPERATE, "takes nothing for 2 s", "agent/src/console.rs", "Line::new(Duration::from_secs(2))"),
    fact(OPERATE, "ends in a panic and a restart after 5 s", "e2e/xtask/src/image/mod.rs", " panic=5 "),
    fact(
        OPERATE,
        "is started again after a pause of 1 to 60 min",
        "agent/src/pass/hold.rs",
        "FIRST: Duration = Duration::from_secs(60);",
    ),
    fact(
        OPERATE,
        "is started again after a pause of 1 to 60 min",
        "agent/src/pass/hold.rs",
        "LONGEST: Duration = Duration::from_secs(3600);",
    ),
    fact(OPERATE, "it is made again after 5 s", "agent/src/run.rs", "SOCKET_PAUSE: Duration = Duration::from_secs(5);"),
    fact(OPERATE, "nothing came for 30 s", ROUTES, "SILENCE: Duration = Duration::from_secs(30);"),
    fact(OPERATE, "or a manifest took over 60 s", ROUTES, "MANIFEST_TIME: Duration = Duration::from_secs(60);"),
    fact(
        OPERATE,
        "2 MiB for a manifest",
        "schema/src/control.rs",
        "MANIFEST_LIMIT: ByteSize = ByteSize::from_mebibytes(2);",
    ),
    fact(
        OPERATE,
        "8 GiB for a blob",
        "schema/src/control.rs",
        "BLOB_LIMIT: ByteSize = ByteSize::from_mebibytes(8 * 1024);",
    ),
    fact(OPERATE, "32 pushes are in progress", "reconcilers/guests/src/store.rs", "partials: 32,"),
    fact(OPERATE, "256 blobs are held", "reconcilers/guests/src/store.rs", "blobs: 256,"),
    fact(OPERATE, "256 files stay free", "reconcilers/guests/src/store.rs", "files: 256 }"),
    fact(OPERATE, "32 MiB stay free", "reconcilers/guests/src/store.rs", "reserve: ByteSize::from_mebibytes(32),"),
    fact(
        "docs/provision.md",
        "at most 4 certificates",
        "schema/envelope/src/limits.rs",
        "CERTIFICATES_LIMIT: usize = 4;",
    ),
    fact(
        "docs/provision.md",
        "of at most 4 KiB",
        "schema/envelope/src/limits.rs",
        "CERTIFICATE_BYTES_LIMIT: usize = 4096;",
    ),
    fact(
        "docs/resources.md",
        "64 instances, 16384 watches of each user",
        "reconcilers/kernel/net/src/namespace/child.rs",
        "max_inotify_instances\", b\"64\"",
    ),
    fact("docs/threat-model.md", "each of the 12 calls", "agent/src/control/openapi.rs", "CALLS: [Call; 12]"),
    fact(TESTING, "CI takes two cuts", "e2e/tests/scenarios/power_cut.rs", "CUTS: [usize; 2] = [2, 100];"),
    fact(
        TESTING,
        "4 times in CI, 20 in the whole set",
        "e2e/tests/scenarios/agent_restart.rs",
        "KILLS: [u64; 2] = [4, 20];",
    ),
    fact(
        TESTING,
        "with 200 manifests and 30 idle minutes; CI has 6",
        "e2e/tests/scenarios/soak.rs",
        "CYCLES: [u64; 2] = [6, 200];",
    ),
    fact(
        TESTING,
        "nine rows of `catenoid-probe exhaust`",
        "e2e/tests/scenarios/exhaustion/mod.rs",
        "SAMPLE: [(&str, By, &str); 9]",
    ),
    // Four parts of a round.
    fact(TESTING, "CI takes eight faults", "e2e/tests/scenarios/crash_points/mod.rs", "SAMPLE: usize = 2;"),
    fact(
        TESTING,
        "`cargo xtask test` runs each for 10 s",
        "e2e/xtask/src/test/mod.rs",
        "FUZZ_TIME: Duration = Duration::from_secs(10);",
    ),
    fact(GUARD, "10 ms of waiting in 500 ms", "reconcilers/kernel/cgroup/src/shortage.rs", "some 10000 500000"),
    fact(GUARD, "Below 24 % available", "agent/src/pass/guard/mod.rs", "LOW: u64 = 240;"),
    fact(GUARD, "Below 12 % it acts", "agent/src/pass/guard/mod.rs", "SHORT: u64 = 120;"),
    fact(GUARD, "who has 2 % of all memory waiting", "agent/src/pass/guard/mod.rs", "MUCH_QUEUED: u64 = 20;"),
    fact(GUARD, "within 300 ms", "agent/src/pass/guard/mod.rs", "LOOK: Duration = Duration::from_millis(300);"),
    fact(
        GUARD,
        "0.1 s for a fast taker",
        "agent/src/pass/guard/mod.rs",
        "STEP: Duration = Duration::from_millis(100);",
    ),
    fact(GUARD, "when 4 ‰ are gone", "agent/src/pass/guard/mod.rs", "STEADY_LONG: u64 = 250;"),
    fact(
        GUARD,
        "as that took, up to 10 s",
        "agent/src/pass/guard/mod.rs",
        "LONG_LOOK: Duration = Duration::from_secs(10);",
    ),
    fact(GUARD, "below 4 %, with nobody found", "agent/src/pass/guard/mod.rs", "URGENT: u64 = 25;"),
    fact(GUARD, "`oom_score_adj` -500", "reconcilers/kernel/base/src/launch/process.rs", "SPARED: i32 = -500;"),
    fact(
        GUARD,
        "so has a core container's, 64 MiB at most",
        "reconcilers/limits/src/control/reserve.rs",
        "RESERVE: ByteSize = ByteSize::from_mebibytes(64);",
    ),
    fact(
        "docs/decisions/0006-output-of-containers-stays-in-memory.md",
        "ten times a second",
        "reconcilers/containers/src/log.rs",
        "PACE: Duration = Duration::from_millis(100);",
    ),
];

/// Where errors of the control interface get their names: in an arm of a `match`, or beside their status.
const REFUSALS: &[&str] = &[
    "agent/src/control/answer.rs",
    "agent/src/control/routes.rs",
    "agent/src/accept/refused.rs",
    "schema/envelope/src/admit.rs",
    "schema/envelope/src/fault.rs",
    "schema/envelope/src/error.rs",
];

/// Where the code of devices, of the core container and of build hosts lies.
const SHIPPED: &[&str] =
    &["agent/src/", "c0/client/src/", "c0/cli/src/", "reconcilers/", "schema/", "signing-tool/src/"];

/// Facts that differ, words that are reported and not explained, and sleeps that are not accounted for.
pub(super) fn breaches(sources: &[Source], documents: &[Source]) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = FACTS.iter().flat_map(|fact| fact.breaches(sources, documents)).collect();
    let text = |path: &str| documents.iter().find(|document| document.path == path).map_or("", |found| &found.text);
    let (operate, performance) = (text(OPERATE), text("docs/performance.md"));
    for source in sources.iter().filter(|source| SHIPPED.iter().any(|dir| source.path.starts_with(dir))) {
        let mut breach = |line: usize, why: String| {
            breaches.push(Breach { place: format!("{}:{line}", source.path), why: format!("wall `documents`: {why}") });
        };
        for (line, word) in reported_words(source).filter(|(_, word)| !operate.contains(&format!("`{word}`"))) {
            breach(line, format!("{OPERATE} does not explain `{word}`"));
        }
        let sleeps = tree::words(&source.shipped_code(), "disallowed_methods").next();
        if let Some(line) = sleeps.filter(|_| !performance.contains(&format!("`{}`", source.path))) {
            breach(line, "docs/performance.md does not say who sleeps here".to_owned());
        }
    }
    breaches
}

/// Names of errors; and reasons of conditions and kinds of events: words of two or more parts, in the form of `LedgerLost`.
fn reported_words(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let tests = source.test_lines();
    let reports = ["agent/", "reconcilers/"].iter().any(|dir| source.path.starts_with(dir));
    let refuses = REFUSALS.contains(&source.path.as_str());
    let shipped = (1..).zip(source.text.lines()).filter(move |(line, _)| !tests.contains(line));
    shipped.filter(|(_, text)| !text.trim_start().starts_with("//")).flat_map(move |(line, text)| {
        let quoted = text.split('"').skip(1).step_by(2);
        let names = refuses && ["=>", "StatusCode::"].iter().any(|beside| text.contains(beside));
        quoted.filter(move |word| reports && is_reason(word) || names && is_name(word)).map(move |word| (line, word))
    })
}

fn is_reason(word: &str) -> bool {
    let capitals = word.chars().filter(char::is_ascii_uppercase).count();
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphabetic())
        && (2..word.len() / 2).contains(&capitals)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

impl Fact {
    fn breaches(&self, sources: &[Source], documents: &[Source]) -> Vec<Breach> {
        let Self { document, says, file, has } = self;
        let text = |path: &str, texts: &[Source]| {
            let words: Vec<_> =
                texts.iter().filter(|text| text.path == path).flat_map(|text| text.text.split_whitespace()).collect();
            words.join(" ")
        };
        let breach =
            |path: &str, why: String| Breach { place: format!("{path}:1"), why: format!("wall `documents`: {why}") };
        let mut breaches = Vec::new();
        if !text(document, documents).contains(says) {
            breaches.push(breach(document, format!("it does not say `{says}`, as {file} has `{has}`")));
        }
        if !text(file, sources).contains(has.trim()) {
            breaches.push(breach(file, format!("it has no `{has}`, as {document} says `{says}`")));
        }
        breaches
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn either_side_of_a_fact_that_changes_is_found() {
        let fact = fact("docs/a.md", "after 5 s", "agent/src/a.rs", "PAUSE: u64 = 5;");
        let found = |document: &str, code: &str| {
            let (documents, sources) = ([source("docs/a.md", document)], [source("agent/src/a.rs", code)]);
            fact.breaches(&sources, &documents).into_iter().map(|breach| breach.place).collect::<Vec<_>>()
        };
        assert_eq!(found("it is tried after\n5 s", "const PAUSE: u64 = 5;"), Vec::<String>::new());
        assert_eq!(found("it is tried after 6 s", "const PAUSE: u64 = 5;"), ["docs/a.md:1"]);
        assert_eq!(found("it is tried after 5 s", "const PAUSE: u64 = 6;"), ["agent/src/a.rs:1"]);
    }

    #[test]
    fn word_and_sleep_that_no_document_explains_are_found() {
        let documents = [source(OPERATE, "| `DiskFull` |"), source("docs/performance.md", "`agent/src/b.rs`")];
        let words = "note(\"DiskFull\");\nnote(\"DiskGone\");\n// \"DiskBent\"\n#[cfg(test)]\nmod tests {\n    \"DiskTest\"\n}\n";
        let sleeps = "#[expect(clippy::disallowed_methods, reason = \"-\")]\n";
        let name = "match self {\n    A => \"disk-gone\",\n    B => \"the disk is gone\",\n}\n";
        let sources = [
            source("agent/src/a.rs", words),
            source("agent/src/b.rs", sleeps),
            source("agent/src/accept/refused.rs", name),
            source("c0/cli/src/c.rs", sleeps),
        ];
        let facts: BTreeSet<&str> = FACTS.iter().flat_map(|fact| [fact.document, fact.file]).collect();
        let found = breaches(&sources, &documents)
            .into_iter()
            .filter(|breach| facts.iter().all(|path| breach.place != format!("{path}:1")));
        let found: Vec<_> = found.map(|breach| format!("{}: {}", breach.place, breach.why)).collect();
        assert_eq!(
            found,
            [
                "agent/src/a.rs:2: wall `documents`: docs/operate.md does not explain `DiskGone`",
                "agent/src/accept/refused.rs:2: wall `documents`: docs/operate.md does not explain `disk-gone`",
                "c0/cli/src/c.rs:1: wall `documents`: docs/performance.md does not say who sleeps here",
            ]
        );
    }
}
