//! The one way to lock.
//!
//! What a lock guards is held for a moment: nobody waits, awaits or changes anything outside of the process meanwhile. So no
//! order of locks is needed, and who wants one waits for nothing long.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what nobody leaves half-changed, whatever became of who had it before.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
