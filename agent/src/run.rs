//! The agent proper: puts the parts together, then serves and reconciles until it is ended.
//!
//! Four threads: this one serves the control interface; the other one runs passes, so that a long step never keeps a
//! caller waiting. They share the accepted manifest one way and the snapshot the other way. A third one writes the audit log,
//! and the guard has a fourth.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use catenoid_containers::{Containers, Paths};
use catenoid_core::{HELD_BACK, chain};
use catenoid_guests::Store;
use catenoid_kernel_base::{machine, wait::Notify};
use catenoid_kernel_boot::{init, watchdog::Life};
use catenoid_schema::{
    allocate,
    anchors::Anchors,
    cbor, document,
    manifest::ContainerRole,
    name::{Name, NameError, Serial},
    status::Device,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    accept::{factory::FactoryRestore, intake::Intake, manifest::AcceptedManifest},
    clock, console, control,
    init::{partition, records::Records},
    pass::{
        guard::{self, Guard},
        hold::Holds,
        rooms,
        state::{Pass, begin_no_more},
        status::Snapshot,
        thread::{self, Passes},
        upkeep::Upkeep,
    },
    paths::{ANCHORS, CONTROL, DATA, LAUNCHER, LEDGER_COPY, RUN},
    record::{audit::Audit, event::NewEvent},
};

/// How often PID 1 is shown that the agent lives while a pass takes long.
const SIGN: Duration = Duration::from_secs(40);
/// A pass that takes longer hangs: containers that are ended have their grace, an image of the greatest size is read.
const LONG_PASS: Duration = Duration::from_secs(1800);
/// Before a control socket that broke is made again.
const SOCKET_PAUSE: Duration = Duration::from_secs(5);

/// Why the agent does not run. PID 1 starts it again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Signals do not get through.
    #[error(transparent)]
    Signals(#[from] init::Error),
    /// There is no place for its state.
    #[error("the device has no place for its state")]
    Storage(#[from] partition::Error),
    /// A file of the boot image or of the kernel could not be read, or a folder not made.
    #[error("failed to read or make `{what}`")]
    Read {
        /// Its path, or what it says.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The anchors of the boot image are not anchors.
    #[error("`{ANCHORS}` holds no anchors")]
    Anchors(#[source] cbor::Error),
    /// The firmware states something that is not a serial.
    #[error("the firmware's serial cannot be used")]
    Serial(#[source] NameError),
    /// A room cannot be entered.
    #[error("a room cannot be entered")]
    Rooms(#[from] rooms::OpenError),
    /// The room of containers cannot be entered.
    #[error("a room cannot be entered")]
    Containers(#[from] catenoid_containers::Error),
    /// There are no passes any more.
    #[error("the agent cannot go on")]
    Passes(#[from] thread::Error),
    /// A thread or runtime could not be made, or ended.
    #[error("the agent cannot go on: {what}")]
    Runtime {
        /// What could not be made, or ended.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Runs the agent; returns only if it cannot go on.
///
/// # Errors
/// See [`Error`].
pub(crate) fn run() -> Result<std::convert::Infallible, Error> {
    tracing_subscriber::fmt().with_ansi(false).with_target(false).with_writer(console::log).init();
    let started = clock::now();
    init::let_signals_through()?;
    init::raise_open_files().map_err(|source| Error::Runtime { what: "it may not have open files", source })?;
    let life = Life::take().map_err(|source| Error::Runtime { what: "PID 1 cannot hear that it lives", source })?;
    guard::let_all_go_on();
    partition::mount_data()?;
    let device = device()?;
    let data = Path::new(DATA);
    let moved = partition::make_way(data);
    let notify = Notify::new().map_err(|source| Error::Runtime { what: "nothing to notify the pass by", source })?;
    let audit = Audit::open(&data.join("audit"), &device.boot_id, notify.clone());
    let audit = Arc::new(audit.map_err(|source| Error::Runtime { what: "no thread for the audit log", source })?);
    let mut records = Records::of_pid_1();
    records.look().into_iter().chain(moved).for_each(|event| audit.note(event));
    audit.note(NewEvent::by_device("AgentStarted", None, format!("version {}", device.agent)));
    let holds = Arc::new(Holds::open(data, Path::new(RUN), notify.clone()));
    if let Some(condition) = holds.boot_condition() {
        audit.note(NewEvent::by_device(HELD_BACK, None, condition.message));
    }
    let store = Arc::new(Store::open(data));
    store.sift().into_iter().map(partition::unsettled).for_each(|event| audit.note(event));
    let generation = store.generation();
    let gate = Arc::new(tokio::sync::Mutex::new(()));
    let (serial, state) = (device.serial.clone(), (data, Path::new(LEDGER_COPY)));
    let intake =
        Intake::open(anchors()?, serial, state, audit.clone(), generation.clone(), gate.clone(), holds.level());
    let intake = Arc::new(intake);
    store.settle().into_iter().map(partition::unsettled).for_each(|event| audit.note(event));
    partition::put_aside().for_each(|event| audit.note(event));
    let mut factory_restore = FactoryRestore::default();
    factory_restore.look(&intake, &store, &audit);
    if intake.watch().borrow().is_none() {
        // There is no factory's manifest either that could stand in.
        intake.go_on();
    }
    let containers = Arc::new(Containers::open(Paths::default(), Path::new(LAUNCHER), notify.clone())?);
    let doors = rooms::open(containers.clone(), generation, notify.clone())?;
    let pass = Pass::new(doors, audit.clone(), gate);
    let (publisher, snapshot) = watch::channel(Arc::new(Snapshot::default()));
    let accepted = intake.watch();
    let upkeep = Upkeep { intake: intake.clone(), store: store.clone(), holds: holds.clone(), audit: audit.clone() };
    let alarm = Notify::new().map_err(|source| Error::Runtime { what: "nothing to notify the guard by", source })?;
    stand_guard(accepted.clone(), holds.clone(), audit.clone(), alarm.clone());
    let log = audit.clone();
    let agent = control::Agent { intake, store, containers, holds, audit, snapshot, device, started };
    let (passes_ended, pass_ends) = watch::channel(());
    let passes = Passes {
        pass,
        upkeep,
        records,
        factory_restore,
        accepted: accepted.clone(),
        publisher,
        ended: passes_ended,
        alarm,
    };
    let notify_pass = notify.clone();
    let passing = std::thread::Builder::new().name("pass".to_owned()).spawn(move || passes.run(notify_pass));
    let passing = passing.map_err(|source| Error::Runtime { what: "no thread for the pass", source })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Runtime { what: "no runtime", source })?;
    runtime.block_on(async {
        let ended = tokio::task::spawn_blocking(move || passing.join());
        tokio::select! {
            never = serve(Arc::new(agent), accepted, &notify) => match never {},
            never = show_life(life, pass_ends) => match never {},
            ended = end_when_asked(log) => match ended? {},
            ended = ended => match ended {
                Ok(Ok(Err(error))) => Err(error.into()),
                _ => Err(Error::Runtime { what: "the pass ended", source: io::ErrorKind::Other.into() }),
            },
        }
    })
}

/// Ends the agent when PID 1 asks everybody to end, once what happened is written down. PID 1 does not wait for ever.
async fn end_when_asked(audit: Arc<Audit>) -> Result<std::convert::Infallible, Error> {
    let failed = |source| Error::Runtime { what: "it would not hear that it is to end", source };
    let mut asked = signal(SignalKind::terminate()).map_err(failed)?;
    asked.recv().await;
    begin_no_more();
    // What cannot be written, for want of space, is lost with the memory that it waits in.
    let _ = tokio::task::spawn_blocking(move || audit.settle()).await;
    std::process::exit(0)
}

fn device() -> Result<Device, Error> {
    let read = |what| move |source| Error::Read { what, source };
    Ok(Device {
        serial: machine::serial().map_err(read("serial"))?.parse::<Serial>().map_err(Error::Serial)?,
        boot_id: machine::boot_id().map_err(read("boot id"))?,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: machine::kernel_release().map_err(read("kernel release"))?,
    })
}

/// Believed because the boot image that carries them was signed.
fn anchors() -> Result<Anchors, Error> {
    let bytes = fs::read(ANCHORS).map_err(|source| Error::Read { what: ANCHORS, source })?;
    document::decode(&bytes).map_err(Error::Anchors)
}

/// Starts the guard. A device without one still runs, and says so.
fn stand_guard(
    accepted: watch::Receiver<Option<Arc<AcceptedManifest>>>,
    holds: Arc<Holds>,
    audit: Arc<Audit>,
    alarm: Notify,
) {
    let log = audit.clone();
    let note_missing = move |error: guard::Error| log.note(NewEvent::by_device("GuardMissing", None, chain(&error)));
    match Guard::open(accepted, holds, audit, alarm) {
        Ok(guard) => {
            let failed = note_missing.clone();
            let watching =
                std::thread::Builder::new().name("guard".to_owned()).spawn(move || note_missing(guard.watch()));
            if let Err(error) = watching {
                failed(guard::Error::NoThread(error));
            }
        }
        Err(error) => note_missing(error),
    }
}

/// Shows PID 1 that both threads live: this one by showing it, the other one by its passes. One that ends in its first pass,
/// again and again, has shown no life.
async fn show_life(mut life: Option<Life>, mut pass_ends: watch::Receiver<()>) -> std::convert::Infallible {
    let mut last = Instant::now();
    if pass_ends.changed().await.is_err() {
        // The thread ended, and with it the agent.
        std::future::pending::<()>().await;
    }
    loop {
        if last.elapsed() < LONG_PASS {
            life.iter_mut().for_each(Life::show);
        }
        // While nothing happens the passes come first, and nobody wakes for this alone.
        match tokio::time::timeout(SIGN, pass_ends.changed()).await {
            Ok(Ok(())) => last = Instant::now(),
            Ok(Err(_)) => std::future::pending::<()>().await,
            Err(_) => {}
        }
    }
}

/// Keeps one socket for each core container of the accepted manifest, and wakes the pass when another is accepted.
async fn serve(
    agent: Arc<control::Agent>,
    mut accepted: watch::Receiver<Option<Arc<AcceptedManifest>>>,
    notify: &Notify,
) -> std::convert::Infallible {
    let mut sockets: BTreeMap<(Name, u32), JoinHandle<()>> = BTreeMap::new();
    loop {
        let target = accepted.borrow_and_update().clone();
        let wanted = target.map(|target| control_clients(&target)).unwrap_or_default();
        sockets.retain(|client, served| {
            let stays = wanted.contains(client) && !served.is_finished();
            if !stays {
                served.abort();
            }
            stays
        });
        for client in wanted {
            sockets.entry(client.clone()).or_insert_with(|| tokio::spawn(socket(agent.clone(), client)));
        }
        if accepted.changed().await.is_err() {
            // The intake lives as long as `agent`, which this function holds.
            std::future::pending::<()>().await;
        }
        notify.notify();
    }
}

/// The containers that may speak to us, with the id that their root has out here.
fn control_clients(target: &AcceptedManifest) -> Vec<(Name, u32)> {
    let ranges = allocate::id_ranges(&target.manifest);
    let core = target.manifest.containers.iter().filter(|(_, container)| container.role == ContainerRole::Core);
    core.filter_map(|(name, _)| Some((name.clone(), *ranges.get(name)?))).collect()
}

async fn socket(agent: Arc<control::Agent>, (container, owner): (Name, u32)) {
    let socket = Path::new(CONTROL).join(container.as_str()).join("control.sock");
    loop {
        if let Err(error) = control::serve(agent.clone(), &socket, container.as_str(), owner).await {
            let message = format!("`{container}`: {}", chain(&error));
            agent.audit.note(NewEvent::by_device("ControlSocketFailed", None, message));
        }
        #[expect(clippy::disallowed_methods, reason = "nobody announces that a socket can be made again")]
        tokio::time::sleep(SOCKET_PAUSE).await;
    }
}
