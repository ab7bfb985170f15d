//! Reads the groups and what they are set to.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use catenoid_core::holds_until;
use catenoid_kernel_base::changes::{Changes, Watch};
use catenoid_kernel_cgroup::{self as cgroup, Disk, Hierarchy};
use catenoid_kernel_storage::disk::scheduler;

use crate::{Control, Error, Group, Observed};

/// What shows which controls the groups have: taken away and given back, they are what they were at first.
const CONTROLLERS: &str = "cgroup.subtree_control";

/// What was read, and is read again only where it may have changed.
#[derive(Debug)]
pub(crate) struct Known {
    changes: Changes,
    /// The folder of all groups.
    folder: PathBuf,
    /// Where the device's data lie.
    disk: Option<Disk>,
    watch: Option<Watch>,
    /// What is watched of each group.
    watches: BTreeMap<String, Watch>,
    groups: BTreeMap<String, Read>,
    /// What the groups have was read for these.
    offered: BTreeSet<Control>,
    count: u64,
}

#[derive(Debug)]
struct Read {
    until: Instant,
    group: Group,
}

impl Known {
    /// Nothing yet, of the groups in `folder`, on a device whose data lie on `disk`.
    pub(crate) fn new(folder: &Path, disk: Option<Disk>) -> io::Result<Self> {
        let (changes, folder) = (Changes::new()?, folder.to_owned());
        Ok(Self {
            changes,
            folder,
            disk,
            watch: None,
            watches: BTreeMap::new(),
            groups: BTreeMap::new(),
            offered: BTreeSet::new(),
            count: 0,
        })
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
        let (mut group, mut texts) = (Group::new(), BTreeMap::new());
        for control in Control::ALL {
            // Without its scheduler the file is there, and binds nothing.
            if control.scheduler().is_some() && !self.offered.contains(&control) {
                continue;
            }
            let text = match texts.entry(control.file()) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(place) => place.insert(hierarchy.read_limit(name, control.file())?),
            };
            let value = text.as_ref().and_then(|text| control.read(text, self.disk));
            group.extend(value.map(|value| (control, value)));
        }
        if let Some(watch) = watch {
            let before = self.watches.insert(name.to_owned(), watch);
            before.into_iter().filter(|before| *before != watch).for_each(|before| self.changes.forget(before));
            self.count = self.count.wrapping_add(1);
            // What is written through a mount of a control group namespace may be reported to nobody.
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

/// What the groups have, on a device whose data lie on `disk`.
fn offered(hierarchy: &Hierarchy, disk: Option<Disk>) -> Result<BTreeSet<Control>, Error> {
    let files = BTreeSet::from(Control::ALL.map(Control::file));
    let files = hierarchy.offered(files).map_err(Error::Observe)?;
    let mut offered: BTreeSet<_> = Control::ALL.into_iter().filter(|control| files.contains(&control.file())).collect();
    let Some(disk) = disk else {
        offered.retain(|control| !control.is_of_disk());
        return Ok(offered);
    };
    if offered.iter().any(|control| control.scheduler().is_some()) {
        let current = scheduler(disk).map_err(Error::ObserveDisk)?;
        offered.retain(|control| control.scheduler().is_none_or(|needed| current.as_deref() == Some(needed)));
    }
    Ok(offered)
}

/// All groups below `catenoid/`.
pub(crate) fn observe(hierarchy: &Hierarchy, known: &mut Known) -> Result<Observed, Error> {
    known.look();
    let offered = offered(hierarchy, known.disk)?;
    if known.offered != offered {
        known.groups.clear();
        known.offered.clone_from(&offered);
    }
    let mut observed = Observed { offered, ..Observed::default() };
    for name in hierarchy.groups().map_err(Error::Observe)? {
        let group = known.group(hierarchy, &name).map_err(Error::Observe)?;
        observed.groups.insert(name, group);
    }
    known.let_go(|name| observed.groups.contains_key(name));
    Ok(observed)
}
