//! What a container's group limits: one file for each limit, with all that belongs to it alone, and the list of them.

mod cpu;
mod memory;
mod oom_group;
mod pids;
mod reserve;
mod swap;

use std::{cmp::Ordering, fmt};

use catenoid_names::ControlFile;
use catenoid_schema::{
    manifest::{Container, ResourceLimits},
    units::ByteSize,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

impl Control {
    /// All of them, by name. A limit joins the room here.
    pub const ALL: [Self; 6] = [Self::CPU, Self::MEMORY, Self::OOM_GROUP, Self::PIDS, Self::RESERVE, Self::SWAP];
}

/// Something that a container's group limits. It is known by its name.
#[derive(Clone, Copy)]
pub struct Control(&'static dyn Limit);

/// All that the room knows of one limit.
trait Limit: Sync {
    /// Its name in what is observed. Stored statuses have it, so it stays.
    fn name(&self) -> &'static str;

    /// Its name for people.
    fn shown(&self) -> &'static str {
        self.name()
    }

    /// The file that the kernel has it in.
    fn file(&self) -> ControlFile;

    /// What a new group has.
    fn new_value(&self) -> Value {
        Value::Word("max".to_owned())
    }

    /// What is asked of it.
    fn wanted(&self, bounds: &Bounds) -> Value;

    /// Whether a group where it `is` so, or is missing, is as `bounds` ask. `offered`: whether the kernel gives it to groups.
    /// This is the oracle that the plan is tested against: it is written apart from [`Limit::wanted`] and
    /// [`Limit::is_needless`].
    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, offered: bool) -> bool;

    /// Whether it may be missing where `wanted` is asked.
    fn is_needless(&self, wanted: &Value, offered: bool) -> bool {
        let _ = (wanted, offered);
        false
    }

    /// `number`, in the unit of the limit, for people.
    fn number(&self, number: u64) -> String {
        number.to_string()
    }

    /// What the file says. A form that we never write is a word.
    fn read(&self, text: &str) -> Value {
        plain(text)
    }

    /// `number`, in the unit of the limit, as the file takes it.
    fn text(&self, number: u64) -> String {
        number.to_string()
    }

    /// Whether an operator sees it of a healthy container.
    fn is_fact(&self) -> bool {
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
    Word(String),
}

impl Control {
    /// The one of that name; none for one of a later version.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|control| control.0.name() == name)
    }

    /// The file that the kernel has it in.
    #[must_use]
    pub fn file(self) -> ControlFile {
        self.0.file()
    }

    /// What the file's text says.
    #[must_use]
    pub fn read(self, text: &str) -> Value {
        self.0.read(text)
    }

    /// `value` as the file takes it.
    #[must_use]
    pub fn text(self, value: &Value) -> String {
        match value {
            Value::At(number) => self.0.text(*number),
            Value::Word(word) => word.clone(),
        }
    }

    /// Whether a group has as much of it as the group above it at most.
    #[must_use]
    pub fn is_bounded_above(self) -> bool {
        self.0.is_bounded_above()
    }

    /// `value` for people.
    pub(crate) fn show(self, value: &Value) -> String {
        match value {
            Value::At(number) => self.0.number(*number),
            Value::Word(word) => word.clone(),
        }
    }

    pub(crate) fn new_value(self) -> Value {
        self.0.new_value()
    }

    pub(crate) fn wanted(self, bounds: &Bounds) -> Value {
        self.0.wanted(bounds)
    }

    pub(crate) fn is_met(self, bounds: &Bounds, is: Option<&Value>, offered: bool) -> bool {
        self.0.is_met(bounds, is, offered)
    }

    pub(crate) fn is_needless(self, wanted: &Value, offered: bool) -> bool {
        self.0.is_needless(wanted, offered)
    }

    pub(crate) fn is_fact(self) -> bool {
        self.0.is_fact()
    }
}

/// For people.
impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.shown())
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
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
        self.0.name().cmp(other.0.name())
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
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
    text.parse().map_or_else(|_| Value::Word(text.to_owned()), Value::At)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_stored_statuses_and_in_order() {
        let names = Control::ALL.map(|control| control.0.name());
        assert_eq!(names, ["cpu", "memory", "oomGroup", "pids", "reserve", "swap"]);
        assert!(names.is_sorted(), "steps and statuses are in the order of names");
        assert_eq!(Control::named("later"), None);
    }
}
