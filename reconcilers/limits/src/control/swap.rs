//! Swap: `memory.swap.max`, bytes, or `max`. It always is none, so that the limit of memory says all of it.

use catenoid_names::ControlFile;
use catenoid_schema::units::ByteSize;

use super::{Bounds, Control, Limit, Value};

impl Control {
    /// Swap: bytes.
    pub const SWAP: Self = Self::new("swap", &Swap);
}

struct Swap;

impl Limit for Swap {
    fn file(&self) -> ControlFile {
        ControlFile { controller: "memory", file: "memory.swap.max" }
    }

    fn wanted(&self, _: &Bounds) -> Value {
        Value::At(0)
    }

    fn is_met(&self, _: &Bounds, is: Option<&Value>, offered: bool) -> bool {
        is.map_or(!offered, |is| *is == Value::At(0))
    }

    /// Without swap there is nothing to limit.
    fn is_needless(&self, _: &Bounds, offered: bool) -> bool {
        !offered
    }

    fn number(&self, bytes: u64) -> String {
        ByteSize::from_bytes(bytes).to_string()
    }
}
