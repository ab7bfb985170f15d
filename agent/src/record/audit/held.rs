//! A disk that is held in the middle of the first write, until it is let go: for tests of who waits for it.

use std::{
    fs::File,
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// How often it was forced, and whether it is free.
static AT: Mutex<(u32, bool)> = Mutex::new((0, false));
static CHANGED: Condvar = Condvar::new();

fn at() -> MutexGuard<'static, (u32, bool)> {
    AT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_until(is_so: impl Fn(&(u32, bool)) -> bool) {
    drop(CHANGED.wait_while(at(), |at| !is_so(at)));
}

/// A [`super::Force`] for one test.
pub(crate) fn force(file: &File) -> io::Result<()> {
    at().0 += 1;
    CHANGED.notify_all();
    wait_until(|(_, free)| *free);
    file.sync_data()
}

/// Waits until something is forced to it.
pub(crate) fn reached() {
    wait_until(|(count, _)| *count > 0);
}

/// Lets it go.
pub(crate) fn let_go() {
    at().1 = true;
    CHANGED.notify_all();
}

/// How often it was forced.
pub(crate) fn count() -> u32 {
    at().0
}
