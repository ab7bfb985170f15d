//! The share of the device's disk that a container has while others want it too: `io.bfq.weight`, `default 100`.
//! Further lines are of single disks, and not ours. It binds only while the disk has the scheduler `bfq`
//! (Documentation/block/bfq-iosched.rst).

use catenoid_names::ControlFile;

use super::{Bounds, Control, Limit, Value, plain};

/// What the kernel gives who asks nothing.
const DEFAULT: u64 = 100;

impl Control {
    /// Its share of the disk, against the shares of others.
    pub const IO_WEIGHT: Self = Self::new("ioWeight", &IoWeight);
}

struct IoWeight;

impl Limit for IoWeight {
    fn shown(&self) -> Option<&'static str> {
        Some("io.weight")
    }

    fn file(&self) -> ControlFile {
        ControlFile { controller: "io", file: "io.bfq.weight" }
    }

    fn scheduler(&self) -> Option<&'static str> {
        Some("bfq")
    }

    fn new_value(&self) -> Value {
        Value::At(DEFAULT)
    }

    fn wanted(&self, bounds: &Bounds) -> Value {
        let asked = bounds.limits.io.and_then(|io| io.weight);
        Value::At(asked.map_or(DEFAULT, u64::from))
    }

    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, offered: bool) -> bool {
        match (bounds.limits.io.and_then(|io| io.weight), is) {
            (asked, None) => asked.is_none() && !offered,
            (None, Some(is)) => *is == Value::At(DEFAULT),
            (Some(asked), Some(is)) => *is == Value::At(asked.into()),
        }
    }

    /// Who asks for no share gives the disk no other scheduler. Who asks for the usual one does.
    fn is_needless(&self, bounds: &Bounds, offered: bool) -> bool {
        !offered && bounds.limits.io.is_none_or(|io| io.weight.is_none())
    }

    fn read(&self, text: &str) -> Value {
        let usual = text.lines().find_map(|line| line.strip_prefix("default "));
        usual.map_or_else(|| plain(text), plain)
    }

    /// Most containers have no other.
    fn is_fact(&self, value: &Value) -> bool {
        *value != self.new_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_without_those_of_single_disks() {
        for (text, value) in [
            ("default 100", Value::At(100)),
            ("default 500\n254:0 7", Value::At(500)),
            ("254:0 7\ndefault 1", Value::At(1)),
            ("300", Value::At(300)),
            ("default max", Value::Word("max".into())),
            ("", Value::Word("".into())),
        ] {
            assert_eq!(IoWeight.read(text), value, "`{text}`");
        }
        assert_eq!(IoWeight.text(500), "500");
    }
}
