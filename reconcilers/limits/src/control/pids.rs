//! Processes and threads: `pids.max`, tasks, or `max`.

use catenoid_names::ControlFile;

use super::{Bounds, Control, Limit, Value};

impl Control {
    /// Processes and threads.
    pub const PIDS: Self = Self::new("pids", &Pids);
}

struct Pids;

impl Limit for Pids {
    fn file(&self) -> ControlFile {
        ControlFile { controller: "pids", file: "pids.max" }
    }

    fn wanted(&self, bounds: &Bounds) -> Value {
        Value::At(bounds.limits.pids.into())
    }

    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, _: bool) -> bool {
        matches!(is, Some(Value::At(tasks)) if *tasks == u64::from(bounds.limits.pids))
    }

    fn is_fact(&self, _: &Value) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_the_kernel_never_writes_is_no_number() {
        assert_eq!(Pids.read("64"), Value::At(64));
        assert_eq!(Pids.read(""), Value::Word("".into()));
    }
}
