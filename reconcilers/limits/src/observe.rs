//! Reads the groups and what they are set to.

use std::collections::BTreeSet;

use catenoid_kernel::cgroup::{self, Hierarchy};

use crate::{Control, Group, Observed, Value};

/// All groups below `catenoid/`.
pub(crate) fn observe(hierarchy: &Hierarchy) -> Result<Observed, cgroup::Error> {
    let offered: BTreeSet<Control> = {
        let offered = hierarchy.offered()?;
        Control::ALL.into_iter().filter(|control| offered.contains(&file(*control))).collect()
    };
    let mut observed = Observed { offered, ..Observed::default() };
    for name in hierarchy.groups()? {
        let mut group = Group::new();
        for control in Control::ALL {
            if let Some(text) = hierarchy.read_limit(&name, file(control))? {
                group.insert(control, parse(control, &text));
            }
        }
        observed.groups.insert(name, group);
    }
    Ok(observed)
}

/// The control file of a control.
pub(crate) fn file(control: Control) -> cgroup::Control {
    match control {
        Control::Cpu => cgroup::Control::CpuMax,
        Control::Memory => cgroup::Control::MemoryMax,
        Control::OomGroup => cgroup::Control::MemoryOomGroup,
        Control::Pids => cgroup::Control::PidsMax,
        Control::Reserve => cgroup::Control::MemoryMin,
        Control::Swap => cgroup::Control::MemorySwapMax,
    }
}

/// What a control file says. A share of processors is in thousandths whatever its period is, if it is a whole number.
fn parse(control: Control, text: &str) -> Value {
    let number = match (control, text.split_once(' ')) {
        (Control::Cpu, Some(("max", _))) => return Value::Word("max".to_owned()),
        (Control::Cpu, Some((quota, period))) => thousandths(quota, period),
        (Control::Cpu, None) => None,
        _ => text.parse().ok(),
    };
    number.map_or_else(|| Value::Word(text.to_owned()), Value::At)
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
    fn control_files_are_read_in_the_unit_of_the_control() {
        let word = |text: &str| Value::Word(text.to_owned());
        for (control, text, value) in [
            (Control::Cpu, "50000 100000", Value::At(500)),
            (Control::Cpu, "2000 1000", Value::At(2000)),
            (Control::Cpu, "max 100000", word("max")),
            (Control::Cpu, "33333 100000", word("33333 100000")),
            (Control::Cpu, "18446744073709551615 100000", word("18446744073709551615 100000")),
            (Control::Cpu, "1 0", word("1 0")),
            (Control::Cpu, "1000", word("1000")),
            (Control::Memory, "134217728", Value::At(134_217_728)),
            (Control::Memory, "max", word("max")),
            (Control::OomGroup, "1", Value::At(1)),
            (Control::Pids, "", word("")),
        ] {
            assert_eq!(parse(control, text), value, "{control}: `{text}`");
        }
    }
}
