//! One thread that works in rounds, and threads that ask it for them: a round handles all that was there when it began.
//!
//! `tests/rounds.rs` runs this file under loom, which tries every order in which the threads can meet. So it takes what it
//! waits with from `sync`, and nothing from the standard library.

use std::ops::{Deref, DerefMut};

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the threads share, and who waits for whom.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    state: Mutex<State<T>>,
    /// That the worker is asked for a round, or has ended one.
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    shared: T,
    /// Rounds that the worker was asked for, and those that it ended.
    asked: u64,
    ended: u64,
    closed: bool,
}

/// The shared value, held for a moment: nobody waits for anything meanwhile.
pub(crate) struct SharedGuard<'a, T>(MutexGuard<'a, State<T>>);

impl<T> Deref for SharedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.shared
    }
}

impl<T> DerefMut for SharedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.shared
    }
}

impl<T> Rounds<T> {
    /// No round was asked for yet.
    pub(crate) fn new(shared: T) -> Self {
        let state = State { shared, asked: 0, ended: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Holds the shared value.
    pub(crate) fn hold(&self) -> SharedGuard<'_, T> {
        SharedGuard(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a round that handles what is there now; its number.
    pub(crate) fn ask(&self, held: &mut SharedGuard<'_, T>) -> u64 {
        held.0.asked += 1;
        self.changed.notify_all();
        held.0.asked
    }

    /// Waits until a round has ended that handled what is there now.
    pub(crate) fn settle(&self) -> SharedGuard<'_, T> {
        let mut held = self.hold();
        let round = self.ask(&mut held);
        self.wait_while(held, |state| state.ended < round)
    }

    /// Has the worker end once nothing that was asked for is left.
    pub(crate) fn close(&self) {
        self.hold().0.closed = true;
        self.changed.notify_all();
    }

    /// The worker: calls `work` for one round after the other, until closed.
    pub(crate) fn work(&self, mut work: impl FnMut()) {
        loop {
            let held = self.wait_while(self.hold(), |state| state.asked == state.ended && !state.closed);
            let round = held.0.asked;
            if round == held.0.ended {
                return;
            }
            drop(held);
            work();
            self.hold().0.ended = round;
            self.changed.notify_all();
        }
    }

    fn wait_while<'a>(&self, held: SharedGuard<'a, T>, is_so: impl Fn(&State<T>) -> bool) -> SharedGuard<'a, T> {
        let SharedGuard(mut state) = held;
        while is_so(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        SharedGuard(state)
    }
}
