//! What a container's group limits: one file for each limit, with all that belongs to it alone, and the list of them.

mod cpu;
mod io;
mod io_weight;
mod memory;
mod oom_group;
mod pids;
mod reserve;
mod swap;

use std::{borrow::Cow, cmp::Ordering, fmt};

use catenoid_names::{ControlFile, Disk};
use catenoid_schema::{
    manifest::{Container, ResourceLimits},
    units::ByteSize,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

impl Control {
    /// All of them, by name. A limit joins the room here.
    pub const ALL: [Self; 11] = [
        Self::CPU,
        Self::IO_READ_BPS,
        Self::IO_READ_IOPS,
        Self::IO_WEIGHT,
        Self::IO_WRITE_BPS,
        Self::IO_WRITE_IOPS,
        Self::MEMORY,
        Self::OOM_GROUP,
        Self::PIDS,
        Self::RESERVE,
        Self::SWAP,
    ];
}

/// Something that a container's group limits. It is known by its name.
#[derive(Clone, Copy)]
pub struct Control {
    /// In what is observed. Stored statuses have it, so it stays.
    name: &'static str,
    limit: &'static dyn Limit,
}

/// All that the room knows of one limit.
trait Limit: Sync {
    /// Its name for people, where it is another one.
    fn shown(&self) -> Option<&'static str> {
        None
    }

    /// The file that the kernel has it in.
    fn file(&self) -> ControlFile;

    /// What a new group has.
    fn new_value(&self) -> Value {
        Value::Word("max".into())
    }

    /// What is asked of it.
    fn wanted(&self, bounds: &Bounds) -> Value;

    /// Whether a group where it `is` so, or is missing, is as `bounds` ask. `offered`: whether it is missing although the
    /// kernel gives it to groups. This is the oracle that the plan is tested against: it is written apart from [`Limit::wanted`] and
    /// [`Limit::is_needless`].
    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, offered: bool) -> bool;

    /// Whether it may be missing where `bounds` are asked.
    fn is_needless(&self, bounds: &Bounds, offered: bool) -> bool {
        let _ = (bounds, offered);
        false
    }

    /// `number`, in the unit of the limit, for people.
    fn number(&self, number: u64) -> String {
        number.to_string()
    }

    /// Its key in the line of the device's disk, for a file that has a line for each disk. Lines of other disks are
    /// left alone: nothing of a container lies there.
    fn disk_key(&self) -> Option<&'static str> {
        None
    }

    /// The scheduler that the device's disk needs for it. The step that sets it gives the disk that scheduler, for all
    /// groups.
    fn scheduler(&self) -> Option<&'static str> {
        None
    }

    /// What the file says, or what stands behind the key. A form that we never write is a word.
    fn read(&self, text: &str) -> Value {
        plain(text)
    }

    /// `number`, in the unit of the limit, as the file takes it, or behind the key.
    fn text(&self, number: u64) -> String {
        number.to_string()
    }

    /// Whether an operator sees it of a healthy container that has this value.
    fn is_fact(&self, value: &Value) -> bool {
        let _ = value;
        false
    }

    /// Whether a group has as much of it as the group above it at most.
    fn is_bounded_above(&self) -> bool {
        false
    }
}

/// What one container can use up, and what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// What the manifest says.
    #[serde(flatten)]
    pub limits: ResourceLimits,
    /// Memory that is not taken away for anybody.
    #[serde(default = "reserve::none")]
    pub reserve: ByteSize,
}

impl Bounds {
    /// Of `container`.
    #[must_use]
    pub fn of(container: &Container) -> Self {
        Self { limits: container.limits, reserve: reserve::of(container) }
    }
}

/// What a limit is set to, in the unit of the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A limit.
    At(u64),
    /// `max`, or a form that we never write.
    Word(Cow<'static, str>),
}

impl Control {
    const fn new(name: &'static str, limit: &'static dyn Limit) -> Self {
        Self { name, limit }
    }

    /// The one of that name; none for one of a later version.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|control| control.name == name)
    }

    /// The file that the kernel has it in.
    #[must_use]
    pub fn file(self) -> ControlFile {
        self.limit.file()
    }

    /// Whether it is of the device's disk. A device may lack one that can be limited so.
    #[must_use]
    pub fn is_of_disk(self) -> bool {
        self.limit.disk_key().is_some() || self.scheduler().is_some()
    }

    /// The scheduler that the device's disk needs for it.
    #[must_use]
    pub fn scheduler(self) -> Option<&'static str> {
        self.limit.scheduler()
    }

    /// All of them in the order of steps: those that a device may lack come last, so that the others are set all the
    /// same.
    pub(crate) fn in_order_of_steps() -> impl Iterator<Item = Self> {
        let of = |is_of_disk| Self::ALL.into_iter().filter(move |control| control.is_of_disk() == is_of_disk);
        of(false).chain(of(true))
    }

    /// What is reported where it is asked and not offered.
    pub(crate) fn lack(self) -> String {
        match self.scheduler() {
            Some(scheduler) => format!("{self} needs the scheduler `{scheduler}`, which the disk does not have"),
            None if self.is_of_disk() => format!("the kernel or the disk cannot limit {self}"),
            None => format!("the kernel cannot limit {self}"),
        }
    }

    /// What the file's text says of a device whose data lie on `disk`; none if it needs a disk, and there is none.
    #[must_use]
    pub fn read(self, text: &str, disk: Option<Disk>) -> Option<Value> {
        let Some(key) = self.limit.disk_key() else { return Some(self.limit.read(text)) };
        let disk = format!("{} ", disk?);
        let line = text.lines().find_map(|line| line.strip_prefix(&*disk)).unwrap_or_default();
        let value = line.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        // A disk without a line has no limit.
        Some(value.map_or_else(|| self.limit.new_value(), |value| self.limit.read(value)))
    }

    /// `value` as the file of a device takes it whose data lie on `disk`; none if it needs a disk, and there is none.
    #[must_use]
    pub fn text(self, value: &Value, disk: Option<Disk>) -> Option<String> {
        let value = match value {
            Value::At(number) => self.limit.text(*number),
            Value::Word(word) => word.to_string(),
        };
        match self.limit.disk_key() {
            Some(key) => Some(format!("{} {key}={value}", disk?)),
            None if self.is_of_disk() => disk.map(|_| value),
            None => Some(value),
        }
    }

    /// Whether a group has as much of it as the group above it at most.
    #[must_use]
    pub fn is_bounded_above(self) -> bool {
        self.limit.is_bounded_above()
    }

    /// `value` for people.
    pub(crate) fn show(self, value: &Value) -> String {
        match value {
            Value::At(number) => self.limit.number(*number),
            Value::Word(word) => word.to_string(),
        }
    }

    pub(crate) fn new_value(self) -> Value {
        self.limit.new_value()
    }

    pub(crate) fn wanted(self, bounds: &Bounds) -> Value {
        self.limit.wanted(bounds)
    }

    pub(crate) fn is_met(self, bounds: &Bounds, is: Option<&Value>, offered: bool) -> bool {
        self.limit.is_met(bounds, is, offered)
    }

    pub(crate) fn is_needless(self, bounds: &Bounds, offered: bool) -> bool {
        self.limit.is_needless(bounds, offered)
    }

    pub(crate) fn is_fact(self, value: &Value) -> bool {
        self.limit.is_fact(value)
    }
}

/// For people.
impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.limit.shown().unwrap_or(self.name))
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Control {}

impl PartialOrd for Control {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Control {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Control {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| de::Error::custom(format!("no control is called `{name}`")))
    }
}

/// A number alone, or a word.
fn plain(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::Word(text.to_owned().into()), Value::At)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_those_of_stored_statuses_and_in_order() {
        let names = Control::ALL.map(|control| control.name);
        let first = ["cpu", "memory", "oomGroup", "pids", "reserve", "swap"];
        let io = ["ioReadBps", "ioReadIops", "ioWeight", "ioWriteBps", "ioWriteIops"];
        assert_eq!(BTreeSet::from(names), first.into_iter().chain(io).collect());
        assert!(names.is_sorted(), "statuses are in the order of names");
        assert_eq!(Control::named("later"), None);
    }

    #[test]
    fn what_a_device_may_lack_is_set_last() {
        let steps: Vec<_> = Control::in_order_of_steps().collect();
        assert_eq!(BTreeSet::from_iter(steps.clone()), BTreeSet::from(Control::ALL));
        let is_of_io = |control: &Control| control.file().controller == "io";
        assert!(steps.is_sorted_by_key(is_of_io), "{steps:?}");
    }
}
