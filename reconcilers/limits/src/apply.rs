//! Makes, limits and removes groups.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use catenoid_core::{Applied, Reconciler, RoomError, Signals};
use catenoid_kernel::{
    cgroup::{self, Hierarchy},
    lock, name,
};
use catenoid_schema::status::Blame;

use crate::{Control, Desired, LimitsPlanner, Observed, Step, Value, observe};

/// Microseconds in which a container may use up its share of processors: the kernel's own default.
const PERIOD: u64 = 100_000;

/// What went wrong with control groups.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hierarchy could not be set up.
    #[error("failed to set up the hierarchy of control groups")]
    Prepare(#[source] cgroup::Error),
    /// Nothing tells of changes.
    #[error("failed to listen to control groups")]
    Listen(#[source] io::Error),
    /// The groups could not be read.
    #[error("failed to read the control groups")]
    Observe(#[source] cgroup::Error),
    /// The group could not be made.
    #[error("failed to make the control group of `{container}`")]
    MakeGroup {
        /// Whose.
        container: String,
        /// Why.
        source: cgroup::Error,
    },
    /// The limit could not be set.
    #[error("failed to set {control} of `{container}`")]
    SetLimit {
        /// Whose.
        container: String,
        /// Which.
        control: Control,
        /// Why.
        source: cgroup::Error,
    },
    /// The group could not be removed.
    #[error("failed to remove the control group of `{container}`")]
    RemoveGroup {
        /// Whose.
        container: String,
        /// Why.
        source: cgroup::Error,
    },
    /// The group holds processes that have not ended yet.
    #[error("the control group of `{container}` is still in use")]
    InUse {
        /// Whose.
        container: String,
    },
}

impl RoomError for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::Prepare(_) => Blame::Administrator,
            Self::SetLimit { source: cgroup::Error::Controller { .. }, .. } => Blame::Administrator,
            // The kernel refuses a value that the rules of the manifest let pass.
            Self::SetLimit { source: cgroup::Error::Write { source, .. }, .. }
                if source.kind() == io::ErrorKind::InvalidInput =>
            {
                Blame::Us
            }
            Self::Listen(_)
            | Self::Observe(_)
            | Self::MakeGroup { .. }
            | Self::SetLimit { .. }
            | Self::RemoveGroup { .. }
            | Self::InUse { .. } => Blame::Nobody,
        }
    }
}

/// The half of this room that has effects.
#[derive(Debug)]
pub struct Limits {
    hierarchy: Hierarchy,
    /// The folder of the containers' groups.
    groups: PathBuf,
    known: Mutex<observe::Known>,
}

impl Limits {
    /// Opens the hierarchy at `base`, usually `/sys/fs/cgroup`, and enables the controllers that limits need. One that
    /// the kernel lacks fails the steps that need it.
    ///
    /// # Errors
    /// [`Error::Prepare`], [`Error::Listen`].
    pub fn open(base: &Path) -> Result<Self, Error> {
        let hierarchy = Hierarchy::open(base).map_err(Error::Prepare)?;
        hierarchy.prepare().map_err(Error::Prepare)?;
        let groups = base.join(name::CGROUP);
        let known = Mutex::new(observe::Known::new(&groups).map_err(Error::Listen)?);
        Ok(Self { hierarchy, groups, known })
    }
}

impl Reconciler for Limits {
    type Planner = LimitsPlanner;
    type Error = Error;

    /// The files of a group report a limit that was changed by hand.
    fn signals(&self, desired: &Desired, _: &Observed) -> Signals {
        let groups = desired.containers.keys().map(|container| self.groups.join(container.as_str()));
        Signals { files: groups.chain([self.groups.clone()]).collect(), ..Signals::default() }
    }

    // [req->APS-04]
    async fn observe(&self) -> Result<Observed, Error> {
        observe::observe(&self.hierarchy, &mut lock(&self.known)).map_err(Error::Observe)
    }

    // [req->APS-04] [req->CR-7.2]
    async fn apply(&self, step: &Step) -> Result<Applied, Error> {
        let done = match step.clone() {
            Step::MakeGroup { container } => {
                self.hierarchy.prepare().map_err(Error::Prepare)?;
                self.hierarchy.make_group(&container).map_err(|source| Error::MakeGroup { container, source })
            }
            Step::SetLimit { container, control, value, .. } => {
                let write = || self.hierarchy.write_limit(&container, observe::file(control), &text(control, &value));
                if control == Control::Reserve {
                    // As much as its parent keeps at most.
                    self.hierarchy.prepare().map_err(Error::Prepare)?;
                }
                let written = match write() {
                    // A controller that somebody took away from the groups is given back.
                    Err(cgroup::Error::Controller { .. }) => {
                        self.hierarchy.prepare().map_err(Error::Prepare)?;
                        write()
                    }
                    written => written,
                };
                written.map_err(|source| Error::SetLimit { container, control, source })
            }
            Step::RemoveGroup { container } => self.hierarchy.remove_group(&container).map_err(|source| match source {
                cgroup::Error::Remove { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
                    Error::InUse { container }
                }
                source => Error::RemoveGroup { container, source },
            }),
        };
        done.map(|()| Applied::Done)
    }
}

/// `value` as the control file takes it.
fn text(control: Control, value: &Value) -> String {
    match (control, value) {
        (Control::Cpu, Value::At(thousandths)) => format!("{} {PERIOD}", thousandths.saturating_mul(PERIOD / 1000)),
        (_, Value::At(number)) => number.to_string(),
        (_, Value::Word(word)) => word.clone(),
    }
}
