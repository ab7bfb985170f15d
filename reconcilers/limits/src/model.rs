//! What there is of control groups: what each of them is set to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use catenoid_schema::{
    status::{Kind, Subject},
    units::{ByteSize, Cpu},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer as _},
};

/// Something that a container's group limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// Processor time: thousandths of one processor.
    Cpu,
    /// Memory: bytes.
    Memory,
    /// Whether the out-of-memory killer ends all processes together: 0 or 1.
    OomGroup,
    /// Processes and threads.
    Pids,
    /// Memory that is not taken away for anybody: bytes.
    Reserve,
    /// Swap: bytes.
    Swap,
}

impl Control {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Cpu, Self::Memory, Self::OomGroup, Self::Pids, Self::Reserve, Self::Swap];

    /// What a new group has.
    pub(crate) fn default_value(self) -> Value {
        match self {
            Self::OomGroup | Self::Reserve => Value::At(0),
            Self::Cpu | Self::Memory | Self::Pids | Self::Swap => Value::Word("max".to_owned()),
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::OomGroup => "oom group",
            Self::Pids => "pids",
            Self::Reserve => "reserve",
            Self::Swap => "swap",
        })
    }
}

/// What a control is set to, in the unit of the control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A limit.
    At(u64),
    /// `max`, or a form that we never write.
    Word(String),
}

impl Value {
    /// For people.
    pub(crate) fn shown(&self, control: Control) -> String {
        match (self, control) {
            (Self::Word(word), _) => word.clone(),
            (Self::At(bytes), Control::Memory | Control::Reserve | Control::Swap) => {
                ByteSize::from_bytes(*bytes).to_string()
            }
            (Self::At(thousandths), Control::Cpu) => match u32::try_from(*thousandths) {
                Ok(thousandths) => Cpu::from_thousandths(thousandths).to_string(),
                Err(_) => format!("{}", thousandths / 1000),
            },
            (Self::At(number), Control::OomGroup | Control::Pids) => number.to_string(),
        }
    }
}

/// The group of one container: each control that it has, and what it is set to.
pub type Group = BTreeMap<Control, Value>;

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The controls that this kernel gives to groups.
    #[serde(deserialize_with = "known_controls")]
    pub offered: BTreeSet<Control>,
    /// The groups below `catenoid/` by name. A group of ours that no container can be called by is there to be removed.
    #[serde(deserialize_with = "known_groups")]
    pub groups: BTreeMap<String, Group>,
}

/// The control of that name; none for one of a later version, in which this version's plan has no part.
fn known(name: String) -> Option<Control> {
    let control: Result<_, de::value::Error> = Control::deserialize(name.into_deserializer());
    control.ok()
}

fn known_controls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Control>, D::Error> {
    Ok(Vec::deserialize(deserializer)?.into_iter().filter_map(known).collect())
}

fn known_groups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Group>, D::Error> {
    /// A value of this version, or of a control that only a later one has.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Value(Value),
        Later(de::IgnoredAny),
    }
    let groups = BTreeMap::<String, BTreeMap<String, Any>>::deserialize(deserializer)?;
    let of_this_version = |(name, value): (String, Any)| match value {
        Any::Value(value) => Some((known(name)?, value)),
        Any::Later(_) => None,
    };
    let of = |group: BTreeMap<_, _>| group.into_iter().filter_map(of_this_version).collect();
    Ok(groups.into_iter().map(|(container, group)| (container, of(group))).collect())
}

/// Whether a group without this control is as it is wanted: without swap there is nothing to limit, who is to keep nothing
/// keeps nothing, and what looked may be a version that knows of no reserve.
pub(crate) fn needless(control: Control, wanted: &Value, offered: bool) -> bool {
    match control {
        Control::Swap => !offered,
        Control::Reserve => !offered || *wanted == Value::At(0),
        Control::Cpu | Control::Memory | Control::OomGroup | Control::Pids => false,
    }
}

/// The subject that the limits of `container` are reported under: the container itself. So a limit that could not be set
/// holds back its start.
pub(crate) fn subject(container: &str) -> Subject {
    Subject::new(Kind::Container, container)
}
