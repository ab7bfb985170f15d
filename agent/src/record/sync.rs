//! What [`super::rounds`] waits with. Its test has loom's in this place.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
