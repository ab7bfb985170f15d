//! The disk that the device's data lie on: `io.max`, a line for each disk (`254:0 rbps=1048576 wbps=max riops=max
//! wiops=max`). Four limits, one for each key: a write of one leaves the others. A disk without a line has no limit.

use catenoid_names::ControlFile;
use catenoid_schema::{manifest::IoLimits, units::ByteSize};

use super::{Bounds, Control, Limit, Value};

impl Control {
    /// Bytes read from the disk in a second.
    pub const IO_READ_BPS: Self = Self::new(
        "ioReadBps",
        &IoMax { shown: "io.readBps", key: "rbps", asked: |io| io.read_bps.map(ByteSize::bytes), number: size },
    );
    /// Reads from the disk in a second.
    pub const IO_READ_IOPS: Self = Self::new(
        "ioReadIops",
        &IoMax {
            shown: "io.readIops",
            key: "riops",
            asked: |io| io.read_iops.map(u64::from),
            number: |operations| operations.to_string(),
        },
    );
    /// Bytes written to the disk in a second.
    pub const IO_WRITE_BPS: Self = Self::new(
        "ioWriteBps",
        &IoMax { shown: "io.writeBps", key: "wbps", asked: |io| io.write_bps.map(ByteSize::bytes), number: size },
    );
    /// Writes to the disk in a second.
    pub const IO_WRITE_IOPS: Self = Self::new(
        "ioWriteIops",
        &IoMax {
            shown: "io.writeIops",
            key: "wiops",
            asked: |io| io.write_iops.map(u64::from),
            number: |operations| operations.to_string(),
        },
    );
}

/// One key of the file.
struct IoMax {
    shown: &'static str,
    key: &'static str,
    asked: fn(&IoLimits) -> Option<u64>,
    number: fn(u64) -> String,
}

fn size(bytes: u64) -> String {
    ByteSize::from_bytes(bytes).to_string()
}

impl Limit for IoMax {
    fn shown(&self) -> Option<&'static str> {
        Some(self.shown)
    }

    fn file(&self) -> ControlFile {
        ControlFile { controller: "io", file: "io.max" }
    }

    fn disk_key(&self) -> Option<&'static str> {
        Some(self.key)
    }

    fn wanted(&self, bounds: &Bounds) -> Value {
        bounds.limits.io.as_ref().and_then(self.asked).map_or_else(|| self.new_value(), Value::At)
    }

    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, offered: bool) -> bool {
        let asked = bounds.limits.io.and_then(|io| (self.asked)(&io));
        match is {
            None => asked.is_none() && !offered,
            Some(Value::At(number)) => asked == Some(*number),
            Some(Value::Word(word)) => asked.is_none() && word == "max",
        }
    }

    /// Where nothing is asked, a device may have no disk, a kernel not the controller.
    fn is_needless(&self, bounds: &Bounds, offered: bool) -> bool {
        !offered && self.wanted(bounds) == self.new_value()
    }

    fn number(&self, number: u64) -> String {
        (self.number)(number)
    }

    /// Most containers have no such limit.
    fn is_fact(&self, value: &Value) -> bool {
        *value != self.new_value()
    }
}

#[cfg(test)]
mod tests {
    use catenoid_names::Disk;

    use super::*;

    const DISK: Option<Disk> = Some(Disk { major: 254, minor: 0 });

    #[test]
    fn each_key_is_read_from_the_line_of_the_disk() {
        let (max, word) = (Value::Word("max".into()), |text: &str| Value::Word(text.to_owned().into()));
        for (text, bytes, operations) in [
            ("254:0 rbps=1048576 wbps=max riops=max wiops=500", Value::At(1 << 20), Value::At(500)),
            ("7:0 rbps=9 wbps=9 riops=9 wiops=9\n254:0 rbps=max wbps=max riops=max wiops=7", max.clone(), Value::At(7)),
            ("254:01 rbps=1 wiops=1\n1254:0 rbps=2 wiops=2", max.clone(), max.clone()),
            ("", max.clone(), max.clone()),
            ("254:0 rbps= wiops=-1", word(""), word("-1")),
        ] {
            assert_eq!(Control::IO_READ_BPS.read(text, DISK), Some(bytes), "`{text}`");
            assert_eq!(Control::IO_WRITE_IOPS.read(text, DISK), Some(operations), "`{text}`");
            assert_eq!(Control::IO_READ_BPS.read(text, None), None, "`{text}`");
        }
    }

    #[test]
    fn one_key_is_written_for_the_disk() {
        let write = |control: Control, value: Value, disk| control.text(&value, disk);
        assert_eq!(write(Control::IO_READ_BPS, Value::At(1 << 20), DISK).as_deref(), Some("254:0 rbps=1048576"));
        assert_eq!(write(Control::IO_WRITE_BPS, Value::Word("max".into()), DISK).as_deref(), Some("254:0 wbps=max"));
        assert_eq!(write(Control::IO_READ_IOPS, Value::At(10), None), None);
    }
}
