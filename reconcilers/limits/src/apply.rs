//! Makes, limits and removes groups.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use catenoid_core::{Applied, Reconciler, Signals};
use catenoid_kernel_base::lock;
use catenoid_kernel_cgroup::{self as cgroup, Disk, Hierarchy};
use catenoid_kernel_storage::disk::set_scheduler;
use catenoid_names::objects;

use crate::{Control, Desired, Error, LimitsPlanner, Observed, Step, Value, observe};

/// The half of this room that has effects.
#[derive(Debug)]
pub struct Limits {
    hierarchy: Hierarchy,
    /// The folder of the containers' groups.
    groups: PathBuf,
    disk: Option<Disk>,
    known: Mutex<observe::Known>,
}

impl Limits {
    /// Opens the hierarchy at `base`, usually `/sys/fs/cgroup`, and enables the controllers that limits need. One that
    /// the kernel lacks fails the steps that need it. `disk` is the one that the device's data lie on.
    ///
    /// # Errors
    /// [`Error::Prepare`], [`Error::Listen`].
    pub fn open(base: &Path, disk: Option<Disk>) -> Result<Self, Error> {
        let hierarchy = Hierarchy::open(base).map_err(Error::Prepare)?;
        prepare(&hierarchy)?;
        let groups = base.join(objects::CGROUP);
        let known = Mutex::new(observe::Known::new(&groups, disk).map_err(Error::Listen)?);
        Ok(Self { hierarchy, groups, disk, known })
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
        observe::observe(&self.hierarchy, &mut lock(&self.known))
    }

    // [req->APS-04] [req->CR-7.2]
    async fn apply(&self, step: &Step) -> Result<Applied, Error> {
        let done = match step.clone() {
            Step::MakeGroup { container } => {
                prepare(&self.hierarchy)?;
                self.hierarchy.make_group(&container).map_err(|source| Error::MakeGroup { container, source })
            }
            Step::SetLimit { container, control, value, .. } => self.set_limit(container, control, &value),
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

impl Limits {
    fn set_limit(&self, container: String, control: Control, value: &Value) -> Result<(), Error> {
        let Some(text) = control.text(value, self.disk) else { return Err(Error::NoDisk { container, control }) };
        if let (Some(disk), Some(scheduler)) = (self.disk, control.scheduler())
            && let Err(source) = set_scheduler(disk, scheduler)
        {
            return Err(Error::Scheduler { container, control, source });
        }
        if control.is_bounded_above() {
            // The group above it may have been changed.
            prepare(&self.hierarchy)?;
        }
        let write = || self.hierarchy.write_limit(&container, control.file(), &text);
        let written = match write() {
            // A controller that somebody took away from the groups is given back.
            Err(cgroup::Error::Controller { .. }) => {
                prepare(&self.hierarchy)?;
                write()
            }
            written => written,
        };
        written.map_err(|source| Error::SetLimit { container, control, source })
    }
}

/// Makes the groups' parent ready, with the controllers that any limit needs. Those that only limits of the disk need
/// may fail: most containers ask for none.
fn prepare(hierarchy: &Hierarchy) -> Result<(), Error> {
    let of = |is_of_disk| {
        let controls = Control::ALL.into_iter().filter(move |control| control.is_of_disk() == is_of_disk);
        controls.map(|control| control.file().controller).collect::<BTreeSet<_>>()
    };
    let (needed, optional) = (of(false), of(true));
    let optional: Vec<_> = optional.difference(&needed).copied().collect();
    hierarchy.prepare(&Vec::from_iter(needed), &optional).map(drop).map_err(Error::Prepare)
}
