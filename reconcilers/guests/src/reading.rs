//! Reads images whole, beside everything else the device does: nothing is run from an image before each block of it is what was
//! signed, and nobody waits for that but who needs it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use catenoid_kernel_base::{files, lock, wait::Notify};
use catenoid_kernel_storage::verity;

/// How long a step waits for the end: an image that is read sooner costs no second pass.
const MOMENT: Duration = Duration::from_millis(250);
/// Images that are read at once: a disk is not faster by more, and what runs needs it too.
const AT_ONCE: usize = 2;

/// The images that are read.
#[derive(Debug)]
pub(crate) struct Readings {
    /// By guest.
    all: Mutex<BTreeMap<String, Arc<Reading>>>,
    /// Notified when one was read.
    notify: Notify,
}

/// An image that is read, or was.
#[derive(Debug)]
struct Reading {
    /// What it is read through, with its table and what is behind that.
    device: verity::Device,
    bytes: u64,
    read: AtomicU64,
    /// Whether nobody wants to know any more.
    is_stopped: AtomicBool,
    /// Whether it was read to its end.
    end: Mutex<Option<Result<bool, files::Error>>>,
    ended: Condvar,
}

/// What is known of an image.
#[derive(Debug)]
pub(crate) enum Known {
    /// All of it was read, and is what was signed.
    Whole,
    /// It is not, or the disk does not give it.
    Unreadable(files::Error),
    /// It is read; the pass is notified.
    NotYet,
}

impl Readings {
    pub(crate) fn new(notify: Notify) -> Self {
        Self { all: Mutex::default(), notify }
    }

    /// What is known of the image behind `device`; has it read if nothing is.
    pub(crate) fn of(&self, device: &verity::Device, bytes: u64) -> Known {
        let same = |reading: &&Arc<Reading>| reading.is_of(device);
        let begun = lock(&self.all).get(&device.guest).filter(same).cloned();
        // Once: every other pass that comes by does not wait.
        let moment = if begun.is_some() { Duration::ZERO } else { MOMENT };
        let Some(reading) = begun.or_else(|| self.begin(device, bytes)) else { return Known::NotYet };
        let end = lock(&reading.end);
        let wait = reading.ended.wait_timeout_while(end, moment, |end| end.is_none());
        let known = match wait.unwrap_or_else(PoisonError::into_inner).0.take() {
            None => return Known::NotYet,
            Some(Ok(true)) => Known::Whole,
            Some(Ok(false)) => Known::NotYet,
            Some(Err(error)) => Known::Unreadable(error),
        };
        lock(&self.all).remove(&device.guest);
        known
    }

    /// Begins, unless as many are read as may be: the end of one of them wakes the pass.
    fn begin(&self, device: &verity::Device, bytes: u64) -> Option<Arc<Reading>> {
        self.stop(&device.guest);
        let mut all = lock(&self.all);
        if all.values().filter(|reading| lock(&reading.end).is_none()).count() >= AT_ONCE {
            return None;
        }
        let (read, is_stopped) = (AtomicU64::new(0), AtomicBool::new(false));
        let (end, ended) = (Mutex::new(None), Condvar::new());
        let reading = Arc::new(Reading { device: device.clone(), bytes, read, is_stopped, end, ended });
        let (node, notify, own) = (verity::node(device), self.notify.clone(), Arc::clone(&reading));
        let work = move || {
            let read = || files::read_device(&node, |bytes| own.goes_on(bytes));
            // A disk that failed once may give it the second time.
            let end = read().or_else(|_| read());
            *lock(&own.end) = Some(end);
            own.ended.notify_all();
            notify.notify();
        };
        // Without a thread, for want of memory, the step is tried again by the next pass.
        std::thread::Builder::new().name("reading".to_owned()).spawn(work).ok()?;
        all.insert(device.guest.clone(), Arc::clone(&reading));
        Some(reading)
    }

    /// Has the image of `guest` not read any further, and waits for a moment until it is not in use any more.
    pub(crate) fn stop(&self, guest: &str) {
        let Some(reading) = lock(&self.all).remove(guest) else { return };
        reading.is_stopped.store(true, Ordering::Relaxed);
        let end = lock(&reading.end);
        drop(reading.ended.wait_timeout_while(end, MOMENT, |end| end.is_none()));
    }

    /// How much of each image is read, in hundredths.
    pub(crate) fn progress(&self) -> BTreeMap<String, u8> {
        let all = lock(&self.all);
        all.iter().map(|(guest, reading)| (guest.clone(), reading.percent())).collect()
    }
}

impl Reading {
    /// Whether it reads this device as it is now; that a block of it is not what was signed is what it finds out.
    fn is_of(&self, device: &verity::Device) -> bool {
        let of = |device: &verity::Device| (device.number, device.table, device.file);
        of(&self.device) == of(device)
    }

    fn goes_on(&self, bytes: u64) -> bool {
        self.read.store(bytes, Ordering::Relaxed);
        !self.is_stopped.load(Ordering::Relaxed)
    }

    fn percent(&self) -> u8 {
        let hundredths = self.read.load(Ordering::Relaxed).saturating_mul(100) / self.bytes.max(1);
        u8::try_from(hundredths.min(100)).unwrap_or(100)
    }
}
