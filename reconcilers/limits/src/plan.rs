//! From the groups that are there to the groups that are wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use catenoid_core::{Asked, Plan, Planner};
use catenoid_schema::{
    status::{Subject, SubjectStatus},
    units::{ByteSize, Cpu},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer as _},
};

use crate::{
    Desired,
    desired::{desired, value},
    status::{status, subject},
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
    fn default_value(self) -> Value {
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

/// One effect of this room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Makes the group of a container.
    MakeGroup {
        /// Whose.
        container: String,
    },
    /// Sets one control.
    SetLimit {
        /// Whose.
        container: String,
        /// Which.
        control: Control,
        /// To what.
        value: Value,
        /// What it was before; nothing if the group has no such control.
        was: Option<Value>,
    },
    /// Removes a group. Fails while a process lives in it.
    RemoveGroup {
        /// Whose.
        container: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeGroup { container } => write!(f, "make the control group of `{container}`"),
            Self::SetLimit { container, control, value, was } => {
                write!(f, "set {control} of `{container}` to {}", value.shown(*control))?;
                match was {
                    Some(was) => write!(f, " (was {})", was.shown(*control)),
                    None => f.write_str(" (was not there)"),
                }
            }
            Self::RemoveGroup { container } => write!(f, "remove the control group of `{container}`"),
        }
    }
}

impl catenoid_core::Step for Step {
    type Observed = Observed;

    fn subject(&self) -> Subject {
        match self {
            Self::MakeGroup { container } | Self::SetLimit { container, .. } | Self::RemoveGroup { container } => {
                subject(container)
            }
        }
    }

    fn effect_on(&self, observed: &mut Observed) {
        match self {
            Self::MakeGroup { container } => {
                let new = || observed.offered.iter().map(|control| (*control, control.default_value())).collect();
                observed.groups.entry(container.clone()).or_insert_with(new);
            }
            Self::SetLimit { container, control, value, .. } => {
                if let Some(group) = observed.groups.get_mut(container) {
                    group.insert(*control, value.clone());
                }
            }
            Self::RemoveGroup { container } => {
                observed.groups.remove(container);
            }
        }
    }
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

/// The pure half of this room.
#[derive(Debug)]
pub enum LimitsPlanner {}

impl Planner for LimitsPlanner {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    const NAME: &'static str = "limits";

    fn desired(asked: &Asked<'_>) -> Desired {
        desired(asked.manifest)
    }

    fn satisfied(desired: &Desired, observed: &Observed) -> bool {
        let wanted: BTreeSet<&str> = desired.containers.keys().map(|name| name.as_str()).collect();
        let present: BTreeSet<&str> = observed.groups.keys().map(String::as_str).collect();
        wanted == present
            && desired.containers.iter().all(|(name, limits)| {
                let group = &observed.groups[name.as_str()];
                let swapless = match group.get(&Control::Swap) {
                    None => !observed.offered.contains(&Control::Swap),
                    Some(swap) => *swap == Value::At(0),
                };
                let reserved = match group.get(&Control::Reserve) {
                    None => limits.reserve.bytes() == 0 || !observed.offered.contains(&Control::Reserve),
                    Some(reserve) => *reserve == Value::At(limits.reserve.bytes()),
                };
                swapless
                    && reserved
                    && group.get(&Control::Cpu) == Some(&Value::At(limits.cpu.thousandths().into()))
                    && group.get(&Control::Memory) == Some(&Value::At(limits.memory.bytes()))
                    && group.get(&Control::Pids) == Some(&Value::At(limits.pids.into()))
                    && group.get(&Control::OomGroup) == Some(&Value::At(1))
            })
    }

    fn plan(desired: &Desired, observed: &Observed) -> Plan<Step> {
        let mut plan = Plan::default();
        for name in observed.groups.keys() {
            if !desired.holds(name) {
                plan.retire.push(Step::RemoveGroup { container: name.clone() });
            }
        }
        for (name, limits) in &desired.containers {
            let container = name.to_string();
            let group = observed.groups.get(name.as_str()).cloned().unwrap_or_else(|| {
                plan.establish.push(Step::MakeGroup { container: container.clone() });
                observed.offered.iter().map(|control| (*control, control.default_value())).collect()
            });
            for control in Control::ALL {
                let (value, was) = (value(limits, control), group.get(&control).cloned());
                let offered = observed.offered.contains(&control);
                // What else the kernel lacks is set all the same, and fails.
                if was.as_ref().map_or(!needless(control, &value, offered), |was| *was != value) {
                    plan.establish.push(Step::SetLimit { container: container.clone(), control, value, was });
                }
            }
        }
        plan
    }

    fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
        status(desired, observed)
    }
}
