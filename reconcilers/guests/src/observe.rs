//! Reads the store, the device-mapper and the mount table.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use catenoid_kernel_base::files::Folder;
use catenoid_kernel_storage::{
    mount::mounts_in,
    verity::{self, DeviceMapper},
};
use catenoid_names::objects;
use catenoid_schema::{digest::Digest, guest::Verity};

use crate::{
    Blob, Error, Observed, ObservedDevice, ObservedMount, Quotas,
    store::{Generation, altered_digest, is_blob, is_partial, partial_digest},
};

/// All blobs, those that are `wanted` in any case, all devices of guests, all that is mounted in `mounts`, the folder of mount
/// points.
pub(crate) fn observe(
    folders: &(Folder, Folder),
    wanted: &BTreeSet<Digest>,
    generation: &Generation,
    mounts: &Path,
) -> Result<Observed, Error> {
    let (mut observed, inodes) = stored(folders, wanted, generation)?;
    let devices = DeviceMapper::open().and_then(|dm| dm.devices()).map_err(Error::Devices)?;
    for device in &devices {
        let image = device.file.and_then(|inode| inodes.get(&inode).copied());
        let verity = device.table.as_ref().map(read_table);
        observed.devices.insert(device.guest.clone(), ObservedDevice { verity, image, corrupt: device.corrupt });
    }
    observed.mounts = read_mounts(mounts, &devices)?;
    Ok(observed)
}

/// Blobs by the device and the inode that each is.
type Inodes = BTreeMap<(u64, u64), Digest>;

/// What is in the store, and which inode has which blob.
fn stored(
    (blobs, incoming): &(Folder, Folder),
    wanted: &BTreeSet<Digest>,
    generation: &Generation,
) -> Result<(Observed, Inodes), Error> {
    let (mut observed, mut inodes) = (Observed::default(), Inodes::new());
    let listed = blobs.list(is_blob).map_err(Error::Store)?.files;
    // More than the store takes were not pushed, whatever their times say.
    let all_pushed = listed.len() <= Quotas::default().blobs;
    // What is wanted is looked up by its name: a listing may end before it.
    let wanted = wanted.iter().filter_map(|digest| blobs.entry(&digest.to_hex()).ok()?);
    for entry in listed.into_iter().chain(wanted) {
        if let Ok(digest) = Digest::from_hex(&entry.name) {
            inodes.insert(entry.inode, digest);
            observed.blobs.insert(digest, Blob { size: entry.size, fresh: all_pushed && generation.is_of(&entry) });
        }
    }
    let marks = blobs.list(|name| altered_digest(name).is_some()).map_err(Error::Store)?.files;
    observed.altered.extend(marks.iter().filter_map(|mark| altered_digest(&mark.name)));
    for entry in incoming.list(is_partial).map_err(Error::Store)?.files {
        observed.partials.extend(partial_digest(&entry.name).map(|digest| (digest, generation.is_of(&entry))));
    }
    Ok((observed, inodes))
}

/// The table as descriptors say it.
fn read_table(table: &verity::Table) -> Verity {
    Verity {
        root_hash: Digest::from_bytes(table.root_hash),
        salt: Digest::from_bytes(table.salt),
        data_blocks: table.data_blocks,
    }
}

/// What is mounted where guests belong.
pub(crate) fn read_mounts(folder: &Path, devices: &[verity::Device]) -> Result<BTreeMap<String, ObservedMount>, Error> {
    let mut mounts = BTreeMap::new();
    for mount in mounts_in(folder).map_err(Error::Mounts)? {
        let id = mount.target.file_name().and_then(|name| name.to_str()).filter(|id| objects::is_id(id));
        let Some(id) = id.map(ToOwned::to_owned) else { continue };
        let device = devices.iter().find(|device| device.number == mount.device).map(|device| device.guest.clone());
        let locked = mount.locked && mount.whole && mount.kind == "erofs";
        let stacked = mounts.contains_key(&id);
        mounts.insert(
            id,
            if stacked { ObservedMount { device: None, locked: false } } else { ObservedMount { device, locked } },
        );
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use catenoid_kernel_base::files::FILES_LIMIT;

    use super::*;
    use crate::store;

    #[test]
    fn a_wanted_blob_is_seen_among_any_number_of_others_and_those_are_garbage() {
        let data = tempfile::tempdir().unwrap();
        let folders = store::folders(data.path()).unwrap();
        let of = |number: usize| Digest::of(&number.to_be_bytes());
        let mut names: Vec<_> = (0..FILES_LIMIT + 200).map(|number| of(number).to_hex()).collect();
        for name in &names {
            std::fs::write(data.path().join("blobs").join(name), "").unwrap();
        }
        let listed: BTreeSet<_> = folders.0.list(is_blob).unwrap().files.into_iter().map(|file| file.name).collect();
        names.retain(|name| !listed.contains(name));
        assert_eq!(names.len(), 200);
        let wanted = BTreeSet::from([Digest::from_hex(&names[0]).unwrap()]);
        let (observed, inodes) = stored(&folders, &wanted, &Generation::default()).unwrap();
        assert_eq!(observed.blobs.len(), FILES_LIMIT + 1);
        assert!(observed.blobs.keys().any(|digest| wanted.contains(digest)));
        assert_eq!(inodes.len(), FILES_LIMIT + 1);
        assert!(observed.blobs.values().all(|blob| !blob.fresh), "the store takes no such number");
    }
}
