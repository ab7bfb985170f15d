//! `src/record/rounds.rs` in every order in which its threads can meet, by loom.

#[path = "../src/record/rounds.rs"]
mod rounds;

/// What `rounds` waits with, here loom's.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

use loom::{sync::Arc, thread};
use rounds::Rounds;

/// What waits for the worker, and what it has handled.
#[derive(Debug, Default)]
struct Work {
    waiting: Vec<u32>,
    handled: Vec<u32>,
}

fn start(rounds: &Arc<Rounds<Work>>) -> thread::JoinHandle<()> {
    let rounds = rounds.clone();
    thread::spawn(move || {
        rounds.work(|| {
            let taken = std::mem::take(&mut rounds.hold().waiting);
            // The disk: others go on meanwhile.
            thread::yield_now();
            rounds.hold().handled.extend(taken);
        });
    })
}

fn leave(rounds: &Rounds<Work>, item: u32) {
    let mut held = rounds.hold();
    held.waiting.push(item);
    rounds.ask(&mut held);
}

/// In every order with at most two switches that no thread asked for: more find nothing new for a long time.
fn in_every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn whoever_settles_finds_its_own_handled() {
    in_every_order(|| {
        let rounds = Arc::new(Rounds::new(Work::default()));
        let worker = start(&rounds);
        let other = thread::spawn({
            let rounds = rounds.clone();
            move || {
                leave(&rounds, 1);
                assert!(rounds.settle().handled.contains(&1));
            }
        });
        leave(&rounds, 2);
        assert!(rounds.settle().handled.contains(&2));
        other.join().unwrap();
        rounds.close();
        worker.join().unwrap();
    });
}

#[test]
fn whoever_closes_has_all_handled_once() {
    in_every_order(|| {
        let rounds = Arc::new(Rounds::new(Work::default()));
        let worker = start(&rounds);
        leave(&rounds, 1);
        leave(&rounds, 2);
        rounds.close();
        worker.join().unwrap();
        assert_eq!(rounds.hold().handled, [1, 2]);
    });
}

#[test]
fn a_worker_that_nobody_asks_ends() {
    in_every_order(|| {
        let rounds = Arc::new(Rounds::new(Work::default()));
        let worker = start(&rounds);
        rounds.close();
        worker.join().unwrap();
        assert!(rounds.hold().handled.is_empty());
    });
}
