//! The store that blobs are pushed to.

#![cfg(feature = "kernel")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    error::Error as _,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    time::SystemTime,
};

use catenoid_guests::{Quotas, Store, StoreError};
use catenoid_schema::{control::BlobState, digest::Digest, units::ByteSize};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const CONTENT: &[u8] = b"forty-two bytes that stand for an image...";

fn store() -> (tempfile::TempDir, Store, Digest) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path());
    (data, store, Digest::of(CONTENT))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_broken_push_goes_on_where_it_ended() {
    let (data, store, digest) = store();
    assert_eq!(store.state(digest).unwrap(), None);
    store.append(digest, 0, &CONTENT[..10]).unwrap();
    drop(store);

    let store = Store::open(data.path());
    let held = BlobState { digest, held: 10, complete: false };
    assert_eq!(store.state(digest).unwrap(), Some(held.clone()));
    assert_eq!(store.list().unwrap(), [held]);
    for offset in [0, 9, 11] {
        let refused = store.append(digest, offset, &CONTENT[10..]).unwrap_err();
        assert!(matches!(refused, StoreError::Offset { held: 10, .. }), "{refused}");
    }
    store.append(digest, 10, &CONTENT[10..]).unwrap();
    let complete = BlobState { digest, held: CONTENT.len() as u64, complete: true };
    for _ in 0..2 {
        assert_eq!(store.finish(digest).unwrap(), complete);
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&complete));
    }
    assert_eq!(fs::read(data.path().join("blobs").join(digest.to_hex())).unwrap(), CONTENT);
    store.append(digest, 0, b"other").expect("what is held in full needs no push");
    assert_eq!(fs::read(data.path().join("blobs").join(digest.to_hex())).unwrap(), CONTENT);
}

#[test]
fn a_push_that_does_not_begin_at_the_beginning_leaves_nothing() {
    let (_data, store, digest) = store();
    let refused = store.append(digest, 10, &CONTENT[10..]).unwrap_err();
    assert!(matches!(refused, StoreError::Offset { held: 0, offset: 10, .. }), "{refused}");
    assert_eq!(store.state(digest).unwrap(), None, "it takes no place among the pushes in progress");
}

#[test]
fn any_flipped_bit_is_refused_and_the_push_begins_anew() {
    let (data, store, digest) = store();
    for bit in 0..CONTENT.len() * 8 {
        let mut altered = CONTENT.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        store.append(digest, 0, &altered).unwrap();
        let refused = store.finish(digest).unwrap_err();
        let actual = Digest::of(&altered);
        assert_eq!(refused.to_string(), format!("what was pushed as `{digest}` is `{actual}`"));
        assert_eq!(store.list().unwrap(), []);
    }
    assert!(matches!(store.finish(digest), Err(StoreError::Nothing { .. })));
    assert_eq!(fs::read_dir(data.path().join("blobs")).unwrap().count(), 0);
}

#[test]
fn a_partial_push_altered_on_the_disk_is_refused() {
    let (data, store, digest) = store();
    store.append(digest, 0, &CONTENT[..10]).unwrap();
    fs::write(data.path().join(format!("incoming/{}.part", digest.to_hex())), b"0123456789").unwrap();
    store.append(digest, 10, &CONTENT[10..]).unwrap();
    assert!(matches!(store.finish(digest), Err(StoreError::Mismatch { .. })));
}

#[test]
fn quotas_are_kept() {
    let data = tempfile::tempdir().unwrap();
    let small = Quotas { blob: ByteSize::from_bytes(16), partials: 2, ..Quotas::default() };
    let store = Store::with_quotas(data.path(), small);
    let digest = |byte| Digest::from_bytes([byte; 32]);
    store.append(digest(1), 0, &[0; 16]).unwrap();
    for (offset, length) in [(0, 17), (16, 1), (u64::MAX, 2)] {
        let refused = store.append(digest(1), offset, &vec![0; length]).unwrap_err();
        assert_eq!(refused.to_string(), format!("`{}` is over the limit of 16B", digest(1)));
    }
    store.append(digest(2), 0, &[0]).unwrap();
    let refused = store.append(digest(3), 0, &[0]).unwrap_err();
    assert_eq!(refused.to_string(), "2 pushes are in progress; no other can begin");
    store.append(digest(2), 1, &[0]).expect("a push that has begun can go on");

    let greedy = Quotas { reserve: ByteSize::from_bytes(u64::MAX), ..Quotas::default() };
    let store = Store::with_quotas(data.path(), greedy);
    assert!(matches!(store.append(digest(2), 2, &[0]), Err(StoreError::Full { .. })));
    assert_eq!(store.state(digest(2)).unwrap().map(|state| state.held), Some(2));
}

#[test]
fn small_blobs_are_counted_until_what_is_not_needed_is_let_go() {
    let (data, store, _) = store();
    let content = |number: u32| number.to_be_bytes();
    let push = |number: u32| {
        let digest = Digest::of(&content(number));
        store.append(digest, 0, &content(number)).and_then(|()| store.finish(digest))
    };
    let limit = u32::try_from(Quotas::default().blobs).unwrap();
    // One of them is under way when the others have taken all the places but its own.
    let begun = Digest::of(&content(0));
    store.append(begun, 0, &content(0)[..1]).unwrap();
    for number in 1..limit {
        push(number).unwrap();
    }
    let refused = push(limit).unwrap_err();
    let message = "256 blobs are held; no other can begin until a new manifest lets go of what it does not need";
    assert_eq!(refused.to_string(), message);
    store.append(begun, 1, &content(0)[1..]).unwrap();
    store.finish(begun).expect("a push that has begun has its place");
    assert!(matches!(push(limit), Err(StoreError::Crowded { limit: 256 })));
    fs::remove_file(data.path().join("blobs").join(begun.to_hex())).unwrap();
    push(limit).unwrap();
}

#[test]
fn the_last_files_of_the_disk_are_not_for_blobs() {
    let (data, store, digest) = store();
    store.append(digest, 0, &CONTENT[..1]).unwrap();
    let store = Store::with_quotas(data.path(), Quotas { files: u64::MAX, ..Quotas::default() });
    let refused = store.append(Digest::of(b"other"), 0, b"o").unwrap_err();
    assert!(matches!(refused, StoreError::NoFiles { reserve: u64::MAX, .. }), "{refused}");
    store.append(digest, 1, &CONTENT[1..]).expect("a push that has begun makes no file");
}

#[test]
fn files_that_are_not_blobs_are_not_listed() {
    let (data, store, _) = store();
    let digest = Digest::of(b"x").to_hex();
    assert_eq!(store.list().unwrap(), []);
    for name in ["README", "lost+found", &digest.to_uppercase(), &format!("{digest}.altered"), &digest[..63]] {
        fs::write(data.path().join("blobs").join(name), "x").unwrap();
        fs::write(data.path().join("incoming").join(name), "x").unwrap();
    }
    assert_eq!(store.list().unwrap(), []);
}

/// What somebody with the disk in hand puts in the place of a blob and of what is pushed of it.
type Bend = fn(blob: &Path, part: &Path);

const BENDS: [Bend; 6] = [
    |blob, _| fs::create_dir_all(blob.join("x")).unwrap(),
    |_, part| fs::create_dir_all(part.join("x")).unwrap(),
    |blob, part| [blob, part].iter().for_each(|path| symlink("/etc/passwd", path).unwrap()),
    |blob, part| {
        fs::write(blob, CONTENT).unwrap();
        fs::hard_link(blob, part).unwrap();
    },
    |blob, _| {
        fs::write(blob, CONTENT).unwrap();
        fs::hard_link(blob, blob.with_extension("other")).unwrap();
    },
    |_, part| {
        fs::write(part, "x").unwrap();
        fs::hard_link(part, part.with_extension("other")).unwrap();
    },
];

#[test]
fn a_blob_can_be_pushed_whatever_has_its_name() {
    for (number, bend) in BENDS.iter().enumerate() {
        let (data, store, digest) = store();
        fs::create_dir(data.path().join("blobs")).unwrap();
        fs::create_dir(data.path().join("incoming")).unwrap();
        let blob = data.path().join("blobs").join(digest.to_hex());
        bend(&blob, &data.path().join(format!("incoming/{}.part", digest.to_hex())));
        assert!(store.settle().is_empty(), "{number}");
        assert_eq!(store.state(digest).unwrap(), None, "{number}");
        store.append(digest, 0, CONTENT).unwrap();
        assert!(store.finish(digest).unwrap().complete, "{number}");
        assert_eq!(fs::symlink_metadata(&blob).unwrap().nlink(), 1, "{number}");
        assert_eq!(fs::read(&blob).unwrap(), CONTENT, "{number}");
    }
}

#[test]
fn what_is_no_blob_is_not_counted_and_is_sifted_out() {
    let (data, store, digest) = store();
    assert!(store.sift().is_empty(), "there is nothing yet");
    let Quotas { blobs, partials, .. } = Quotas::default();
    for (folder, count) in [("blobs", blobs), ("incoming", partials)] {
        (0..count).for_each(|number| fs::write(data.path().join(folder).join(format!("{number}")), "x").unwrap());
    }
    store.append(digest, 0, CONTENT).unwrap();
    store.finish(digest).unwrap();
    let begun = Digest::of(b"begun");
    store.append(begun, 0, b"b").unwrap();
    let mark = format!("{}.altered", begun.to_hex());
    fs::write(data.path().join("blobs").join(&mark), "").unwrap();
    for _ in 0..2 {
        assert!(store.sift().is_empty());
        let mut held: Vec<_> =
            ["blobs", "incoming"].iter().flat_map(|folder| names(&data.path().join(folder))).collect();
        held.sort();
        let mut kept = [digest.to_hex(), mark.clone(), format!("{}.part", begun.to_hex())];
        kept.sort();
        assert_eq!(held, kept);
    }
    let aside: Vec<_> = names(data.path()).into_iter().filter(|name| name.contains(".foreign-")).collect();
    let evidence: Vec<_> = aside.iter().map(|name| names(&data.path().join(name)).len()).collect();
    assert_eq!(evidence, [blobs, partials], "{aside:?}");
}

#[test]
fn what_the_device_has_itself_is_not_counted() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::with_quotas(data.path(), Quotas { blobs: 0, partials: 0, ..Quotas::default() });
    let digest = Digest::of(CONTENT);
    assert!(matches!(store.append(digest, 0, CONTENT), Err(StoreError::TooMany { .. })));
    store.restore(digest, 0, b"somebody began with something else").unwrap();
    store.begin_anew(digest).unwrap();
    store.restore(digest, 0, CONTENT).unwrap();
    assert!(store.finish(digest).unwrap().complete);
}

#[test]
fn mountns_a_disk_that_takes_nothing_is_reported_and_read() {
    let (data, store, digest) = store();
    store.append(digest, 0, CONTENT).unwrap();
    store.finish(digest).unwrap();
    let blob = File::options().write(true).open(data.path().join("blobs").join(digest.to_hex())).unwrap();
    blob.set_modified(SystemTime::now()).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).expect("tests on the kernel run as root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    for flags in [MsFlags::MS_BIND, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY] {
        mount(Some(data.path()), data.path(), None::<&str>, flags, None::<&str>).unwrap();
    }
    let reported: Vec<_> = store.settle().into_iter().map(|error| error.source().unwrap().to_string()).collect();
    assert_eq!(reported, [format!("failed to open `{}`", data.path().join("blobs").join(digest.to_hex()).display())]);
    assert!(store.state(digest).unwrap().is_some_and(|state| state.complete));
}

#[test]
fn pushes_of_several_clients_do_not_mix() {
    let (_data, store, digest) = store();
    let results: Vec<_> = std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for (offset, byte) in CONTENT.iter().enumerate() {
                        match store.append(digest, offset as u64, &[*byte]) {
                            Ok(()) | Err(StoreError::Offset { .. } | StoreError::Busy { .. }) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        pushes.into_iter().map(|push| push.join().unwrap()).collect()
    });
    for result in results {
        result.unwrap();
    }
    let held = usize::try_from(store.state(digest).unwrap().unwrap().held).unwrap();
    store.append(digest, held as u64, &CONTENT[held..]).unwrap();
    store.finish(digest).expect("whoever came first, every byte is where it belongs");
}
