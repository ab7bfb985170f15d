//! Memory that is not taken away for anybody: `memory.min`, bytes. Half of the core container's memory, `RESERVE` at
//! most, stays its own, so that the device can be spoken to whatever the others take.

use catenoid_names::ControlFile;
use catenoid_schema::{
    manifest::{Container, ContainerRole},
    units::ByteSize,
};

use super::{Bounds, Control, Limit, Value};

/// The kernel keeps whole pages.
const PAGE: u64 = 4096;
/// The most that the core container has in reserve: what its programs, a shell and the connections to it work with.
const RESERVE: ByteSize = ByteSize::from_mebibytes(64);

impl Control {
    /// Memory that is not taken away for anybody: bytes.
    pub const RESERVE: Self = Self::new("reserve", &Reserve);
}

struct Reserve;

pub(super) const fn none() -> ByteSize {
    ByteSize::from_bytes(0)
}

/// The reserve of `container`.
pub(super) fn of(container: &Container) -> ByteSize {
    let half = ByteSize::from_bytes(container.limits.memory.bytes() / 2 / PAGE * PAGE);
    if container.role == ContainerRole::Core { half.min(RESERVE) } else { none() }
}

impl Limit for Reserve {
    fn file(&self) -> ControlFile {
        ControlFile { controller: "memory", file: "memory.min" }
    }

    fn new_value(&self) -> Value {
        Value::At(0)
    }

    fn wanted(&self, bounds: &Bounds) -> Value {
        Value::At(bounds.reserve.bytes())
    }

    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, offered: bool) -> bool {
        match is {
            None => bounds.reserve == none() || !offered,
            Some(is) => *is == Value::At(bounds.reserve.bytes()),
        }
    }

    /// Who is to keep nothing keeps nothing, and what looked may be a version that knows of no reserve.
    fn is_needless(&self, bounds: &Bounds, offered: bool) -> bool {
        !offered || self.wanted(bounds) == Value::At(0)
    }

    fn number(&self, bytes: u64) -> String {
        ByteSize::from_bytes(bytes).to_string()
    }

    fn is_bounded_above(&self) -> bool {
        true
    }
}
