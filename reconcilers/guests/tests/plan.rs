//! The planner: golden folders, the two properties, and what is reported of it.

use std::{collections::BTreeMap, path::Path};

use catenoid_core::{Asked, Paths, Planner, testing, testing::simulate};
use catenoid_guests::{Blob, Desired, GuestsPlanner, Observed, ObservedDevice, ObservedMount, Step, WantedGuest};
use catenoid_schema::{
    digest::Digest,
    guest::{Guest, Verity},
    name::Name,
    status::{Blame, Health, Sync},
    units::ByteSize,
};
use proptest::{
    collection::{btree_map, btree_set},
    option,
    prelude::*,
    sample,
};

#[test]
fn golden_plans() {
    testing::golden::<GuestsPlanner>(Path::new("tests/plans"), 8);
}

/// One of a few digests, so that blobs, images and descriptors meet, and are even the same at times.
fn digest() -> impl Strategy<Value = Digest> {
    (1..7u8).prop_map(|byte| Digest::from_bytes([byte; 32]))
}

fn id() -> impl Strategy<Value = String> {
    digest().prop_map(|digest| digest.short())
}

fn verity() -> impl Strategy<Value = Verity> {
    (1..3u64, 0..2u8).prop_map(|(data_blocks, byte)| {
        let digest = Digest::from_bytes([byte; 32]);
        Verity { root_hash: digest, salt: digest, data_blocks }
    })
}

fn size() -> impl Strategy<Value = u64> {
    sample::select(vec![4096, 8192])
}

fn desired() -> impl Strategy<Value = Desired> {
    let wanted = (digest(), size(), verity()).prop_map(|(image, size, verity)| WantedGuest {
        label: "web@1.0".to_owned(),
        image,
        size: ByteSize::from_bytes(size),
        verity,
    });
    let unread = prop_oneof![3 => Just(Default::default()), 1 => btree_set(digest(), 0..2)];
    (btree_map(digest(), wanted, 0..4), unread).prop_map(|(guests, unread)| Desired { guests, unread })
}

fn device() -> impl Strategy<Value = ObservedDevice> {
    (option::of(verity()), option::of(digest()), any::<bool>()).prop_map(|(verity, image, corrupt)| ObservedDevice {
        verity,
        image,
        corrupt,
    })
}

fn mount() -> impl Strategy<Value = ObservedMount> {
    (option::of(id()), any::<bool>()).prop_map(|(device, locked)| ObservedMount { device, locked })
}

fn observed() -> impl Strategy<Value = Observed> {
    let blob = (size(), any::<bool>()).prop_map(|(size, fresh)| Blob { size, fresh });
    (
        btree_map(digest(), blob, 0..6),
        btree_set(digest(), 0..3),
        btree_map(digest(), any::<bool>(), 0..3),
        btree_map(id(), device(), 0..5),
        btree_map(id(), mount(), 0..5),
        btree_map(id(), 0..=100_u8, 0..3),
    )
        .prop_map(|(blobs, altered, partials, devices, mounts, read)| Observed {
            blobs,
            altered,
            partials,
            devices,
            mounts,
            read,
        })
}

/// A desired state, and an observed one that is anything, or what the desired one leads to with one thing disturbed.
fn states() -> impl Strategy<Value = (Desired, Observed)> {
    #[derive(Debug, Clone)]
    enum Disturbance {
        Device(String, Option<ObservedDevice>),
        Mount(String, Option<ObservedMount>),
        Corrupt(String),
        Blob(Digest),
    }
    let disturbance = prop_oneof![
        (id(), option::of(device())).prop_map(|(id, device)| Disturbance::Device(id, device)),
        (id(), option::of(mount())).prop_map(|(id, mount)| Disturbance::Mount(id, mount)),
        id().prop_map(Disturbance::Corrupt),
        digest().prop_map(Disturbance::Blob),
    ];
    let near = (desired(), observed(), option::of(disturbance)).prop_map(|(desired, observed, disturbance)| {
        let mut observed = simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &observed), &observed);
        match disturbance {
            None => {}
            Some(Disturbance::Device(id, None)) => drop(observed.devices.remove(&id)),
            Some(Disturbance::Device(id, Some(device))) => drop(observed.devices.insert(id, device)),
            Some(Disturbance::Mount(id, None)) => drop(observed.mounts.remove(&id)),
            Some(Disturbance::Mount(id, Some(mount))) => drop(observed.mounts.insert(id, mount)),
            Some(Disturbance::Corrupt(id)) => {
                observed.devices.entry(id).and_modify(|device| device.corrupt = true);
            }
            Some(Disturbance::Blob(digest)) => drop(observed.blobs.remove(&digest)),
        }
        (desired, observed)
    });
    prop_oneof![(desired(), observed()), near]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_plan_leads_to_what_is_wanted_and_is_empty_only_there((desired, observed) in states()) {
        testing::properties::<GuestsPlanner>(&desired, &observed).map_err(TestCaseError::fail)?;
    }

    /// Whatever is there: what is mounted over the right device stays mounted, and nothing that is reached is removed.
    #[test]
    fn no_plan_touches_a_guest_that_is_as_it_should_be((desired, observed) in states()) {
        let plan = GuestsPlanner::plan(&desired, &observed);
        for (descriptor, wanted) in &desired.guests {
            let id = descriptor.short();
            let fits = observed.devices.get(&id).is_some_and(|device| {
                device.image == Some(wanted.image) && device.verity.as_ref() == Some(&wanted.verity)
            });
            let mounted = observed.mounts.get(&id) == Some(&ObservedMount { device: Some(id.clone()), locked: true });
            for (_, step) in plan.steps().filter(|_| fits && mounted) {
                let touched = match step {
                    Step::MapVerity { guest, .. } | Step::MountGuest { guest, .. } => guest == &id,
                    Step::UnmountGuest { guest, .. } | Step::UnmapVerity { guest, .. } => guest == &id,
                    _ => false,
                };
                prop_assert!(!touched, "{step} for {wanted:?}");
            }
            let removed = plan.steps().any(|(_, step)| *step == Step::RemoveBlob { blob: *descriptor });
            prop_assert!(!removed, "the descriptor {descriptor} of a wanted guest is removed");
        }
    }

    /// A guest is never reported to be well that is not verified and mounted.
    #[test]
    fn only_what_is_mounted_and_whole_is_reported_as_healthy((desired, observed) in states()) {
        let status = GuestsPlanner::status(&desired, &observed);
        for ((descriptor, wanted), reported) in desired.guests.iter().zip(&status) {
            let id = descriptor.short();
            let device = ObservedDevice { verity: Some(wanted.verity.clone()), image: Some(wanted.image), corrupt: false };
            let well = observed.devices.get(&id) == Some(&device)
                && observed.mounts.get(&id) == Some(&ObservedMount { device: Some(id), locked: true });
            prop_assert_eq!(reported.health == Health::Healthy, well, "{:?}", reported);
        }
    }
}

fn web() -> (Digest, Desired, Observed) {
    let (descriptor, image) = (Digest::of(b"descriptor"), Digest::of(b"image"));
    let verity = Verity { root_hash: Digest::of(b"root"), salt: Digest::of(b"salt"), data_blocks: 1 };
    let size = ByteSize::from_bytes(12288);
    let wanted = WantedGuest { label: "web@1.0".to_owned(), image, size, verity };
    let guests = BTreeMap::from([(descriptor, wanted)]);
    let desired = Desired { guests, unread: Default::default() };
    let blobs = BTreeMap::from([(image, Blob { size: 12288, fresh: false })]);
    (descriptor, desired, Observed { blobs, ..Observed::default() })
}

/// Sync, health, and reason, message and blame of each condition.
type Reported = (Sync, Health, Vec<(String, String, Option<Blame>)>);

fn status_of(desired: &Desired, observed: &Observed) -> Reported {
    let status = GuestsPlanner::status(desired, observed);
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].subject.as_str(), "guest/web@1.0");
    let conditions = status[0].conditions.iter().map(|c| (c.reason.clone(), c.message.clone(), c.blame)).collect();
    (status[0].sync, status[0].health, conditions)
}

#[test]
fn an_altered_image_is_reported_until_it_is_pushed_again() {
    let (descriptor, desired, stored) = web();
    let corrupt = |message: &str| vec![("ImageCorrupt".to_owned(), message.to_owned(), Some(Blame::Administrator))];
    let mut observed = simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &stored), &stored);
    assert_eq!(status_of(&desired, &observed), (Sync::Synced, Health::Healthy, vec![]));

    observed.devices.get_mut(&descriptor.short()).expect("it is mapped").corrupt = true;
    let running = corrupt("blocks of its image differ from what was signed; reading them fails");
    assert_eq!(status_of(&desired, &observed), (Sync::Synced, Health::Degraded, running));

    observed.mounts.clear();
    let stopped = corrupt("its image differs from what was signed; it is not mounted");
    assert_eq!(status_of(&desired, &observed), (Sync::OutOfSync, Health::Degraded, stopped));

    observed = simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &observed), &observed);
    assert_eq!(observed.devices, BTreeMap::new());
    let discarded = corrupt("its image was altered on the device and discarded; push it again");
    assert_eq!(status_of(&desired, &observed), (Sync::OutOfSync, Health::Degraded, discarded));

    observed.blobs = stored.blobs;
    observed = simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &observed), &observed);
    assert_eq!(status_of(&desired, &observed), (Sync::Synced, Health::Healthy, vec![]));
    assert_eq!(observed.altered, Default::default());
}

#[test]
fn a_missing_image_is_reported_with_its_digest() {
    let (_, desired, _) = web();
    let message = format!("its image {} is not on the device; push it", Digest::of(b"image"));
    let waiting = vec![("WaitingForBlob".to_owned(), message, Some(Blame::Administrator))];
    assert_eq!(status_of(&desired, &Observed::default()), (Sync::OutOfSync, Health::Missing, waiting));
}

/// A descriptor of the guest `name`, version 1.
fn descriptor(name: &str, image: &[u8]) -> Guest {
    let (image, root, salt) = (Digest::of(image), Digest::of(b"root"), Digest::of(b"salt"));
    serde_yaml::from_str(&format!(
        "{{apiVersion: catenoid.dev/v1, kind: Guest, metadata: {{name: {name}, version: '1'}}, architecture: x86_64,
          defaults: {{command: [/bin/run]}}, root: readOnly,
          image: {{digest: '{image}', size: 12KiB, verity: {{rootHash: '{root}', salt: '{salt}', dataBlocks: 1}}}}}}"
    ))
    .expect("it is a descriptor")
}

#[test]
fn what_a_manifest_asks_is_named_once_and_what_could_not_be_read_is_kept() {
    let of = |text: &str| Digest::of(text.as_bytes());
    let named = ["web", "other", "twin", "gone"];
    let guests: String = named.map(|name| format!("{name}: {{ref: {name}@1, descriptor: '{}'}}", of(name))).join(", ");
    let manifest = serde_yaml::from_str(&format!(
        "{{apiVersion: catenoid.dev/v1, kind: Manifest,
          metadata: {{name: line, sequence: 1, notAfter: 2030-01-01T00:00:00Z}}, target: {{serials: [QEMU-0001]}},
          guests: {{{guests}}}, zones: {{}}, containers: {{}}}}"
    ))
    .expect("it is a manifest");
    // Two descriptors of one name and version.
    let read = [("web", "web"), ("other", "other"), ("twin", "other")];
    let read = read.map(|(name, of_name)| {
        (name.parse::<Name>().unwrap(), (of(name), descriptor(of_name, format!("image of {name}").as_bytes())))
    });
    let (guests, paths) = (BTreeMap::from(read), Paths::default());
    let desired = GuestsPlanner::desired(&Asked { manifest: &manifest, guests: &guests, paths: &paths });
    let labels: BTreeMap<_, _> =
        desired.guests.iter().map(|(digest, wanted)| (*digest, wanted.label.clone())).collect();
    let twice = |name: &str| format!("other@1-{}", of(name).short());
    let wanted = [("web", "web@1".to_owned()), ("other", twice("other")), ("twin", twice("twin"))];
    assert_eq!(labels, wanted.map(|(name, label)| (of(name), label)).into());
    assert_eq!(desired.unread, [of("gone")].into());
    let web = &desired.guests[&of("web")];
    assert_eq!((web.image, web.size), (of("image of web"), ByteSize::from_bytes(12288)));
    assert_eq!(web.verity.root_hash, of("root"));
}

#[test]
fn a_guest_is_as_wanted_only_if_all_of_it_is() {
    let (descriptor, desired, stored) = web();
    let (id, right) = (descriptor.short(), simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &stored), &stored));
    let other = Digest::of(b"another");
    type Change<'a> = &'a dyn Fn(&mut Observed);
    let changes: [(&str, Change<'_>); 9] = [
        ("another image behind it", &|seen| seen.devices.get_mut(&id).unwrap().image = Some(other)),
        ("another table", &|seen| seen.devices.get_mut(&id).unwrap().verity = None),
        ("no device", &|seen| seen.devices.clear()),
        ("no mount", &|seen| seen.mounts.clear()),
        ("a mount that can be opened", &|seen| seen.mounts.get_mut(&id).unwrap().locked = false),
        ("a mount of something else", &|seen| seen.mounts.get_mut(&id).unwrap().device = Some(other.short())),
        ("another guest's mount", &|seen| {
            seen.mounts.insert(other.short(), ObservedMount { device: None, locked: false });
        }),
        ("a blob that nobody needs", &|seen| {
            seen.blobs.insert(other, Blob { size: 1, fresh: false });
        }),
        ("a push that ended", &|seen| {
            seen.partials.insert(other, false);
        }),
    ];
    assert!(GuestsPlanner::satisfied(&desired, &right));
    for (what, change) in changes {
        let mut seen = right.clone();
        change(&mut seen);
        assert!(!GuestsPlanner::satisfied(&desired, &seen), "{what}");
        assert_eq!(simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &seen), &seen), right, "{what}");
    }
    // What was just pushed stays, for the manifest to come, and not for the one after it.
    let mut seen = right.clone();
    seen.blobs.insert(other, Blob { size: 1, fresh: true });
    seen.partials.insert(other, true);
    assert!(GuestsPlanner::satisfied(&desired, &seen));
    seen.settle();
    assert!(!GuestsPlanner::satisfied(&desired, &seen));
    assert_eq!(simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &seen), &seen), right);
}

#[test]
fn what_is_not_there_yet_is_lacking_and_says_how_far_it_is() {
    let (descriptor, mut desired, stored) = web();
    let (id, right) = (descriptor.short(), simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &stored), &stored));
    let other = Digest::of(b"another").short();
    let activating =
        |how: &str| vec![("Activating".to_owned(), format!("its image is {how}, not both mapped and mounted"), None)];
    let lacking = |seen: &Observed, desired: &Desired| GuestsPlanner::lacking(desired, seen);
    assert_eq!(lacking(&right, &desired), BTreeMap::new());
    assert_eq!(
        status_of(&desired, &stored),
        (Sync::OutOfSync, Health::Progressing, activating("not mapped and not mounted"))
    );
    let waiting = BTreeMap::from([(descriptor.to_string(), "guest `web@1.0` is not mounted".to_owned())]);
    assert_eq!(lacking(&stored, &desired), waiting);

    let mut seen = right.clone();
    seen.mounts.clear();
    assert_eq!(
        status_of(&desired, &seen),
        (Sync::OutOfSync, Health::Progressing, activating("mapped and not mounted"))
    );
    seen.read.insert(other.clone(), 10);
    assert_eq!(status_of(&desired, &seen).2, activating("mapped and not mounted"), "another one is read");
    seen.read.insert(id.clone(), 40);
    let message = "all of its image is read, and compared with what was signed".to_owned();
    let verifying = vec![("Verifying".to_owned(), message, None)];
    assert_eq!(status_of(&desired, &seen), (Sync::OutOfSync, Health::Progressing, verifying));
    let status = GuestsPlanner::status(&desired, &seen).remove(0);
    assert!(status.facts.shown().any(|fact| fact == ("verified", "40 %")));
    assert_eq!(lacking(&seen, &desired), waiting);

    let mut seen = right.clone();
    seen.mounts.get_mut(&id).unwrap().locked = false;
    assert_eq!(status_of(&desired, &seen).2, activating("mapped and covered by another mount"));
    assert_eq!(lacking(&seen, &desired), waiting);
    let mut seen = right.clone();
    seen.devices.get_mut(&id).unwrap().verity = None;
    assert_eq!(status_of(&desired, &seen).2, activating("mapped through another table and mounted"));
    assert_eq!(lacking(&seen, &desired), waiting);

    let gone = Digest::of(b"gone");
    desired.unread.insert(gone);
    let unread = (gone.to_string(), format!("the descriptor {gone} could not be read"));
    assert_eq!(lacking(&right, &desired), BTreeMap::from([unread]));
}

#[test]
fn an_altered_image_is_remembered_as_long_as_it_is_wanted_and_away() {
    let (_, desired, stored) = web();
    let mounted = simulate::<GuestsPlanner>(&GuestsPlanner::plan(&desired, &stored), &stored);
    let [image, other] = [b"image", b"other"].map(|name| Digest::of(name));
    for (altered, is_away, satisfies) in [(image, true, true), (image, false, false), (other, false, false)] {
        let mut observed = Observed { altered: [altered].into(), ..mounted.clone() };
        observed.blobs.retain(|_, _| !is_away);
        assert_eq!(GuestsPlanner::satisfied(&desired, &observed), satisfies, "{altered} {is_away}");
    }
}
