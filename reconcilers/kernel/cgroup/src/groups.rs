//! The groups of containers, and what all of them use.

use std::io;

use super::{
    Error, Hierarchy,
    hierarchy::{control_file, group},
    mark::STILL,
    read::{found, gone_is_fine},
};
use catenoid_names::{ControlFile, objects};

impl Hierarchy {
    /// The containers that have a group.
    ///
    /// # Errors
    /// [`Error::Read`]; no group at all if `catenoid/` is not there yet.
    pub fn groups(&self) -> Result<Vec<String>, Error> {
        self.children(objects::CGROUP)
    }

    /// Bytes that all containers use together and cannot be taken from them, as far as their groups count it: no page cache,
    /// which is available to everybody.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn memory_in_use(&self) -> Result<u64, Error> {
        let parts = self.numbers(&format!("{}/memory.stat", objects::CGROUP), ["anon", "shmem", "kernel", "sock"])?;
        Ok(parts.iter().sum())
    }

    /// Microseconds that processors worked in the kernel for `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`], [`Error::Format`].
    pub fn system_time(&self, container: &str) -> Result<u64, Error> {
        let [time] = self.numbers(&format!("{}/cpu.stat", group(container)?), ["system_usec"])?;
        Ok(time)
    }

    /// Freezes all of `container` for a while. It is written down before that this is no drift.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Write`].
    pub fn freeze_group(&self, container: &str) -> Result<(), Error> {
        let group = group(container)?;
        let noted = self.write_attribute(&group, STILL, "1");
        gone_is_fine(noted.and_then(|()| self.write(&format!("{group}/cgroup.freeze"), "1")))
    }

    /// Lets all of `container` go on, which [`Hierarchy::freeze_group`] froze.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Write`].
    pub fn thaw_group(&self, container: &str) -> Result<(), Error> {
        let group = group(container)?;
        let thawed = self.write(&format!("{group}/cgroup.freeze"), "0");
        gone_is_fine(thawed.and_then(|()| self.write_attribute(&group, STILL, "0")))
    }

    /// Whether [`Hierarchy::freeze_group`] froze `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`].
    pub fn is_group_frozen(&self, container: &str) -> Result<bool, Error> {
        let [still] = self.attributes(&group(container)?, [STILL])?;
        Ok(still.is_some_and(|still| still == "1"))
    }

    /// Makes the group of `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Make`].
    pub fn make_group(&self, container: &str) -> Result<(), Error> {
        self.make(&group(container)?)
    }

    /// Removes the group of `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Remove`]: while it holds a leaf.
    pub fn remove_group(&self, container: &str) -> Result<(), Error> {
        self.remove(&group(container)?)
    }

    /// What a control file of the group holds, without the line feed; `None` if the group or the file is not there.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`].
    pub fn read_limit(&self, container: &str, control: ControlFile) -> Result<Option<String>, Error> {
        let file = control_file(&group(container)?, control)?;
        found(self.read(&file)).map(|text| text.map(|text| text.trim_end().to_owned()))
    }

    /// Writes a control file of the group.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Controller`] if the group lacks the file; [`Error::Write`].
    pub fn write_limit(&self, container: &str, control: ControlFile, value: &str) -> Result<(), Error> {
        let group = group(container)?;
        self.write(&control_file(&group, control)?, value).map_err(|error| match error {
            Error::Write { source, .. } if source.kind() == io::ErrorKind::NotFound && self.has(&group) => {
                Error::Controller { path: self.path.join(&group), control }
            }
            other => other,
        })
    }
}
