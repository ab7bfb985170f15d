//! Each command, as it goes well and as it does not.
//!
//! Over 500 lines: the name of this module stands in the name of every snapshot, and a part of it would rename its snapshots,
//! so that no history shows what a person saw before.

use std::process::Command;

use catenoid_schema::digest::Digest;
use serde_json::json;

use crate::{
    assert_seen, catenoid,
    fake::{Answer, Fake},
    samples::{
        accepted, broken, condition, converged, device, event, guest, manifest, refused, running, starting, status,
        step, steps, subject,
    },
};

fn status_of(status: &serde_json::Value, arguments: &[&str]) -> String {
    catenoid(&Fake::start().on("GET /v1/status", Answer::json(status)), arguments)
}

#[test]
fn help_of_every_command() {
    let fake = Fake::start();
    let commands: [&[&str]; 14] = [
        &["--help"],
        &["apply", "--help"],
        &["plan", "--help"],
        &["diff", "--help"],
        &["status", "--help"],
        &["events", "--help"],
        &["why", "--help"],
        &["guests", "--help"],
        &["guests", "push", "--help"],
        &["resume", "--help"],
        &["version", "--help"],
        &["completion", "--help"],
        &["man", "--help"],
        &["-h"],
    ];
    assert_seen!(commands.map(|command| catenoid(&fake, command)).join("\n"));
}

#[test]
fn wrong_command_lines_end_with_2() {
    let fake = Fake::start();
    let lines: [&[&str]; 5] = [
        &["apply"],
        &["aply", "x"],
        &["apply", "x", "--wait=5"],
        &["why", "../status"],
        &["apply", "x", "--dry-run", "--wait"],
    ];
    assert_seen!(lines.map(|line| catenoid(&fake, line)).join("\n"));
}

#[test]
fn unreachable_device_ends_with_3() {
    let fake = Fake::start();
    assert_seen!(catenoid(&fake, &["--socket", "nothing-there", "status"]));
}

#[test]
fn converged_status_is_green() {
    assert_seen!(status_of(&converged(), &["--color", "always", "status"]));
}

#[test]
fn status_without_a_terminal_has_no_colour() {
    assert_seen!(status_of(&converged(), &["status"]));
}

#[test]
fn status_on_the_way() {
    assert_seen!(status_of(
        &status(12, Some(11), &[running("container/core0"), starting("container/web")]),
        &["status"]
    ));
}

#[test]
fn degraded_status_ends_with_5() {
    assert_seen!(status_of(&status(12, Some(12), &[running("container/core0"), broken("container/web")]), &["status"]));
}

#[test]
fn status_of_a_dead_agent_has_nothing_green_and_ends_with_5() {
    let mut stalled = converged();
    stalled["heartbeat"]["at"] = json!("2027-01-01T11:48:00Z");
    let seen = status_of(&stalled, &["--color", "always", "status"]);
    assert!(!seen.contains("\u{1b}[32m"));
    assert_seen!(seen);
}

#[test]
fn status_of_an_empty_device() {
    let mut empty = status(12, None, &[]);
    empty["accepted"] = json!(null);
    empty["reconciling"] = json!(null);
    assert_seen!(status_of(&empty, &["status"]));
}

#[test]
fn status_for_programs() {
    assert_seen!(status_of(&status(12, Some(12), &[running("container/web")]), &["status", "-o", "json"]));
}

#[test]
fn watched_status_is_shown_with_each_event_and_is_not_green_once_the_device_is_gone() {
    let fake = Fake::start()
        .on("GET /v1/version", Answer::json(&json!({ "agent": "0.1.0", "api": "v1", "features": ["requires"] })))
        .on("GET /v1/status", Answer::json(&status(12, Some(11), &[starting("container/web")])))
        .on("GET /v1/status", Answer::json(&status(12, Some(12), &[running("container/web")])))
        .on("GET /v1/events?since=7", Answer::events(&event(8, "Converged", "sequence 12")))
        .on("GET /v1/events?since=8", Answer::events("").vanish());
    assert_seen!(catenoid(&fake, &["status", "--watch"]));
}

#[test]
fn plan_shows_removals_first() {
    let fake = device().on("GET /v1/plan", Answer::json(&json!({ "plan": steps() })));
    assert_seen!(catenoid(&fake, &["plan"]));
}

#[test]
fn plan_with_nothing_to_do() {
    let fake = device().on("GET /v1/plan", Answer::json(&json!({ "plan": [] })));
    assert_seen!(catenoid(&fake, &["plan"]));
}

#[test]
fn diff_asks_only_and_removals_are_red() {
    let answer = Answer::json(&accepted(13, "dryRun", steps()));
    let fake = device().on("PUT /v1/manifest?dry-run=true", answer);
    fake.file("m.cose", &manifest(&[]));
    let seen = catenoid(&fake, &["--color=always", "diff", "m.cose"]);
    assert_eq!(fake.calls(), ["GET /v1/status", "PUT /v1/manifest?dry-run=true"]);
    assert_seen!(seen);
}

#[test]
fn accepted_manifest() {
    let fake = device().on("PUT /v1/manifest", Answer::json(&accepted(13, "accepted", steps())));
    fake.file("m.cose", &manifest(&[]));
    assert_seen!(catenoid(&fake, &["apply", "m.cose"]));
}

#[test]
fn accepted_manifest_for_programs() {
    let plan = json!([step("limits", "establish", "limits/web", "set memory.max of `web` to 128MiB")]);
    let fake = device().on("PUT /v1/manifest", Answer::json(&accepted(13, "unchanged", plan)));
    fake.file("m.cose", &manifest(&[]));
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "-o", "json"]));
}

#[test]
fn refused_manifest_says_why_and_who_must_act() {
    let fake = device().on("PUT /v1/manifest", Answer::problem(&refused()));
    fake.file("m.cose", &manifest(&[]));
    assert_seen!(catenoid(&fake, &["apply", "m.cose"]));
}

#[test]
fn manifest_that_cannot_be_read_is_left_to_the_device() {
    let fake = device().on("PUT /v1/manifest", Answer::problem(&refused()));
    fake.file("m.cose", b"tampered");
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--guests", "."]));
}

#[test]
fn files_that_are_no_manifest_are_not_sent() {
    let fake = Fake::start();
    fake.file("huge.cose", &vec![0; 2 * 1024 * 1024 + 1]);
    let seen = [catenoid(&fake, &["apply", "huge.cose"]), catenoid(&fake, &["apply", "missing.cose"])].join("\n");
    assert_eq!(fake.calls(), [""; 0]);
    assert_seen!(seen);
}

/// Two chunks and a bit, so that a push can break inside.
fn image() -> Vec<u8> {
    (0..600_000u32).map(|n| n.to_le_bytes()[1]).collect()
}

#[test]
fn missing_guests_are_pushed_and_a_broken_push_goes_on_where_it_ended() {
    let (image, other) = (image(), b"held already".to_vec());
    let ((web, web_digest), (core, core_digest)) = (guest("web", &image), guest("core", &other));
    let fake = device()
        .on("PUT /v1/manifest", Answer::json(&accepted(12, "accepted", json!([]))))
        .holding(core_digest, &core)
        .holding(Digest::of(&other), &other)
        .holding(Digest::of(&image), &image[..1000])
        .breaking(&[300_000, 0, 5]);
    fake.file("m.cose", &manifest(&[("web", web_digest), ("core", core_digest)]));
    fake.file("guests/web.guest.cose", &web);
    fake.file("guests/web.image", &image);
    fake.file("guests/decoy.image", &vec![0; image.len()]);
    fake.file("guests/unused.guest.cose", b"not an envelope");

    let seen = catenoid(&fake, &["apply", "m.cose", "--guests", "guests"]);
    assert_eq!(fake.blob(Digest::of(&image)), Some(image.clone()));
    assert_eq!(fake.blob(web_digest), Some(web));
    let name = |text: String| {
        let text = text.replace(&Digest::of(&image).to_string(), "IMAGE").replace(&web_digest.to_string(), "WEB");
        text.replace(&core_digest.to_string(), "CORE").replace(&Digest::of(&other).to_string(), "OTHER")
    };
    let pushes: Vec<String> = fake.calls().into_iter().filter(|call| call.starts_with("PUT")).map(name).collect();
    assert_eq!(
        pushes,
        [
            "PUT /v1/blobs/IMAGE from 1000, 599000 bytes",
            "PUT /v1/blobs/IMAGE from 301000, 299000 bytes",
            "PUT /v1/blobs/IMAGE from 301000, 299000 bytes",
            "PUT /v1/blobs/IMAGE from 301005, 298995 bytes",
            &format!("PUT /v1/blobs/WEB from 0, {} bytes", fake.blob(web_digest).map_or(0, |bytes| bytes.len())),
            "PUT /v1/manifest",
        ]
    );
    // Why a connection broke depends on how far the kernel had taken the bytes: checked by the calls above.
    let seen: String =
        seen.lines().filter(|line| !line.starts_with("note: ")).map(|line| format!("{line}\n")).collect();
    assert_seen!(seen);
}

#[test]
fn push_that_never_gets_on_is_given_up() {
    let image = image();
    let fake = device().breaking(&[5, 0, 0, 0, 0, 0]);
    fake.file("web.image", &image);
    let seen = catenoid(&fake, &["guests", "push", "web.image"]);
    let pushes = fake.calls().iter().filter(|call| call.starts_with("PUT")).count();
    assert_eq!(pushes, 4);
    assert!(seen.ends_with("hint: run the same command again: the push goes on where it ended\n--- exit code 3 ---\n"));
}

#[test]
fn device_with_another_offset_is_asked_again() {
    let image = image();
    let call = format!("PUT /v1/blobs/{}", Digest::of(&image));
    let mut problem = refused();
    problem["title"] = json!("the push does not go on where the last one ended");
    let fake = device().on(&call, Answer::problem(&problem));
    fake.file("web.image", &image);
    assert_seen!(catenoid(&fake, &["guests", "push", "web.image"]));
}

#[test]
fn full_device_refuses_a_push_with_its_reason() {
    let image = image();
    let call = format!("PUT /v1/blobs/{}", Digest::of(&image));
    let problem = json!({
        "type": "urn:catenoid:error:disk-full", "title": "the blob cannot be stored", "status": 507,
        "detail": "2 MiB are free, 3 MiB are needed", "blame": "administrator", "hint": null
    });
    let fake = device().on(&call, Answer::problem(&problem));
    fake.file("web.image", &image);
    assert_seen!(catenoid(&fake, &["guests", "push", "web.image"]));
}

#[test]
fn held_blob_is_not_pushed_again() {
    let image = image();
    let fake = device().holding(Digest::of(&image), &image);
    fake.file("web.image", &image);
    assert_seen!(catenoid(&fake, &["guests", "push", "web.image"]));
}

#[test]
fn guest_that_is_nowhere_is_named_before_anything_is_pushed() {
    let image = image();
    let ((web, web_digest), (_, lost_digest)) = (guest("web", &image), guest("lost", b"lost"));
    let fake = device();
    fake.file("m.cose", &manifest(&[("web", web_digest), ("lost", lost_digest)]));
    fake.file("guests/web.guest.cose", &web);
    fake.file("guests/web.image", &image);
    let seen = catenoid(&fake, &["apply", "m.cose", "--guests", "guests"]);
    assert!(fake.calls().iter().all(|call| call.starts_with("HEAD")));
    assert_seen!(seen);
}

#[test]
fn rebuilt_image_is_not_pushed_for_the_signed_one() {
    let (web, web_digest) = guest("web", &image());
    let fake = device();
    fake.file("m.cose", &manifest(&[("web", web_digest)]));
    fake.file("guests/web.guest.cose", &web);
    fake.file("guests/web.image", &vec![7; image().len()]);
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--guests", "guests"]));
}

#[test]
fn dry_run_pushes_nothing() {
    let image = image();
    let (web, web_digest) = guest("web", &image);
    let fake = device().on("PUT /v1/manifest?dry-run=true", Answer::json(&accepted(12, "dryRun", json!([]))));
    fake.file("m.cose", &manifest(&[("web", web_digest)]));
    fake.file("guests/web.guest.cose", &web);
    fake.file("guests/web.image", &image);
    let seen = catenoid(&fake, &["apply", "m.cose", "--guests", "guests", "--dry-run"]);
    assert!(!fake.calls().iter().any(|call| call.starts_with("PUT /v1/blobs")));
    assert_seen!(seen);
}

/// A device that takes a manifest and then shows one status after the other, with an event between them.
fn applying(statuses: &[serde_json::Value]) -> Fake {
    // The first of them asks for nothing: there is a status of that pass when it ends.
    let stream = event(8, "StepDone", "started container `web`") + &event(9, "Converged", "sequence 12");
    let mut fake = Fake::start()
        .on("GET /v1/version", Answer::json(&json!({ "agent": "0.1.0", "api": "v1" })))
        .on("GET /v1/status", Answer::json(&status(11, Some(11), &[])))
        .on("PUT /v1/manifest", Answer::json(&accepted(12, "accepted", json!([]))))
        .on("GET /v1/events?since=7", Answer::events(&stream).hold())
        .on("GET /v1/events?since=8", Answer::events("").hold());
    for status in statuses {
        fake = fake.on("GET /v1/status", Answer::json(status));
    }
    fake.file("m.cose", &manifest(&[]));
    fake
}

#[test]
fn waiting_ends_when_the_device_converged() {
    let fake = applying(&[
        status(11, Some(11), &[]),
        status(12, Some(11), &[running("container/core0"), starting("container/web")]),
        converged(),
    ]);
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--wait=20s"]));
}

#[test]
fn waiting_too_long_ends_with_4() {
    let fake = applying(&[status(12, Some(11), &[running("container/core0"), starting("container/web")])]);
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--wait=500ms"]));
}

#[test]
fn waiting_for_a_degraded_device_ends_with_5() {
    let crashing = subject(
        "container/web",
        "OutOfSync",
        "Degraded",
        json!([condition("Ended", "exit code 1, tried again in 3 s", json!("nobody"), 12)]),
    );
    let fake = applying(&[status(12, Some(11), &[crashing])]);
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--wait=500ms"]));
}

#[test]
fn waiting_ends_at_once_when_somebody_must_act() {
    let mut looked = status(12, Some(11), &[broken("container/web")]);
    looked["heartbeat"]["passes"] = json!(43);
    let fake = applying(&[looked]);
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--wait=20s"]));
}

#[test]
fn waiting_looks_past_what_was_degraded_before() {
    let mut overtaken = status(12, Some(11), &[broken("container/web")]);
    overtaken["heartbeat"]["passes"] = json!(42);
    let mut mended = converged();
    mended["heartbeat"]["passes"] = json!(43);
    let fake = applying(&[overtaken, mended]);
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--wait=20s"]));
}

#[test]
fn waiting_ends_when_a_newer_manifest_came() {
    let fake = applying(&[status(13, None, &[])]);
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--wait=20s"]));
}

#[test]
fn waiting_outlives_a_restart_of_the_agent() {
    let fake = Fake::start()
        .on("GET /v1/version", Answer::json(&json!({ "agent": "0.1.0", "api": "v1" })))
        .on("GET /v1/status", Answer::json(&status(11, Some(11), &[])))
        .on("GET /v1/status", Answer::json(&status(12, Some(11), &[starting("container/web")])))
        .on("GET /v1/status", Answer::raw(""))
        .on("GET /v1/status", Answer::json(&status(12, Some(11), &[starting("container/web")])))
        .on("GET /v1/status", Answer::json(&converged()))
        .on("PUT /v1/manifest", Answer::json(&accepted(12, "accepted", json!([]))))
        .on("GET /v1/events?since=7", Answer::events(""));
    fake.file("m.cose", &manifest(&[]));
    assert_seen!(catenoid(&fake, &["apply", "m.cose", "--wait=20s"]));
}

#[test]
fn events_so_far() {
    let stream =
        event(6, "ManifestRefused", "sequence 11 is not above 12") + ": alive\n\n" + &event(7, "StepDone", "done");
    let fake = Fake::start().on("GET /v1/events?since=5&follow=false", Answer::events(&stream));
    assert_seen!(catenoid(&fake, &["events", "--since", "5"]));
}

#[test]
fn events_for_programs_are_one_a_line() {
    let stream = event(6, "ManifestAccepted", "sequence 12") + &event(7, "StepDone", "done");
    let fake = Fake::start().on("GET /v1/events?since=0&follow=false", Answer::events(&stream));
    assert_seen!(catenoid(&fake, &["events", "-o", "json"]));
}

#[test]
fn followed_events_go_on_after_a_restart_and_end_with_3_when_the_device_is_gone() {
    let fake = device()
        .on("GET /v1/events?since=0", Answer::events(&event(6, "StepDone", "before")))
        .on("GET /v1/events?since=6", Answer::events(&event(7, "StepDone", "after")).vanish());
    assert_seen!(catenoid(&fake, &["events", "--follow"]));
}

fn why() -> serde_json::Value {
    json!({
        "status": broken("container/web"),
        "plan": [step("containers", "establish", "container/web", "start container `web`")],
        "retryAt": "2027-01-01T12:00:07Z",
        "events": [{
            "number": 5, "at": "2027-01-01T11:57:00Z", "kind": "StepFailed", "subject": "container/web",
            "actor": "device", "message": "block 17 of the image is not what was signed"
        }]
    })
}

#[test]
fn why_by_name_or_by_kind_and_name() {
    let fake = device().on("GET /v1/why/container/web", Answer::json(&why()));
    let by_name = catenoid(&fake, &["why", "web"]);
    let in_full = catenoid(&fake, &["why", "container/web"]);
    assert_eq!(by_name.split_once('\n').map(|(_, seen)| seen), in_full.split_once('\n').map(|(_, seen)| seen));
    assert_seen!(by_name);
}

#[test]
fn why_for_programs() {
    let fake = device().on("GET /v1/why/container/web", Answer::json(&why()));
    assert_seen!(catenoid(&fake, &["why", "container/web", "-o", "json"]));
}

#[test]
fn why_of_an_unknown_or_ambiguous_name() {
    let fake = Fake::start().on(
        "GET /v1/status",
        Answer::json(&status(12, Some(12), &[running("guest/web"), running("limits/web"), running("zone/web")])),
    );
    assert_seen!([catenoid(&fake, &["why", "web"]), catenoid(&fake, &["why", "nothing"])].join("\n"));
}

#[test]
fn blobs_of_a_device() {
    let blobs = json!({ "blobs": [
        { "digest": Digest::of(b"a"), "held": 123_456_789, "complete": true },
        { "digest": Digest::of(b"b"), "held": 1000, "complete": false },
    ] });
    let fake = Fake::start()
        .on("GET /v1/blobs", Answer::json(&blobs))
        .on("GET /v1/blobs", Answer::json(&json!({ "blobs": [] })));
    assert_seen!([catenoid(&fake, &["guests"]), catenoid(&fake, &["guests"])].join("\n"));
}

#[test]
fn what_was_held_back_is_reported() {
    let held = json!({ "held": ["the device went down 3 times in a row"] });
    assert_seen!(catenoid(&Fake::start().on("PUT /v1/resume", Answer::json(&held)), &["resume"]));
}

#[test]
fn versions_of_both_sides() {
    assert_seen!(catenoid(&device(), &["version"]));
}

#[test]
fn own_version_is_said_without_a_device() {
    let fake = Fake::start();
    assert_seen!(catenoid(&fake, &["version", "-o", "json", "--socket", "nothing-there"]));
}

#[test]
fn tool_completion_is_a_script_that_bash_takes() {
    let fake = Fake::start();
    let output = Command::new(env!("CARGO_BIN_EXE_catenoid")).args(["completion", "bash"]).output().unwrap();
    let script = fake.file("completion", &output.stdout);
    let bash =
        Command::new("bash").arg("-c").arg("set -e; . \"$0\"; complete -p catenoid").arg(script).output().unwrap();
    // The options before depend on the version of bash.
    let registered = String::from_utf8_lossy(&bash.stdout).into_owned();
    assert!(registered.starts_with("complete ") && registered.ends_with(" -F _catenoid catenoid\n"), "{registered}");
}

#[test]
fn manual_has_a_page_for_each_command() {
    let fake = Fake::start();
    std::fs::create_dir(fake.directory.path().join("man")).unwrap();
    assert_eq!(catenoid(&fake, &["man", "man"]), "$ catenoid man man\n--- error stream ---\n--- exit code 0 ---\n");
    let pages = std::fs::read_dir(fake.directory.path().join("man")).unwrap();
    let mut pages: Vec<String> = pages.map(|page| page.unwrap().file_name().to_string_lossy().into_owned()).collect();
    pages.sort();
    assert_eq!(
        pages,
        [
            "catenoid-apply.1",
            "catenoid-completion.1",
            "catenoid-diff.1",
            "catenoid-events.1",
            "catenoid-guests-push.1",
            "catenoid-guests.1",
            "catenoid-logs.1",
            "catenoid-man.1",
            "catenoid-plan.1",
            "catenoid-resume.1",
            "catenoid-status.1",
            "catenoid-version.1",
            "catenoid-why.1",
            "catenoid.1",
        ]
    );
    assert!(catenoid(&fake, &["man"]).contains("agent shows no sign of life"));
}
