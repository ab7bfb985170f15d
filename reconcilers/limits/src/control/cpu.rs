//! Processor time: `cpu.max`, microseconds of quota and period (`50000 100000`), or `max 100000`. In thousandths of one
//! processor.

use catenoid_names::ControlFile;
use catenoid_schema::units::Cpu;

use super::{Bounds, Control, Limit, Value};

/// Microseconds in which a container may use up its share of processors: the kernel's own default.
const PERIOD: u64 = 100_000;

impl Control {
    /// Processor time: thousandths of one processor.
    pub const CPU: Self = Self::new("cpu", &CpuTime);
}

struct CpuTime;

impl Limit for CpuTime {
    fn file(&self) -> ControlFile {
        ControlFile { controller: "cpu", file: "cpu.max" }
    }

    fn wanted(&self, bounds: &Bounds) -> Value {
        Value::At(bounds.limits.cpu.thousandths().into())
    }

    fn is_met(&self, bounds: &Bounds, is: Option<&Value>, _: bool) -> bool {
        matches!(is, Some(Value::At(thousandths)) if *thousandths == u64::from(bounds.limits.cpu.thousandths()))
    }

    fn number(&self, thousandths: u64) -> String {
        match u32::try_from(thousandths) {
            Ok(thousandths) => Cpu::from_thousandths(thousandths).to_string(),
            Err(_) => format!("{}", thousandths / 1000),
        }
    }

    /// Thousandths whatever the period is, if they are a whole number.
    fn read(&self, text: &str) -> Value {
        match text.split_once(' ') {
            Some(("max", _)) => Value::Word("max".into()),
            Some((quota, period)) => {
                thousandths(quota, period).map_or_else(|| Value::Word(text.to_owned().into()), Value::At)
            }
            None => Value::Word(text.to_owned().into()),
        }
    }

    fn text(&self, thousandths: u64) -> String {
        format!("{} {PERIOD}", thousandths.saturating_mul(PERIOD / 1000))
    }

    fn is_fact(&self, _: &Value) -> bool {
        true
    }
}

fn thousandths(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    let scaled = quota.checked_mul(1000)?;
    (scaled.checked_rem(period)? == 0).then(|| scaled / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_in_thousandths_of_one_processor() {
        let word = |text: &str| Value::Word(text.to_owned().into());
        for (text, value) in [
            ("50000 100000", Value::At(500)),
            ("2000 1000", Value::At(2000)),
            ("max 100000", word("max")),
            ("33333 100000", word("33333 100000")),
            ("18446744073709551615 100000", word("18446744073709551615 100000")),
            ("1 0", word("1 0")),
            ("1000", word("1000")),
        ] {
            assert_eq!(CpuTime.read(text), value, "`{text}`");
        }
        assert_eq!(CpuTime.text(500), "50000 100000");
    }
}
