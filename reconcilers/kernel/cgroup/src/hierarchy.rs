//! The mounted hierarchy: how files and folders in it are reached.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags, fgetxattr, fsetxattr, mkdirat, openat2,
        unlinkat,
    },
    io::Errno,
};

use super::{
    Error, MARK_BYTES,
    read::{found, read_from_start},
};
use catenoid_kernel_base::fault::{at, look};
use catenoid_names::{ControlFile, objects};

/// The file of what is not taken from a group for anybody.
pub(super) const MEMORY_MIN: &str = "memory.min";

/// A mounted hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    pub(super) path: PathBuf,
    base: OwnedFd,
}

impl Hierarchy {
    /// Opens the folder that is to hold `catenoid/`: the mount point of a cgroup2 file system, or a group in it that
    /// has no process of its own.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(base: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(base, flags, Mode::empty())
            .map_err(|source| Error::Open { path: base.to_owned(), source: source.into() })?;
        Ok(Self { path: base.to_owned(), base: fd })
    }

    /// Makes `catenoid/` and enables the controllers `needed` and `optional` for the groups below it. Answers those
    /// that the kernel does not offer, and those `optional` that could not be enabled: limits that need one of them
    /// will fail.
    ///
    /// # Errors
    /// [`Error::Make`], [`Error::Read`], [`Error::Write`].
    pub fn prepare(&self, needed: &[&'static str], optional: &[&'static str]) -> Result<Vec<&'static str>, Error> {
        let offered = self.read("cgroup.controllers")?;
        let is_offered = |controller: &&str| offered.split_whitespace().any(|offered| offered == *controller);
        let (needed, mut missing): (Vec<_>, Vec<_>) = needed.iter().copied().partition(is_offered);
        self.enable("", &needed)?;
        self.make(objects::CGROUP)?;
        self.enable(objects::CGROUP, &needed)?;
        for controller in optional {
            let enable = || self.enable("", &[controller]).and_then(|()| self.enable(objects::CGROUP, &[controller]));
            if !is_offered(controller) || enable().is_err() {
                missing.push(controller);
            }
        }
        // What a group in it keeps is what its parent keeps at most: each of them says its own.
        let keeps = format!("{}/{MEMORY_MIN}", objects::CGROUP);
        if found(self.read(&keeps))?.is_some_and(|kept| kept.trim_end() != "max") {
            self.write(&keeps, "max")?;
        }
        Ok(missing)
    }

    /// Those of `files` that the groups of containers have, as far as their controllers are enabled.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`]; no file at all if `catenoid/` is not there yet.
    pub fn offered(&self, files: impl IntoIterator<Item = ControlFile>) -> Result<Vec<ControlFile>, Error> {
        let enabled = found(self.read(&format!("{}/cgroup.subtree_control", objects::CGROUP)))?.unwrap_or_default();
        let mut offered = Vec::new();
        for file in files {
            // `catenoid/` itself has the same control files as the groups in it.
            let here = found(self.read(&control_file(objects::CGROUP, file)?))?.is_some();
            if here && enabled.split_whitespace().any(|controller| controller == file.controller) {
                offered.push(file);
            }
        }
        Ok(offered)
    }

    /// Enables `controllers` for the children of `group`, one by one, so that an error names the one at fault.
    pub(super) fn enable(&self, group: &str, controllers: &[&str]) -> Result<(), Error> {
        let file = if group.is_empty() { String::new() } else { format!("{group}/") } + "cgroup.subtree_control";
        let enabled = self.read(&file)?;
        for controller in controllers.iter().filter(|c| !enabled.split_whitespace().any(|e| e == **c)) {
            self.write(&file, &format!("+{controller}"))?;
        }
        Ok(())
    }

    pub(super) fn write_attribute(&self, folder: &str, attribute: &str, value: &str) -> Result<(), Error> {
        let write = |fd| at("cgroup.mark", || fsetxattr(&fd, attribute, value.as_bytes(), XattrFlags::empty()));
        let written =
            self.open_below(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC).and_then(|fd| Ok(write(fd)?));
        written.map_err(|source| Error::Write { path: self.path.join(folder), value: value.to_owned(), source })
    }

    pub(super) fn attributes<const N: usize>(
        &self,
        folder: &str,
        names: [&str; N],
    ) -> Result<[Option<String>; N], Error> {
        let failed = |source: io::Error| Error::Read { path: self.path.join(folder), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut values = [const { None }; N];
        let Some(fd) = found(self.open_below(folder, flags).map_err(failed))? else { return Ok(values) };
        for (name, place) in names.into_iter().zip(&mut values) {
            let mut value = [0; MARK_BYTES];
            *place = match look("cgroup.marked", || fgetxattr(&fd, name, &mut value)) {
                Ok(length) => Some(String::from_utf8_lossy(&value[..length]).into_owned()),
                Err(Errno::NODATA) => None,
                Err(source) => return Err(failed(source.into())),
            };
        }
        Ok(values)
    }

    pub(super) fn make(&self, group: &str) -> Result<(), Error> {
        match at("cgroup.make", || mkdirat(&self.base, group, Mode::from_raw_mode(0o755))) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(source) => Err(Error::Make { path: self.path.join(group), source: source.into() }),
        }
    }

    pub(super) fn remove(&self, group: &str) -> Result<(), Error> {
        match at("cgroup.remove", || unlinkat(&self.base, group, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(Error::Remove { path: self.path.join(group), source: source.into() }),
        }
    }

    pub(super) fn has(&self, group: &str) -> bool {
        self.open_below(group, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC).is_ok()
    }

    /// The groups directly in `group`, in the order of names; none if it is not there.
    pub(super) fn children(&self, group: &str) -> Result<Vec<String>, Error> {
        let failed = |source: io::Error| Error::Read { path: self.path.join(group), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some(fd) = found(self.open_below(group, flags).map_err(failed))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in Dir::new(fd).map_err(|e| failed(e.into()))? {
            let entry = entry.map_err(|e| failed(e.into()))?;
            // The names of groups that we make are ASCII; another one is not ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if entry.file_type() == FileType::Directory && !matches!(name, "." | "..") {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn read(&self, file: &str) -> Result<String, Error> {
        let path = self.path.join(file);
        match self.open_below(file, OFlags::RDONLY | OFlags::CLOEXEC) {
            Ok(fd) => read_from_start(&fd, &path),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// The numbers with these keys of a flat keyed file such as `memory.events`.
    pub(super) fn numbers<const N: usize>(&self, file: &str, keys: [&str; N]) -> Result<[u64; N], Error> {
        let text = self.read(file)?;
        let mut numbers = [0; N];
        for (number, key) in numbers.iter_mut().zip(keys) {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
            *number = value
                .ok_or_else(|| Error::Format { path: self.path.join(file), text: text.chars().take(80).collect() })?;
        }
        Ok(numbers)
    }

    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        self.open_below(file, OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC)
            .and_then(|fd| Ok(at("cgroup.write", || rustix::io::write(&fd, value.as_bytes()))?))
            .and_then(|written| if written == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) })
            .map_err(|source| Error::Write { path: self.path.join(file), value: value.to_owned(), source })
    }

    pub(super) fn open_below(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        Ok(look("cgroup.open", || openat2(&self.base, path, flags, Mode::empty(), resolve))?)
    }
}

/// `catenoid/<container>`.
pub(super) fn group(container: &str) -> Result<String, Error> {
    component(container).map(|container| format!("{}/{container}", objects::CGROUP))
}

/// `catenoid/<container>/run.<launch>`.
pub(super) fn leaf(container: &str, launch_id: &str) -> Result<String, Error> {
    let name = objects::leaf(launch_id);
    objects::leaf_launch(&name).ok_or_else(|| Error::Name { name: name.clone() })?;
    group(container).map(|group| format!("{group}/{name}"))
}

/// `<group>/<file>`: a file of the controller in the group itself, whoever names it. Those of the group, as
/// `cgroup.kill`, are of no controller.
pub(super) fn control_file(group: &str, control: ControlFile) -> Result<String, Error> {
    let rest = control.file.strip_prefix(control.controller).filter(|_| control.controller != "cgroup");
    if !rest.is_some_and(|rest| rest.starts_with('.')) {
        return Err(Error::Name { name: control.file.to_owned() });
    }
    component(control.file).map(|file| format!("{group}/{file}"))
}

fn component(name: &str) -> Result<&str, Error> {
    let single = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    single.then_some(name).ok_or_else(|| Error::Name { name: name.to_owned() })
}
