//! Maps, mounts and removes.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use catenoid_core::{Applied, Readiness, Reconciler, Signals, Source};
use catenoid_kernel_base::{
    changes::MountTable,
    files::{self, Folder},
    lock,
    wait::Notify,
};
use catenoid_kernel_storage::{
    loop_device::LoopDevice,
    mount::{self, mount_image, unmount_all},
    uevent,
    verity::{self, DeviceMapper},
};
use catenoid_schema::{
    digest::Digest,
    guest::{BLOCK_SIZE, Verity},
};

use crate::{
    Desired, Error, Generation, GuestsPlanner, Observed, Step, observe,
    reading::{Known, Readings},
    store,
};

/// Where this room keeps things.
#[derive(Debug, Clone)]
pub struct GuestPaths {
    /// The data partition, `/data`; this room has `blobs` and `incoming` in it.
    pub data: PathBuf,
    /// State of this boot, `/run/catenoid`, without links in it; this room has `guests` in it.
    pub run: PathBuf,
}

/// The half of this room that has effects.
#[derive(Debug, Clone)]
pub struct Guests {
    doors: Arc<Doors>,
}

#[derive(Debug)]
struct Doors {
    data: PathBuf,
    mounts: PathBuf,
    generation: Generation,
    /// Blobs that are looked up by their names.
    wanted: Mutex<BTreeSet<Digest>>,
    readings: Readings,
    /// What announces devices and mounts, once it was asked for.
    heard: Mutex<[Option<Arc<dyn Source>>; SOURCES.len()]>,
}

/// A device came or went, or was mapped anew; dm-verity found a block that is not what was signed.
#[derive(Debug)]
struct Devices(uevent::Announcements);

impl AsFd for Devices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Source for Devices {
    fn drain(&self) -> io::Result<()> {
        self.0.drain().map(drop)
    }
}

/// Something was mounted or unmounted.
#[derive(Debug)]
struct Mounts(MountTable);

impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Source for Mounts {
    fn drain(&self) -> io::Result<()> {
        Ok(())
    }

    /// The kernel remembers what it has reported to this open file.
    fn readiness(&self) -> Readiness {
        Readiness::Exception
    }
}

type Open = fn() -> io::Result<Arc<dyn Source>>;

/// What is listened to, and how that is opened.
const SOURCES: [(&str, Open); 2] = [
    ("devices", || Ok(Arc::new(Devices(uevent::Announcements::listen()?)))),
    ("mounts", || Ok(Arc::new(Mounts(MountTable::open()?)))),
];

impl Guests {
    /// The room at `paths`. `generation` is the one of the store that blobs are pushed to; `notify` wakes the pass when an
    /// image was read.
    #[must_use]
    pub fn new(paths: &GuestPaths, generation: Generation, notify: Notify) -> Self {
        let (data, mounts) = (paths.data.clone(), paths.run.join("guests"));
        let (wanted, heard, readings) = (Mutex::default(), Mutex::default(), Readings::new(notify));
        let doors = Doors { data, mounts, generation, wanted, readings, heard };
        Self { doors: Arc::new(doors) }
    }

    /// Where the guest whose descriptor has `digest` is mounted once this room has done its part.
    #[must_use]
    pub fn mount_point(run: &Path, digest: &Digest) -> PathBuf {
        run.join("guests").join(digest.short())
    }
}

impl Reconciler for Guests {
    type Planner = GuestsPlanner;
    type Error = Error;

    fn look_for(&self, desired: &Desired) {
        let images = desired.guests.values().map(|wanted| wanted.image);
        let wanted = images.chain(desired.guests.keys().copied()).chain(desired.unread.iter().copied()).collect();
        *lock(&self.doors.wanted) = wanted;
    }

    fn signals(&self, _: &Desired, _: &Observed) -> Signals {
        let files = [self.doors.data.clone(), self.doors.data.join("blobs")].into();
        let mut heard = lock(&self.doors.heard);
        let mut unheard = Vec::new();
        for (place, (what, open)) in heard.iter_mut().zip(SOURCES).filter(|(place, _)| place.is_none()) {
            match open() {
                Ok(source) => *place = Some(source),
                Err(error) => unheard.push(format!("{what}: {error}")),
            }
        }
        Signals { files, sources: heard.iter().flatten().cloned().collect(), unheard }
    }

    async fn observe(&self) -> Result<Observed, Error> {
        let doors = self.doors.clone();
        let observe = move || {
            let folders = store::folders(&doors.data).map_err(Error::Store)?;
            let wanted = lock(&doors.wanted).clone();
            let mut observed = observe::observe(&folders, &wanted, &doors.generation, &doors.mounts)?;
            observed.read = doors.readings.progress();
            Ok(observed)
        };
        tokio::task::spawn_blocking(observe).await.map_err(Error::BrokenOff)?
    }

    async fn apply(&self, step: &Step) -> Result<Applied, Error> {
        let (doors, step) = (self.doors.clone(), step.clone());
        tokio::task::spawn_blocking(move || doors.apply(step)).await.map_err(Error::BrokenOff)?
    }
}

impl Doors {
    fn apply(&self, step: Step) -> Result<Applied, Error> {
        let (blobs, incoming) = store::folders(&self.data).map_err(Error::Store)?;
        let remove = |blob, result: Result<(), files::Error>| result.map_err(|source| Error::Remove { blob, source });
        let done = match step {
            Step::MapVerity { guest, label, image, verity } => self.map(&blobs, &guest, label, &image, &verity),
            Step::MountGuest { guest, label } => return self.mount(&blobs, &guest, label),
            Step::UnmountGuest { guest, label } => {
                unmount_all(&self.mounts.join(guest)).map_err(|source| match &source {
                    mount::Error::Unmount { source: cause, .. } if cause.kind() == std::io::ErrorKind::ResourceBusy => {
                        Error::InUse { guest: label }
                    }
                    _ => Error::Unmount { guest: label, source },
                })
            }
            Step::UnmapVerity { guest, label } => {
                self.readings.stop(&guest);
                let unmap = DeviceMapper::open().and_then(|dm| dm.remove(&guest));
                unmap.map_err(|source| match source {
                    verity::Error::InUse { .. } => Error::InUse { guest: label },
                    source => Error::Unmap { guest: label, source },
                })
            }
            Step::DiscardAltered { image, .. } => remove(image, store::discard_altered(&blobs, &image)),
            Step::RemoveBlob { blob } | Step::RemoveCut { image: blob } => remove(blob, blobs.remove(&blob.to_hex())),
            Step::RemovePartial { blob } => remove(blob, store::remove_partial(&incoming, &blob)),
            Step::ForgetAltered { image } => remove(image, blobs.remove(&store::altered_name(&image))),
        };
        done.map(|()| Applied::Done)
    }

    // [req->TSF-INIT] [req->SF-4]
    fn map(&self, blobs: &Folder, guest: &str, label: String, image: &Digest, verity: &Verity) -> Result<(), Error> {
        let open = |source| Error::Open { guest: label.clone(), source };
        let map = |source| Error::Map { guest: label.clone(), source };
        let name = image.to_hex();
        // An image that cannot be opened is lost, and can be pushed again.
        let file = blobs.insist(&name, || blobs.read(&name)).map_err(open)?;
        let inode = blobs.entry(&name).map_err(open)?.map(|entry| entry.inode);
        let table = verity::Table {
            root_hash: *verity.root_hash.as_bytes(),
            salt: *verity.salt.as_bytes(),
            data_blocks: verity.data_blocks,
        };
        let dm = DeviceMapper::open().map_err(map)?;
        let is_so = dm.device(guest).map_err(map)?.is_some_and(|d| d.table == Some(table) && d.file == inode);
        if is_so {
            return Ok(());
        }
        self.readings.stop(guest);
        let behind = LoopDevice::attach(&file).map_err(|source| Error::Attach { guest: label.clone(), source })?;
        dm.map(guest, &behind, &table).map_err(map)
    }

    // [req->TSF-INIT] [req->APS-02] [req->NDR-3.2] [req->NDR-2.4-1]
    fn mount(&self, blobs: &Folder, guest: &str, label: String) -> Result<Applied, Error> {
        let dm = DeviceMapper::open().map_err(Error::Devices)?;
        let find = || dm.device(guest).map_err(Error::Devices);
        let Some(device) = find()? else { return Err(Error::NotMapped { guest: label }) };
        let mounts = observe::read_mounts(&self.mounts, std::slice::from_ref(&device))?;
        if mounts.get(guest).is_some_and(|mount| mount.locked && mount.device.is_some()) {
            return Ok(Applied::Done);
        }
        let bytes = device.table.as_ref().map_or(0, |table| table.data_blocks.saturating_mul(BLOCK_SIZE.into()));
        // Every block is checked before anything is run from them, not only those that are needed at first.
        match self.readings.of(&device, bytes) {
            Known::Whole => {
                let mounted = mount_image(&verity::node(&device), &self.mounts.join(guest));
                mounted.map(|()| Applied::Done).map_err(|source| Error::Mount { guest: label, source })
            }
            Known::NotYet => Ok(Applied::Underway { look_in: None }),
            Known::Unreadable(source) if find()?.is_some_and(|device| device.corrupt) => {
                Err(Error::Altered { guest: label, source })
            }
            Known::Unreadable(source) => {
                // What the disk does not give back is lost, and can be pushed again.
                let images = blobs.list(store::is_blob).map_err(Error::Store)?.files;
                if let Some(image) = images.iter().find(|image| Some(image.inode) == device.file) {
                    blobs.put_aside(&image.name, &source).map_err(Error::Store)?;
                }
                Err(Error::Read { guest: label, source })
            }
        }
    }
}

const _: () = assert!(BLOCK_SIZE == 4096, "the verity door has blocks of 4096 bytes");
