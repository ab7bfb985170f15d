//! A device that answers what no device should: an error within bounds, never a panic, a hang or a terminal taken over.

use serde_json::json;

use crate::{
    assert_seen, catenoid,
    fake::{Answer, Fake, NOW},
    samples::{self, device, event},
};

fn status_of(answer: Answer) -> String {
    catenoid(&Fake::start().on("GET /v1/status", answer), &["status"])
}

#[test]
fn endless_answer_is_cut_off() {
    let head = format!("HTTP/1.1 200 OK\r\ndate: {NOW}\r\n\r\n\"");
    assert_seen!(status_of(Answer::raw(head + &"x".repeat(17 * 1024 * 1024))));
}

#[test]
fn truncated_answer_is_an_error() {
    assert_seen!(status_of(Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"device\":")));
}

#[test]
fn answer_that_is_not_json_is_an_error() {
    assert_seen!(status_of(Answer::text("<html>hello</html>")));
}

#[test]
fn answer_without_the_expected_fields_is_an_error() {
    assert_seen!(status_of(Answer::json(&json!({ "device": {} }))));
}

#[test]
fn deeply_nested_answer_is_an_error() {
    assert_seen!(status_of(Answer::text(&"[".repeat(100_000))));
}

#[test]
fn failure_that_is_no_problem_is_shown_in_part() {
    let body = format!("<h1>\u{1b}[31mBad gateway</h1>{}", "x".repeat(1000));
    assert_seen!(status_of(Answer::failure("502 Bad Gateway", &body)));
}

#[test]
fn bytes_that_are_not_http_are_an_error() {
    assert_seen!(status_of(Answer::raw([0u8; 64])));
}

#[test]
fn redirect_is_not_followed() {
    assert_seen!(status_of(Answer::raw(
        "HTTP/1.1 302 Found\r\nlocation: http://example.org/\r\ncontent-length: 0\r\n\r\n"
    )));
}

#[test]
fn connection_that_ends_at_once_is_an_error() {
    assert_seen!(status_of(Answer::raw("")));
}

#[test]
fn terminal_escapes_in_a_status_are_shown() {
    let message = "\u{1b}]0;owned\u{7}\u{1b}[2J all is well \u{202e}dab";
    let condition = samples::condition("Running\r\n", message, json!(null), 12);
    let status = samples::status(
        12,
        Some(12),
        &[samples::subject("container/\u{1b}[1m", "Synced", "Healthy", json!([condition]))],
    );
    assert_seen!(status_of(Answer::json(&status)));
}

#[test]
fn endless_event_is_cut_off() {
    let endless = format!("data: {}", "x".repeat(300 * 1024));
    let fake = Fake::start().on("GET /v1/events?since=0&follow=false", Answer::events(&endless));
    assert_seen!(catenoid(&fake, &["events"]));
}

#[test]
fn event_that_is_not_json_is_an_error() {
    let stream = event(1, "StepDone", "started") + "data: surprise\n\n";
    let fake = Fake::start().on("GET /v1/events?since=0&follow=false", Answer::events(&stream));
    assert_seen!(catenoid(&fake, &["events"]));
}

#[test]
fn blob_without_an_offset_is_an_error() {
    let bytes = b"image";
    let call = format!("HEAD /v1/blobs/{}", catenoid_schema::digest::Digest::of(bytes));
    let fake = device().on(&call, Answer::raw("HTTP/1.1 200 OK\r\nupload-offset: -1\r\n\r\n"));
    fake.file("x.image", bytes);
    assert_seen!(catenoid(&fake, &["guests", "push", "x.image"]));
}

#[test]
fn device_that_claims_more_than_there_is_gets_nothing() {
    let bytes = b"image";
    let fake = device().holding(catenoid_schema::digest::Digest::of(bytes), b"something else");
    fake.file("x.image", bytes);
    assert_seen!(catenoid(&fake, &["guests", "push", "x.image"]));
}
