//! Memory: `memory.max`, bytes, or `max`.

use catenoid_names::ControlFile;
use catenoid_schema::units::ByteSize;

use super::{Bounds, Control, Limit, Value};

impl Control {
    /// Memory: bytes.
    pub const MEMORY: Self = Self::new("memory", &Memory);
}

struct Memory;

impl Limit for Memory {
    fn file(&self) -> ControlFile {
        ControlFile { controller: "memory", file: "memory.max" }
    }

    fn wanted(&self, bounds: &Bounds) -> Value {
        Value::At(bounds.limits.memory.bytes())
    }

    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, _: bool) -> bool {
        matches!(is, Some(Value::At(bytes)) if ByteSize::from_bytes(*bytes) == bounds.limits.memory)
    }

    fn number(&self, bytes: u64) -> String {
        ByteSize::from_bytes(bytes).to_string()
    }

    fn is_fact(&self, _: &Value) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_shown_as_a_size() {
        assert_eq!(Memory.read("134217728"), Value::At(134_217_728));
        assert_eq!(Memory.read("max"), Value::Word("max".into()));
        assert_eq!(Memory.number(134_217_728), "128MiB");
    }
}
