//! Reads the groups and what they are set to.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use catenoid_core::holds_until;
use catenoid_kernel_base::changes::{Changes, Watch};
use catenoid_kernel_cgroup::{self as cgroup, Hierarchy};

use crate::{Control, Group, Observed, Value};

/// What tells which controls the groups have: taken away and given back, they are what they were at first.
const CONTROLLERS: &str = "cgroup.subtree_control";

/// What was read, and is read again only where it may have changed.
#[derive(Debug)]
pub(crate) struct Known {
    changes: Changes,
    /// The folder of all groups.
    folder: PathBuf,
    watch: Option<Watch>,
    /// What is watched of each group.
    watches: BTreeMap<String, Watch>,
    groups: BTreeMap<String, Read>,
    count: u64,
}

#[derive(Debug)]
struct Read {
    until: Instant,
    group: Group,
}

impl Known {
    /// Nothing yet, of the groups in `folder`.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let (changes, folder) = (Changes::new()?, folder.to_owned());
        Ok(Self { changes, folder, watch: None, watches: BTreeMap::new(), groups: BTreeMap::new(), count: 0 })
    }

    /// Forgets what may be another by now.
    fn look(&mut self) {
        let changed = self.changes.changed().ok().flatten();
        // It is made anew when it was removed, and is another one then.
        let watch = self.changes.watch(&self.folder).ok().flatten();
        let before = std::mem::replace(&mut self.watch, watch);
        let is_same = watch.is_some() && watch == before;
        let Some(changed) = changed.filter(|_| is_same) else { return self.groups.clear() };
        let files = Control::ALL.map(|control| file(control).to_string());
        for (of, name) in changed {
            let name = name.to_string_lossy();
            if Some(of) != watch {
                if name.is_empty() || files.iter().any(|file| *file == name) {
                    let watches = &self.watches;
                    self.groups.retain(|group, _| watches.get(group) != Some(&of));
                }
            } else if name == CONTROLLERS {
                return self.groups.clear();
            } else {
                // It was made or removed.
                self.groups.remove(&*name);
            }
        }
        let now = Instant::now();
        self.groups.retain(|_, read| read.until > now);
    }

    /// The group `name`, read if it may have changed.
    fn group(&mut self, hierarchy: &Hierarchy, name: &str) -> Result<Group, cgroup::Error> {
        if let Some(read) = self.groups.get(name) {
            return Ok(read.group.clone());
        }
        // Before it is read: what is written from now on is told.
        let watch = self.changes.watch(&self.folder.join(name)).ok().flatten();
        let mut group = Group::new();
        for control in Control::ALL {
            if let Some(text) = hierarchy.read_limit(name, file(control))? {
                group.insert(control, parse(control, &text));
            }
        }
        if let Some(watch) = watch {
            let before = self.watches.insert(name.to_owned(), watch);
            before.into_iter().filter(|before| *before != watch).for_each(|before| self.changes.forget(before));
            self.count = self.count.wrapping_add(1);
            // Who writes through a mount of a control group namespace may do so untold.
            let until = holds_until(self.count);
            self.groups.insert(name.to_owned(), Read { until, group: group.clone() });
        }
        Ok(group)
    }

    /// Lets go of the groups that are not there any more.
    fn let_go(&mut self, is_there: impl Fn(&str) -> bool) {
        for (name, watch) in self.watches.extract_if(.., |name, _| !is_there(name)) {
            self.changes.forget(watch);
            self.groups.remove(&name);
        }
    }
}

/// All groups below `catenoid/`.
pub(crate) fn observe(hierarchy: &Hierarchy, known: &mut Known) -> Result<Observed, cgroup::Error> {
    known.look();
    let offered: BTreeSet<Control> = {
        let offered = hierarchy.offered()?;
        Control::ALL.into_iter().filter(|control| offered.contains(&file(*control))).collect()
    };
    let mut observed = Observed { offered, ..Observed::default() };
    for name in hierarchy.groups()? {
        let group = known.group(hierarchy, &name)?;
        observed.groups.insert(name, group);
    }
    known.let_go(|name| observed.groups.contains_key(name));
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
