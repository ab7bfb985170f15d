//! How the out-of-memory killer ends a container: `memory.oom.group`, `1` when it ends all processes together. It
//! always is so, so that no container lives on by halves.

use catenoid_names::ControlFile;

use super::{Bounds, Control, Limit, Value};

impl Control {
    /// Whether the out-of-memory killer ends all processes together: 0 or 1.
    pub const OOM_GROUP: Self = Self::new("oomGroup", &OomGroup);
}

struct OomGroup;

impl Limit for OomGroup {
    fn shown(&self) -> Option<&'static str> {
        Some("oom group")
    }

    fn file(&self) -> ControlFile {
        ControlFile { controller: "memory", file: "memory.oom.group" }
    }

    fn new_value(&self) -> Value {
        Value::At(0)
    }

    fn wanted(&self, _: &Bounds) -> Value {
        Value::At(1)
    }

    fn is_met(&self, _: &Bounds, is: Option<&Value>, _: bool) -> bool {
        matches!(is, Some(Value::At(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_read_as_a_number() {
        assert_eq!(OomGroup.read("1"), Value::At(1));
    }
}
