//! Settings of a network namespace.

use std::{
    fs::{self, File},
    io,
};

use rustix::fs::{Mode, OFlags, openat};

use super::Error;
use catenoid_kernel_base::fault::{at, look};

/// The values of settings below `/proc/sys/net` in the calling thread's network namespace, without the line's end; none where
/// there is no such setting. The folder of a family is opened once for all of its keys in a row: the kernel keeps those of
/// all network namespaces in one chain of its name cache, and passes all of it on the way to one (`proc_sys_compare`).
///
/// # Errors
/// [`Error::Setting`].
pub fn settings<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Vec<Option<String>>, Error> {
    let mut folder: Option<(&str, File)> = None;
    let mut read = |key: &'a str| -> io::Result<String> {
        let (family, name) = key.split_once('/').ok_or(io::ErrorKind::NotFound)?;
        let (_, opened) = match folder.take().filter(|(opened, _)| *opened == family) {
            Some(opened) => folder.insert(opened),
            None => folder.insert((family, File::open(format!("/proc/sys/net/{family}"))?)),
        };
        let file = openat(opened, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The kernel gives a value by one read(2).
        let mut value = [0; 256];
        let length = rustix::io::read(&file, &mut value)?;
        Ok(String::from_utf8_lossy(&value[..length]).trim_end().to_owned())
    };
    let values = keys.into_iter().map(|key| match look("namespace.read_setting", || read(key)) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Setting { key: key.to_owned(), source }),
    });
    values.collect()
}

/// Writes a setting below `/proc/sys/net` in the calling thread's network namespace.
///
/// # Errors
/// [`Error::Setting`].
pub fn set(key: &str, value: &str) -> Result<(), Error> {
    at("namespace.set", || fs::write(format!("/proc/sys/net/{key}"), value))
        .map_err(|source| Error::Setting { key: key.to_owned(), source })
}
