//! A new manifest touches what it changes and nothing else.

use std::time::Instant;

use anyhow::{Context as _, Result};
use catenoid_schema::control::Event;
use catenoid_schema::status::{Health, SubjectStatus};

use crate::bench::author::resequenced;
use crate::bench::{Bench, SOON, STEADY, author, converged, subject};

/// Asks for the page again and again: one line each with the time in c0 and the version that answered, or `-`.
fn poll(address: &str) -> String {
    format!(
        "while :; do v=$(curl -s --connect-timeout 0.2 --max-time 1 http://{address}/ | sed -n 's/.*guest \\([0-9.]*\\).*/\\1/p'); \
         echo \"$EPOCHREALTIME ${{v:--}}\"; done"
    )
}

/// [req->CR-7.2] [req->APS-05]
#[test]
fn vm_only_what_changed_is_touched() -> Result<()> {
    let mut bench = Bench::ready("changes")?;
    let folder = bench.folder("documents")?;
    let [first, second] = ["demo", "demo-2"]
        .map(|name| -> Result<_> { bench.author.sign(&folder, &(bench.author.example(name)? + STEADY)) });
    bench.deliver(&["nginx-1.0.0", "nginx-1.0.1", "busybox-1.0.0"])?;
    bench.apply(&first?)?;
    let before = bench.processes()?;
    assert_eq!(before.keys().collect::<Vec<_>>(), ["beacon", "core0", "steady", "web"]);
    let memory = |bench: &mut Bench| bench.device.root("cat /sys/fs/cgroup/catenoid/core0/memory.max");
    assert_eq!(memory(&mut bench)?, (192_u64 << 20).to_string());

    let address = bench.address("web")?;
    let mut poller = bench.follow(&poll(&address))?;
    let first_answer = poller.line(Instant::now() + SOON).context("the page is not polled")?;
    assert!(first_answer.ends_with(" 1.0.0"), "{first_answer}");
    let since = bench.status()?.last_event;
    let second = second?;
    let took = bench.apply(&second)?;
    let deadline = Instant::now() + SOON;
    let mut answers = poller.so_far();
    while !answers.last().is_some_and(|line| line.ends_with(" 1.0.1")) {
        answers.push(poller.line(deadline).context("the new version never answers")?);
    }
    drop(poller);

    // Untouched containers are the same processes; a limit changed under a running one.
    let after = bench.processes()?;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["core0", "logger", "steady", "web"]);
    assert_eq!(after["core0"], before["core0"], "only its memory limit changed");
    assert_eq!(after["steady"], before["steady"], "nothing of it changed");
    assert_ne!(after["web"], before["web"]);
    assert_eq!(memory(&mut bench)?, (224_u64 << 20).to_string());
    assert_eq!(converged(&bench.status()?), Some(author::digest(&second)?));
    assert_eq!(bench.page(&address)?, bench.written_page("nginx/index-1.0.1.html")?);

    // Nothing was done about the one, and one thing about the other.
    let events = bench.events(since)?;
    let steps: Vec<&Event> = events.iter().filter(|event| event.kind == "StepDone").collect();
    let about = |subject: &str| -> Vec<&Event> {
        steps.iter().filter(|event| event.subject.as_ref().is_some_and(|s| s.as_str() == subject)).copied().collect()
    };
    let done = |subject: &str| about(subject).iter().map(|event| event.message.as_str()).collect::<Vec<_>>();
    assert_eq!(done("container/steady"), Vec::<&str>::new());
    assert_eq!(done("container/core0"), ["limits: set memory of `core0` to 224MiB (was 192MiB)"]);
    // The new image is verified, mapped and mounted before the old one stops.
    let ready = about("guest/nginx@1.0.1").last().context("no step about the new image")?.number;
    let stopped = about("container/web").first().context("no step about the replaced container")?.number;
    assert!(ready < stopped, "the image was ready at event {ready}, the container ended at {stopped}: {steps:#?}");

    println!("the second manifest converged in {:.1} s", took.as_secs_f32());
    println!("the replaced container did not answer for {:.2} s", downtime(&answers)?);
    Ok(())
}

/// Seconds from the last answer of the old version to the first of the new one.
fn downtime(answers: &[String]) -> Result<f64> {
    let time = |line: &str| line.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    let old = answers.iter().rfind(|line| line.ends_with(" 1.0.0"));
    let new = answers.iter().find(|line| line.ends_with(" 1.0.1"));
    let between = old.and_then(|old| Some(time(new?)? - time(old)?));
    between.with_context(|| format!("both versions should have answered: {answers:?}"))
}

/// Its guest has no such program.
const ABSENT: &str = "  absent:
    guest: tiny
    command: [/nowhere]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
";

/// It starts, and ends each time, later than what counts as a start that did not work.
const LOOP: &str = "  loop:
    guest: tiny
    command: [/bin/sh, -c, \"busybox sleep 11; exit 9\"]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
";

/// What cannot start is degraded, and what ends again and again: whatever else is reported of it, and nobody waits for it in vain.
#[test]
fn vm_severity_is_the_devices() -> Result<()> {
    let (mut bench, _) = Bench::with_demo("severity")?;
    let folder = bench.folder("documents")?;
    let demo = bench.author.example("demo")?;
    let sequence = bench.status()?.accepted.context("nothing is accepted")?.sequence + 1;
    let envelope = bench.author.sign(&folder, &(resequenced(&demo, sequence)? + ABSENT))?;
    let begun = Instant::now();
    let apply = "cat >/tmp/absent.cose && catenoid apply /tmp/absent.cose --wait=120s";
    let applied = bench.device.ssh().run_with_stdin(["sh", "-c", apply], &envelope)?;
    assert_eq!(applied.code, 5, "{applied:?}");
    assert!(begun.elapsed() < SOON / 2, "it waited for {} s: {applied:?}", begun.elapsed().as_secs());
    let status = bench.status()?;
    let absent = subject(&status, "container/absent")?;
    let reported: Vec<_> = absent.conditions.iter().map(|condition| condition.reason.as_str()).collect();
    assert!(reported.contains(&"NotStarted") && reported.contains(&"StepFailed"), "{reported:?}");
    assert_eq!(absent.health, Health::Degraded);
    let printed = bench.device.catenoid(&["status"])?;
    assert_eq!(printed.code, 5, "{printed:?}");
    // It runs, and is degraded all the same.
    bench.submit(&bench.author.sign(&folder, &(resequenced(&demo, sequence + 1)? + LOOP))?)?;
    let reasons = ["Running", "LastExit", "CrashLoop"];
    let is_reported =
        |found: &SubjectStatus| reasons.iter().all(|reason| found.conditions.iter().any(|c| c.reason == *reason));
    let status =
        bench.wait("the loop is reported", |status| subject(status, "container/loop").is_ok_and(is_reported))?;
    assert_eq!(subject(&status, "container/loop")?.health, Health::Degraded);
    Ok(())
}
