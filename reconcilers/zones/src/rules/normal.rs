//! The normal form of rules.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expression::prefix;

/// The chain that drops what says to be from a zone's subnet.
pub(super) const STANDING: &str = "from-standing";
/// The same of subnets in which the core container has no address, because they are a network of its uplink too.
pub(super) const HELD: &str = "from-held";

/// The rules in one place, in normal form: one JSON object a line; first tables, then sets, then chains, then rules, each
/// in the order of their text, but rules of one chain in their own order. No line means that there is no table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(Vec<String>);

impl Rules {
    /// From what nft lists or what is to be added: handles are left out, sets are sorted, and so is everything whose order
    /// says nothing.
    #[must_use]
    pub fn normal(objects: impl IntoIterator<Item = Value>) -> Self {
        let mut lines: Vec<_> = objects
            .into_iter()
            .map(|object| {
                let object = normal(object);
                let line = object.to_string();
                (order(&object, &line), line)
            })
            .collect();
        lines.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(lines.into_iter().map(|(_, line)| line).collect())
    }

    /// The objects, in an order in which they can be added.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        // Lines come from `normal`, or from a status that somebody wrote; what is no JSON is refused as such by nft.
        self.0.iter().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    }

    /// Whether there is no table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long the lines are together.
    #[cfg(feature = "kernel")]
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }

    /// The core container's rules, while it has no address in the subnets `held`, which are a network of its uplink too: who
    /// is there may reach it, and still nobody behind it.
    #[must_use]
    pub(crate) fn held_back(&self, held: &BTreeSet<IpNet>) -> Self {
        let held: Vec<_> = held.iter().map(prefix).collect();
        Self::normal(self.objects().into_iter().map(|mut object| {
            let about = |rule: &Value| held.contains(&rule["expr"][0]["match"]["right"]);
            if let Some(rule) = object.get_mut("rule").filter(|rule| rule["chain"] == STANDING && about(rule)) {
                rule["chain"] = HELD.into();
            }
            object
        }))
    }

    /// How many lines are rules.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().filter(|line| line.starts_with(r#"{"rule":"#)).count()
    }

    /// How many lines `other` lacks of these, and these of `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> (usize, usize) {
        let mut lines: BTreeMap<&str, isize> = BTreeMap::new();
        self.0.iter().for_each(|line| *lines.entry(line).or_default() += 1);
        other.0.iter().for_each(|line| *lines.entry(line).or_default() -= 1);
        let sum = |of: fn(isize) -> isize| lines.values().map(|count| of(*count).max(0).unsigned_abs()).sum();
        (sum(|more| more), sum(|more| -more))
    }
}

/// What a line is sorted by: kind, then the chain of a rule or the text of anything else.
fn order(object: &Value, line: &str) -> (usize, String) {
    const KINDS: [&str; 4] = ["table", "set", "chain", "rule"];
    let kind = KINDS.iter().position(|kind| object.get(kind).is_some());
    let text = match object.get("rule") {
        Some(rule) => ["family", "table", "chain"].map(|key| rule[key].as_str().unwrap_or_default()).join(" "),
        None => line.to_owned(),
    };
    // What is none of ours (a map, a counter) stands before the rules, which may use it.
    (kind.map_or(5, |kind| kind * 2), text)
}

/// Without handles, with sorted keys and sorted sets.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(normal).collect()),
        Value::Object(fields) => {
            // Sorted by hand: whether a map of `serde_json` sorts depends on what else is in the build.
            let mut sorted: BTreeMap<String, Value> = fields
                .into_iter()
                .filter(|(key, _)| key != "handle")
                .map(|(key, value)| (key, normal(value)))
                .collect();
            for key in ["set", "elem"] {
                if let Some(Value::Array(elements)) = sorted.get_mut(key) {
                    elements.sort_by_cached_key(ToString::to_string);
                }
            }
            Value::Object(sorted.into_iter().collect())
        }
        plain => plain,
    }
}
