//! Reads the files.

use catenoid_kernel::files::{Error, Folder};
use catenoid_schema::name::Name;

use crate::Observed;

/// The most bytes of a file.
const LIMIT: u64 = 64 * 1024;

pub(crate) fn observe(folder: &Folder) -> Result<Observed, Error> {
    let mut observed = Observed::default();
    for file in folder.list(|name| name.parse::<Name>().is_ok())?.files {
        let Ok(container) = file.name.parse::<Name>() else { continue };
        let text = folder.read_bounded(&file.name, LIMIT)?.unwrap_or_default();
        let devices = String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect();
        observed.containers.insert(container, devices);
    }
    Ok(observed)
}
