//! Reads the store, the device-mapper and the mount table.

use std::{collections::BTreeMap, path::Path};

use catenoid_kernel::{
    files::Folder,
    mount::mounts_in,
    name,
    verity::{self, DeviceMapper},
};
use catenoid_schema::{digest::Digest, guest::Verity};

use crate::{
    Blob, Device, Mount, Observed,
    apply::Error,
    store::{Generation, altered_digest, partial_digest},
};

/// All blobs, all devices of guests, all that is mounted in `mounts`, the folder of mount points.
pub(crate) fn observe(
    blobs: &Folder,
    incoming: &Folder,
    generation: &Generation,
    mounts: &Path,
) -> Result<Observed, Error> {
    let mut observed = Observed::default();
    let mut inodes = BTreeMap::new();
    for entry in blobs.list().map_err(Error::Store)? {
        if let Ok(digest) = Digest::from_hex(&entry.name) {
            inodes.insert(entry.inode, digest);
            observed.blobs.insert(digest, Blob { size: entry.size, fresh: generation.is_of(&entry) });
        }
        observed.altered.extend(altered_digest(&entry.name));
    }
    for entry in incoming.list().map_err(Error::Store)? {
        observed.partials.extend(partial_digest(&entry.name).map(|digest| (digest, generation.is_of(&entry))));
    }
    let devices = DeviceMapper::open().and_then(|dm| dm.devices()).map_err(Error::Devices)?;
    for device in &devices {
        let image = device.file.and_then(|inode| inodes.get(&inode).copied());
        let verity = device.table.as_ref().map(read_table);
        observed.devices.insert(device.guest.clone(), Device { verity, image, corrupt: device.corrupt });
    }
    observed.mounts = read_mounts(mounts, &devices)?;
    Ok(observed)
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
pub(crate) fn read_mounts(folder: &Path, devices: &[verity::Device]) -> Result<BTreeMap<String, Mount>, Error> {
    let mut mounts = BTreeMap::new();
    for mount in mounts_in(folder).map_err(Error::Mounts)? {
        let id = mount.target.file_name().and_then(|name| name.to_str()).filter(|id| name::is_id(id));
        let Some(id) = id.map(ToOwned::to_owned) else { continue };
        let device = devices.iter().find(|device| device.number == mount.device).map(|device| device.guest.clone());
        let locked = mount.locked && mount.whole && mount.kind == "erofs";
        let stacked = mounts.contains_key(&id);
        mounts.insert(id, if stacked { Mount { device: None, locked: false } } else { Mount { device, locked } });
    }
    Ok(mounts)
}
