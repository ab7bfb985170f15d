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

use crate::{Control, Group, Observed};

/// What shows which controls the groups have: taken away and given back, they are what they were at first.
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
        let files = Control::ALL.map(|control| control.file().file);
        for (of, name) in changed {
            let name = name.to_string_lossy();
            if Some(of) != watch {
                if name.is_empty() || files.iter().any(|file| **file == *name) {
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
        // Before it is read: what is written from now on is reported.
        let watch = self.changes.watch(&self.folder.join(name)).ok().flatten();
        let mut group = Group::new();
        for control in Control::ALL {
            if let Some(text) = hierarchy.read_limit(name, control.file())? {
                group.insert(control, control.read(&text));
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
        let offered = hierarchy.offered(Control::ALL.map(Control::file))?;
        Control::ALL.into_iter().filter(|control| offered.contains(&control.file())).collect()
    };
    let mut observed = Observed { offered, ..Observed::default() };
    for name in hierarchy.groups()? {
        let group = known.group(hierarchy, &name)?;
        observed.groups.insert(name, group);
    }
    known.let_go(|name| observed.groups.contains_key(name));
    Ok(observed)
}
