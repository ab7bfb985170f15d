//! The room on the kernel's own dm-verity. The trees are made by `veritysetup`, which shares no code with us.

#![cfg(feature = "kernel")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use catenoid_core::{Applied, Planner, Reconciler, RoomError, Step as _};
use catenoid_guests::{Desired, Error, GuestPaths, Guests, GuestsPlanner, Observed, Step, Store, WantedGuest};
use catenoid_kernel_base::wait::Notify;
use catenoid_schema::{
    digest::Digest,
    guest::Verity,
    status::{Blame, Health, Sync},
    units::ByteSize,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use proptest::{collection, prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

/// A marker in the data of the image, on a block that no metadata is on.
const MARKER: &[u8] = b"here is what will be altered";

struct Device {
    folder: tempfile::TempDir,
    room: Guests,
    store: Store,
}

impl Device {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("tests on the kernel run as root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (data, run) = (folder.path().join("data"), folder.path().canonicalize().unwrap().join("run"));
        fs::create_dir(&data).unwrap();
        let store = Store::open(&data);
        let room = Guests::new(&GuestPaths { data, run }, store.generation(), Notify::new().unwrap());
        Self { folder, room, store }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Makes and pushes an image that says `content`, and answers with the guest made of it.
    fn push(&self, content: &str) -> (Digest, WantedGuest) {
        self.push_with(content, &MARKER.repeat(4096))
    }

    /// The same with `large` in it beside.
    fn push_with(&self, content: &str, large: &[u8]) -> (Digest, WantedGuest) {
        let (tree, image) = (self.path("content"), self.path("image"));
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("hello"), content).unwrap();
        fs::write(tree.join("large"), large).unwrap();
        // The same content gives the same image.
        let fixed = ["-T0", "-U00000000-0000-0000-0000-000000000000"];
        run("mkfs.erofs", &[fixed[0], fixed[1], image.to_str().unwrap(), tree.to_str().unwrap()]);
        let blocks = fs::metadata(&image).unwrap().len() / 4096;
        let (offset, salt) = ((blocks * 4096).to_string(), Digest::of(content.as_bytes()));
        let image_path = image.to_str().unwrap();
        let uuid = "--uuid=00000000-0000-0000-0000-000000000000";
        let format = ["--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096", uuid];
        let (offset, salt_option) = (format!("--hash-offset={offset}"), format!("--salt={}", salt.to_hex()));
        let arguments = [&["format", image_path, image_path, &offset, &salt_option], &format[..]].concat();
        let printed = run("veritysetup", &arguments);
        let root = printed.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap().trim();
        let blob = fs::read(&image).unwrap();
        let digest = Digest::of(&blob);
        self.store.append(digest, 0, &blob).unwrap();
        self.store.finish(digest).unwrap();
        // What is not needed goes.
        let generation = self.store.generation();
        generation.begin(generation.number() + 1);
        let verity = Verity { root_hash: Digest::from_hex(root).unwrap(), salt, data_blocks: blocks };
        let size = ByteSize::from_bytes(blob.len() as u64);
        let label = format!("{content}@1.0");
        (Digest::of(content.as_bytes()), WantedGuest { label, image: digest, size, verity })
    }

    fn blob(&self, wanted: &WantedGuest) -> PathBuf {
        self.path("data/blobs").join(wanted.image.to_hex())
    }

    fn guest(&self, descriptor: &Digest) -> PathBuf {
        self.path("run/guests").join(descriptor.short())
    }

    /// Does every step of the plan, each of them twice, and compares the kernel with the model after each.
    async fn converge(&self, desired: &Desired) -> Observed {
        let mut model = self.room.observe().await.unwrap();
        for (_, step) in GuestsPlanner::plan(desired, &model).steps() {
            step.effect_on(&mut model);
            for _ in 0..2 {
                while self.room.apply(step).await.unwrap_or_else(|e| panic!("{step}: {e:?}")) != Applied::Done {}
                assert_eq!(self.room.observe().await.unwrap(), model, "after: {step}");
            }
        }
        assert!(GuestsPlanner::satisfied(desired, &model));
        model
    }

    /// Does the plan up to the first step that fails.
    async fn fail(&self, desired: &Desired) -> Error {
        let observed = self.room.observe().await.unwrap();
        for (_, step) in GuestsPlanner::plan(desired, &observed).steps() {
            loop {
                match self.room.apply(step).await {
                    Ok(Applied::Done) => break,
                    Ok(Applied::Underway { .. }) => {}
                    Err(error) => return error,
                }
            }
        }
        panic!("no step failed");
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn desired(guests: &[&(Digest, WantedGuest)]) -> Desired {
    let guests = guests.iter().map(|guest| (*guest).clone()).collect();
    Desired { guests, unread: Default::default() }
}

/// Flips one bit of the marker in the file at `path`.
fn alter(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(MARKER.len()).rposition(|window| window == MARKER).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    file.sync_all().unwrap();
}

#[tokio::test]
async fn an_altered_image_goes_whatever_has_the_name_of_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let image = Digest::of(b"image");
    let path = |name: &str| folder.path().join("blobs").join(name);
    fs::create_dir_all(path(&format!("{}.altered/x", image.to_hex()))).unwrap();
    fs::write(path(&image.to_hex()), "x").unwrap();
    let paths = GuestPaths { data: folder.path().to_owned(), run: folder.path().to_owned() };
    let room = Guests::new(&paths, Store::open(folder.path()).generation(), Notify::new().unwrap());
    room.apply(&Step::DiscardAltered { label: "a@1".to_owned(), image }).await.unwrap();
    assert!(path(&format!("{}.altered", image.to_hex())).is_file());
    assert!(!path(&image.to_hex()).exists());
}

#[tokio::test]
#[ignore = "needs device-mapper: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_guests_come_and_go_as_the_model_says() {
    let device = Device::new();
    let old = device.push("old");
    let first = device.converge(&desired(&[&old])).await;
    assert_eq!(first.mounts.len(), 1);
    assert_eq!(fs::read_to_string(device.guest(&old.0).join("hello")).unwrap(), "old");
    assert!(fs::write(device.guest(&old.0).join("hello"), "x").is_err());
    // Another look at the same, by somebody who does not remember: an agent that was started anew.
    let paths = GuestPaths { data: device.path("data"), run: device.path("run") };
    let again = Guests::new(&paths, device.store.generation(), Notify::new().unwrap());
    assert!(GuestsPlanner::plan(&desired(&[&old]), &again.observe().await.unwrap()).is_empty());

    let new = device.push("new");
    let open = File::open(device.guest(&old.0).join("hello")).unwrap();
    let in_use = device.fail(&desired(&[&new])).await;
    assert!(matches!(&in_use, Error::InUse { guest } if *guest == old.0.short()), "{in_use:?}");
    assert_eq!(in_use.blame(), Blame::Nobody);
    assert_eq!(fs::read_to_string(device.guest(&new.0).join("hello")).unwrap(), "new");
    drop(open);
    device.converge(&desired(&[&new])).await;
    assert!(!device.guest(&old.0).exists());
    let nothing = device.converge(&desired(&[])).await;
    assert_eq!(nothing, Observed::default());
}

// [req->TSF-INIT] [req->NDR-3.2]
#[tokio::test]
#[ignore = "needs device-mapper: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_an_image_altered_before_it_is_mounted_is_discarded_and_can_be_pushed_again() {
    let device = Device::new();
    let guest = device.push("web");
    let wanted = desired(&[&guest]);
    alter(&device.blob(&guest.1));
    let altered = device.fail(&wanted).await;
    assert!(matches!(&altered, Error::Altered { guest, .. } if guest == "web@1.0"), "{altered:?}");
    assert_eq!(altered.blame(), Blame::Administrator);
    assert!(!device.guest(&guest.0).exists(), "it was mounted");

    let observed = device.room.observe().await.unwrap();
    assert!(observed.devices[&guest.0.short()].corrupt);
    device.converge(&wanted).await;
    let status = GuestsPlanner::status(&wanted, &device.room.observe().await.unwrap());
    assert_eq!((status[0].sync, status[0].health), (Sync::OutOfSync, Health::Degraded));
    assert_eq!(status[0].conditions[0].reason, "ImageCorrupt");

    assert_eq!(device.push("web"), guest);
    device.converge(&wanted).await;
    assert_eq!(fs::read_to_string(device.guest(&guest.0).join("hello")).unwrap(), "web");
    device.converge(&desired(&[])).await;
}

#[tokio::test]
#[ignore = "needs device-mapper: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_an_image_altered_under_a_mounted_guest_is_an_error_and_never_other_data() {
    let device = Device::new();
    let guest = device.push("web");
    let wanted = desired(&[&guest]);
    device.converge(&wanted).await;
    let large = device.guest(&guest.0).join("large");
    assert_eq!(fs::read(&large).unwrap(), MARKER.repeat(4096));
    alter(&device.blob(&guest.1));
    let cached = File::open(&large).unwrap();
    nix::fcntl::posix_fadvise(&cached, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    let error = fs::read(&large).map(|bytes| bytes.len()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO), "{error}");

    let observed = device.room.observe().await.unwrap();
    assert!(GuestsPlanner::plan(&wanted, &observed).is_empty(), "something is stopped for it");
    let status = GuestsPlanner::status(&wanted, &observed);
    assert_eq!((status[0].sync, status[0].health), (Sync::Synced, Health::Degraded));
    assert_eq!(status[0].conditions[0].reason, "ImageCorrupt");
    drop(cached);
    device.converge(&desired(&[])).await;
}

#[tokio::test]
#[ignore = "needs device-mapper: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_what_others_mapped_or_mounted_under_our_names_is_replaced() {
    let device = Device::new();
    let guest = device.push("web");
    let wanted = desired(&[&guest]);
    let id = guest.0.short();
    // A device with another root: it verifies nothing that was signed.
    let other = Verity { root_hash: Digest::of(b"other"), ..guest.1.verity.clone() };
    let label = guest.1.label.clone();
    let map = Step::MapVerity { guest: id.clone(), label, image: guest.1.image, verity: other };
    device.room.apply(&map).await.unwrap();
    device.converge(&wanted).await;
    // Something writable over it.
    mount(Some("none"), &device.guest(&guest.0), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let observed = device.converge(&wanted).await;
    assert_eq!(observed.mounts.keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(fs::read_to_string(device.guest(&guest.0).join("hello")).unwrap(), "web");
    // The blob's name is given to something else while the guest is mounted: what is mounted is not from the store now.
    let copy = fs::read(device.blob(&guest.1)).unwrap();
    fs::remove_file(device.blob(&guest.1)).unwrap();
    fs::write(device.blob(&guest.1), copy).unwrap();
    let observed = device.room.observe().await.unwrap();
    assert_eq!(observed.devices[&id].image, None);
    device.converge(&wanted).await;
    device.converge(&desired(&[])).await;
}

#[tokio::test]
#[ignore = "needs device-mapper: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_a_root_hash_that_is_not_the_images_mounts_nothing() {
    let device = Device::new();
    let (descriptor, mut guest) = device.push("web");
    guest.verity.root_hash = Digest::of(b"other");
    let altered = device.fail(&desired(&[&(descriptor, guest)])).await;
    assert!(matches!(altered, Error::Altered { .. }), "{altered:?}");
    assert!(!device.guest(&descriptor).exists(), "it was mounted");
    device.converge(&Desired { guests: BTreeMap::new(), ..desired(&[]) }).await;
}

/// Images of any size, each set of them made of what the one before left; `dmsetup` says what there is.
#[tokio::test]
#[ignore = "needs device-mapper: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_any_guests_are_what_dmsetup_shows() {
    let device = Device::new();
    let mut runner = TestRunner::deterministic();
    // From one block of data to more than one level of the tree.
    let sizes = collection::vec(prop_oneof![0usize..5000, 0usize..700_000], 1..4);
    for round in 0..3 {
        let sizes = sizes.new_tree(&mut runner).unwrap().current();
        let guests: Vec<_> = (0..)
            .zip(sizes)
            .map(|(index, size)| {
                // Noise: what repeats is not stored again.
                let noise =
                    (0u64..).flat_map(|n| *Digest::of(&[n, index, round].map(u64::to_le_bytes).concat()).as_bytes());
                device.push_with(&format!("guest{round}x{index}"), &noise.take(size).collect::<Vec<_>>())
            })
            .collect();
        device.converge(&desired(&guests.iter().collect::<Vec<_>>())).await;

        let printed = run("dmsetup", &["table", "--target", "verity"]);
        let shown: BTreeSet<String> = printed
            .lines()
            .filter_map(|line| {
                // `NAME: START LENGTH verity VERSION DATA TREE BLOCK BLOCK BLOCKS START ALGORITHM ROOT SALT`: the devices
                // behind are loops of any number, but one and the same.
                let words: Vec<_> = line.split(' ').collect();
                assert_eq!(words.get(5), words.get(6), "{line}");
                words.first()?.starts_with("catenoid").then(|| [&words[..5], &words[7..]].concat().join(" "))
            })
            .collect();
        let line = |(descriptor, wanted): &(Digest, WantedGuest)| {
            let Verity { root_hash, salt, data_blocks } = &wanted.verity;
            let (sectors, tree) = (data_blocks * 8, data_blocks + 1);
            let numbers = format!("0 {sectors} verity 1 4096 4096 {data_blocks} {tree} sha256");
            format!("catenoid1-guest-{}: {numbers} {} {}", descriptor.short(), root_hash.to_hex(), salt.to_hex())
        };
        assert_eq!(shown, guests.iter().map(line).collect());
        for (descriptor, _) in &guests {
            let name = format!("catenoid1-guest-{}", descriptor.short());
            let info = run("dmsetup", &["info", &name]);
            assert!(info.contains("ACTIVE (READ-ONLY)"), "{info}");
            assert_eq!(run("dmsetup", &["status", &name]).trim().rsplit(' ').next(), Some("V"));
        }
    }
    device.converge(&desired(&[])).await;
    assert!(!run("dmsetup", &["ls"]).contains("catenoid"));
}
