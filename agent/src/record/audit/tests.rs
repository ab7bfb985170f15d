//! The log as a whole, and its files as others find them.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::fd::AsFd as _,
    time::Instant,
};

use catenoid_kernel_base::wait::{For, wait};
use catenoid_schema::{digest::Digest, status::Kind};

use super::{
    log::{BEFORE, FILE_LIMIT, LOG, RECORD_LIMIT, Record, tail},
    *,
};
use crate::record::event::DEVICE;

fn open(folder: &Path, boot_id: &str) -> Audit {
    Audit::open(folder, boot_id, Notify::new().unwrap()).unwrap()
}

fn note(audit: &Audit, message: &str) {
    audit.record(NewEvent::by_device("Test", Some(Subject::new(Kind::Container, "web")), message));
}

fn look(audit: &Audit) -> Option<String> {
    audit.look_after();
    audit.settle()
}

fn log_of(folder: &Path) -> Log {
    Log::new(folder, "boot", File::sync_data)
}

fn waiting(number: u64, message: &str) -> PendingEvent {
    let (subject, actor, message) = (None, DEVICE.to_owned(), message.to_owned());
    (Arc::new(Event { number, at: clock::now(), kind: "Test".to_owned(), subject, actor, message }), 7)
}

#[test]
fn each_record_names_the_line_before_it_across_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    note(&open(folder.path(), "boot-1"), "one");
    let audit = open(folder.path(), "boot-2");
    note(&audit, "two");
    let text = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let records: Vec<Record> = lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(records.iter().map(|r| r.event.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(records[1].previous, Digest::of(lines[0].as_bytes()));
    assert_eq!(audit.about(&Subject::new(Kind::Container, "web"), 9).len(), 2);
    assert_eq!(audit.watch(1).0.len(), 1);
}

#[test]
fn the_last_of_its_kind_stays_known_whatever_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path(), "boot-1");
    let actor = || "container/core0 user 0".to_owned();
    let accepted =
        |actor, message: &str| NewEvent { kind: "ManifestAccepted", subject: None, actor, message: message.to_owned() };
    audit.note(accepted(actor(), "by c0"));
    audit.note(accepted("factory bundle".to_owned(), "by the factory"));
    // On a slow disk the oldest of what waits in memory would be let go.
    audit.settle();
    for number in 0..=BACKLOG {
        audit.note(NewEvent { kind: "Test", subject: None, actor: format!("{number}"), message: String::new() });
    }
    assert!(audit.watch(0).0.iter().all(|event| event.kind == "Test"));
    let remembers = |audit: &Audit| {
        let last = |wanted: &dyn Fn(&Event) -> bool| audit.find_last(wanted).map(|event| event.message);
        assert_eq!(last(&|event| event.kind == "ManifestAccepted").as_deref(), Some("by the factory"));
        assert_eq!(last(&|event| event.actor == actor()).as_deref(), Some("by c0"));
    };
    remembers(&audit);
    drop(audit);
    remembers(&open(folder.path(), "boot-2"));
}

#[test]
fn whoever_lets_go_of_the_log_has_all_of_it_written() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path(), "boot-1");
    (0..500).for_each(|number| audit.note(NewEvent::by_device("Test", None, format!("{number}"))));
    drop(audit);
    let events = tail(folder.path(), LOG).unwrap().past.events;
    let recorded: Vec<_> = events.iter().map(|event| (event.number, event.message.parse().unwrap())).collect();
    assert_eq!(recorded, (1..).zip(0..500).collect::<Vec<(u64, u64)>>());
}

#[test]
fn a_torn_last_line_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    note(&open(folder.path(), "boot-1"), "one");
    let path = folder.path().join("audit.jsonl");
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"number\":2,\"at").unwrap();
    note(&open(folder.path(), "boot-1"), "two");
    let text = fs::read_to_string(&path).unwrap();
    let numbers: Vec<u64> = text.lines().map(|l| serde_json::from_str::<Record>(l).unwrap().event.number).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_line_that_is_too_long_is_no_record_and_hides_none() {
    let folder = tempfile::tempdir().unwrap();
    note(&open(folder.path(), "boot-1"), "one");
    let path = folder.path().join("audit.jsonl");
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let long = vec![b'x'; usize::try_from(RECORD_LIMIT).unwrap() * 3];
    file.write_all(&long).unwrap();
    file.write_all(b"\n").unwrap();
    note(&open(folder.path(), "boot-2"), "two");
    // The same without its end is cut off as any torn line.
    file.write_all(&long).unwrap();
    note(&open(folder.path(), "boot-3"), "three");
    let events = tail(folder.path(), LOG).unwrap().past.events;
    let recorded: Vec<_> = events.iter().map(|event| (event.number, event.message.as_str())).collect();
    assert_eq!(recorded, [(1, "one"), (2, "two"), (3, "three")]);
}

#[test]
fn a_file_that_is_too_long_is_put_aside_and_not_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    note(&open(folder.path(), "boot-1"), "one");
    for file in ["audit.jsonl", "audit.1.jsonl"] {
        let file = OpenOptions::new().append(true).create(true).open(folder.path().join(file)).unwrap();
        file.set_len(8 << 40).unwrap();
    }
    note(&open(folder.path(), "boot-2"), "two");
    let events = tail(folder.path(), LOG).unwrap().past.events;
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [2]);
    assert_eq!(tail(folder.path(), BEFORE).unwrap().past.events.len(), 1);
}

#[test]
fn half_a_record_of_a_full_disk_is_cut_off_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log_of(folder.path());
    log.append_all(&mut [waiting(1, "one")].into()).unwrap();
    let path = folder.path().join("audit.jsonl");
    // The disk takes the lines, or a part of them, and not that they are forced to it.
    log.force = |_| Err(io::ErrorKind::StorageFull.into());
    let mut rest = VecDeque::from([waiting(2, "two"), waiting(3, "three")]);
    log.append_all(&mut rest).unwrap_err();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"number\":2,").unwrap();
    log.force = File::sync_data;
    log.append_all(&mut rest).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let numbers: Vec<u64> = text.lines().map(|l| serde_json::from_str::<Record>(l).unwrap().event.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn numbers_go_on_after_a_file_was_put_aside_and_nothing_was_written_since() {
    let folder = tempfile::tempdir().unwrap();
    note(&open(folder.path(), "boot-1"), "one");
    fs::rename(folder.path().join("audit.jsonl"), folder.path().join("audit.1.jsonl")).unwrap();
    let audit = open(folder.path(), "boot-2");
    note(&audit, "two");
    assert_eq!(audit.last(), 2);
}

#[test]
fn a_full_file_is_put_aside_and_an_overlong_message_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log_of(folder.path());
    // The second one is behind the limit, and the file is full with it: what is longer is not read.
    File::create(folder.path().join("audit.jsonl")).unwrap().set_len(FILE_LIMIT - 10).unwrap();
    log.append_all(&mut (1..=3).map(|number| waiting(number, "x")).collect()).unwrap();
    let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
    assert!((FILE_LIMIT..FILE_LIMIT + RECORD_LIMIT).contains(&size("audit.1.jsonl")), "{}", size("audit.1.jsonl"));
    let numbers: Vec<_> = tail(folder.path(), LOG).unwrap().past.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [2, 3]);

    let folder = tempfile::tempdir().unwrap();
    note(&open(folder.path(), "boot"), &"ä".repeat(MESSAGE_LIMIT));
    let size = fs::metadata(folder.path().join("audit.jsonl")).unwrap().len();
    assert!(size < MESSAGE_LIMIT as u64 + 1024, "{size}");
}

#[test]
fn a_log_that_cannot_be_read_or_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    fs::create_dir(&path).unwrap();
    let notify = Notify::new().unwrap();
    let audit = Audit::open(folder.path(), "boot-1", notify.clone()).unwrap();
    assert!(audit.settle().is_some());
    let is_notified = || wait(&[(notify.as_fd(), For::Input)], Instant::now()).unwrap().contains(&true);
    assert!(is_notified(), "the pass is to report it");
    notify.clear();
    note(&audit, "one");
    assert!(look(&audit).is_some());
    fs::remove_dir(&path).unwrap();
    assert_eq!(look(&audit), None);
    assert!(is_notified(), "the pass is to report that it is over");
    let events = tail(folder.path(), LOG).unwrap().past.events;
    let recorded: Vec<_> = events.iter().map(|event| (event.number, event.kind.as_str())).collect();
    let kinds = ["AuditLogUnreadable", "AuditLogUnwritable", "Test", "AuditLogWritten"];
    assert_eq!(recorded, (1..).zip(kinds).collect::<Vec<_>>());
}

#[test]
fn a_log_that_was_removed_begins_anew_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let audit = open(&path, "boot-1");
    note(&audit, "one");
    let last = fs::read_to_string(path.join("audit.jsonl")).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(look(&audit), None);
    note(&audit, "two");
    let text = fs::read_to_string(path.join("audit.jsonl")).unwrap();
    let records: Vec<Record> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let recorded: Vec<_> = records.iter().map(|r| (r.event.number, r.event.kind.as_str())).collect();
    assert_eq!(recorded, [(2, "AuditLogLost"), (3, "Test")]);
    assert_eq!(records[0].previous, Digest::of(last.trim_end().as_bytes()));
}

#[test]
fn what_cannot_be_written_is_written_later_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let audit = open(&path, "boot-1");
    note(&audit, "one");
    // Nothing can be made in the place of a file.
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, b"").unwrap();
    note(&audit, "two");
    note(&audit, "three");
    assert!(look(&audit).is_some());
    fs::remove_file(&path).unwrap();
    assert_eq!(look(&audit), None);
    let text = fs::read_to_string(path.join("audit.jsonl")).unwrap();
    let records: Vec<Record> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let recorded: Vec<_> = records.iter().map(|r| (r.event.number, r.event.kind.as_str())).collect();
    let kinds = ["Test", "AuditLogLost", "AuditLogUnwritable", "Test", "AuditLogWritten"];
    assert_eq!(recorded, (2..).zip(kinds).collect::<Vec<_>>());
    assert_eq!(records[4].event.message, "4 events were written late, 0 were lost");
}
