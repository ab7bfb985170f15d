//! The thread of the passes: it runs one whenever something wakes it.

use std::{convert::Infallible, io, sync::Arc, time::Instant};

use catenoid_core::Signals;
use catenoid_kernel_base::wait::Notify;
use tokio::{runtime::Runtime, sync::watch};

use super::{
    guard,
    state::{AcceptedReceiver, Pass},
    status::Snapshot,
    upkeep::Upkeep,
    wake::{LOOK_ANYWAY, Wake},
};
use crate::{
    accept::factory::FactoryRestore,
    clock,
    init::{partition, records::Records},
    record::event::NewEvent,
};

/// Seconds by which the wall clock may move against the other one before it counts as set: what time servers correct
/// little by little does not.
const NO_JUMP: i64 = 2;

/// Why there are no passes any more. PID 1 starts the agent again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing can run a pass.
    #[error("no runtime for the pass")]
    Runtime(#[source] io::Error),
    /// It cannot be listened to what changes.
    #[error("nothing can wake the pass")]
    Listen(#[source] io::Error),
    /// It cannot be listened to any more.
    #[error("what wakes the pass broke")]
    Wake(#[source] io::Error),
}

/// What the thread works with.
pub(crate) struct Passes {
    pub(crate) pass: Pass,
    pub(crate) upkeep: Upkeep,
    pub(crate) records: Records,
    pub(crate) factory_restore: FactoryRestore,
    pub(crate) accepted: AcceptedReceiver,
    /// Gets what each pass left behind.
    pub(crate) publisher: watch::Sender<Arc<Snapshot>>,
    /// Notified when there is nothing left to do.
    pub(crate) ended: watch::Sender<()>,
    /// Wakes the guard.
    pub(crate) alarm: Notify,
}

/// What a pass leaves to wait for.
struct Next {
    signals: Signals,
    /// When the next pass is due at the latest.
    due: Option<Instant>,
}

impl Passes {
    /// Runs a pass whenever something wakes it; `notify` is what others wake it by.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn run(mut self, notify: Notify) -> Result<Infallible, Error> {
        // With a worker, so that containers' output is read while this thread waits for something to do.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        // The thread that does a pass's work is there for the next: its end would wake an agent that has nothing to do.
        runtime.worker_threads(1).thread_keep_alive(2 * LOOK_ANYWAY).enable_all();
        let runtime = runtime.build().map_err(Error::Runtime)?;
        let mut wake = Wake::listen(notify).map_err(Error::Listen)?;
        let mut wall = clock::ahead_of_boot();
        loop {
            self.before_a_pass(&mut wall);
            let mut due = None;
            if let Some(next) = self.one_pass(&runtime) {
                due = next.due;
                // What happened before it was listened to woke nobody: then the next pass looks at once.
                if wake.hear(next.signals) {
                    continue;
                }
            }
            self.ended.send_replace(());
            if guard::is_low() {
                self.alarm.notify();
            }
            wake.next(due).map_err(Error::Wake)?;
        }
    }

    /// What is looked at whether a manifest is accepted or not. `wall` is by how much the wall clock was ahead before.
    fn before_a_pass(&mut self, wall: &mut i64) {
        let Upkeep { intake, store, audit, .. } = &self.upkeep;
        let ahead = clock::ahead_of_boot();
        let jump = ahead - std::mem::replace(wall, ahead);
        if jump.abs() > NO_JUMP {
            let way = if jump > 0 { "forward" } else { "back" };
            audit.note(NewEvent::by_device("ClockSet", None, format!("{} s {way}", jump.abs())));
        }
        self.records.look().into_iter().for_each(|event| audit.note(event));
        intake.read_again();
        self.factory_restore.look(intake, store, audit);
        partition::put_aside().for_each(|event| audit.note(event));
    }

    /// Runs a pass towards what is accepted, if anything is.
    fn one_pass(&mut self, runtime: &Runtime) -> Option<Next> {
        let holds = &self.upkeep.holds;
        let Some(target) = self.upkeep.intake.begin_pass() else {
            holds.look(false);
            return None;
        };
        let outcome = runtime.block_on(self.pass.run(&target, holds, self.upkeep.look(), &self.accepted));
        holds.look(outcome.as_it_is_to_be);
        self.publisher.send_replace(Arc::new(outcome.snapshot));
        outcome.ended.into_iter().for_each(|ended| self.upkeep.audit.note(ended));
        let due = outcome.again.into_iter().chain(holds.next()).min();
        Some(Next { signals: outcome.signals, due })
    }
}
