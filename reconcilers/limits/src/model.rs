//! What there is of control groups: what each of them is set to.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_schema::status::{Kind, Subject};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Control, Value};

/// The group of one container: each control that it has, and what it is set to.
pub type Group = BTreeMap<Control, Value>;

/// A group that was just made, of a kernel that gives it the controls `offered`.
pub(crate) fn new_group(offered: &BTreeSet<Control>) -> Group {
    offered.iter().map(|control| (*control, control.new_value())).collect()
}

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

/// The controls of these names, without those of a later version, in which this version's plan has no part.
fn known_controls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Control>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| Control::named(name)).collect())
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
        Any::Value(value) => Some((Control::named(&name)?, value)),
        Any::Later(_) => None,
    };
    let of = |group: BTreeMap<_, _>| group.into_iter().filter_map(of_this_version).collect();
    Ok(groups.into_iter().map(|(container, group)| (container, of(group))).collect())
}

/// The subject that the limits of `container` are reported under: the container itself. So a limit that could not be
/// set holds back its start.
pub(crate) fn subject(container: &str) -> Subject {
    Subject::new(Kind::Container, container)
}
