//! dm-verity devices (kernel `Documentation/admin-guide/device-mapper/verity.rst`): every block that is read is checked
//! against a hash tree whose root the caller knows.
//!
//! Format 1, SHA-256, blocks of 4096 bytes, data and tree on one device: the superblock for `veritysetup` stands right
//! behind the data and is not read here, the tree one block further. A block that differs is an I/O error: never other
//! data, never a restart.

use std::{io, path::PathBuf};

use catenoid_kernel_base::fault::{Failure, at, look};
use catenoid_names::objects;
use devicemapper::{DM, DevId, Device as Number, DmError, DmFlags, DmName, DmOptions, errors};
use nix::errno::Errno;

use crate::loop_device::{self, LoopDevice};

/// Bytes in a block of data or tree.
const BLOCK_SIZE: u64 = 4096;
/// Sectors of 512 bytes, in which device-mapper counts, in a block.
const SECTORS: u64 = BLOCK_SIZE / 512;
/// The most blocks of data: 2^32 (16 TiB), so that no count of sectors overflows.
const BLOCKS_LIMIT: u64 = 1 << 32;

/// What could not be done with a verity device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel offers no device-mapper.
    #[error("failed to open the device-mapper")]
    Open(#[source] io::Error),
    /// The devices could not be read.
    #[error("failed to list the device-mapper devices")]
    List(#[source] io::Error),
    /// A device could not be read.
    #[error("failed to read verity device `{device}`")]
    Read {
        /// The device that could not be read.
        device: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The loop device behind a device could not be read.
    #[error("failed to read what is behind verity device `{device}`")]
    Behind {
        /// The device whose loop device could not be read.
        device: String,
        /// What the loop device answered.
        source: loop_device::Error,
    },
    /// Not a name of device-mapper.
    #[error("`{device}` cannot name a verity device")]
    Name {
        /// What was given.
        device: String,
    },
    /// More blocks than a device can have.
    #[error("{blocks} blocks are too many for verity device `{device}`")]
    TooLong {
        /// The device that was to be made.
        device: String,
        /// How many blocks it was to have.
        blocks: u64,
    },
    /// A device could not be made.
    #[error("failed to make verity device `{device}`")]
    Make {
        /// The device that could not be made.
        device: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel does not take the parameters, or has no dm-verity.
    #[error("failed to load the table of verity device `{device}`")]
    Load {
        /// The device that was to have the table.
        device: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A device could not be removed.
    #[error("failed to remove verity device `{device}`")]
    Remove {
        /// The device that could not be removed.
        device: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A device is open. It goes when the last user closes it.
    #[error("verity device `{device}` is in use")]
    InUse {
        /// The device that is in use.
        device: String,
    },
}

/// What is verified: the parameters that come from a signed descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The root of the tree.
    pub root_hash: [u8; 32],
    /// In front of every block that is hashed.
    pub salt: [u8; 32],
    /// Blocks of data.
    pub data_blocks: u64,
}

impl Table {
    /// The target's parameters as the kernel takes and shows them.
    fn parameters(&self, behind: Number) -> String {
        let Self { root_hash, salt, data_blocks } = self;
        let tree = data_blocks + 1;
        let (root, salt) = (hex(root_hash), hex(salt));
        format!("1 {behind} {behind} {BLOCK_SIZE} {BLOCK_SIZE} {data_blocks} {tree} sha256 {root} {salt}")
    }

    /// The table that has these parameters, if it is one of ours: the very text that we write for it.
    fn of(length: u64, target: &str, parameters: &str) -> Option<(Self, Number)> {
        let words: Vec<_> = parameters.split(' ').collect();
        let [_, behind, _, _, _, data_blocks, _, _, root_hash, salt] = words.as_slice() else { return None };
        let behind: Number = behind.parse().ok()?;
        let data_blocks = data_blocks.parse().ok().filter(|blocks| *blocks <= BLOCKS_LIMIT)?;
        let table = Self { root_hash: unhex(root_hash)?, salt: unhex(salt)?, data_blocks };
        let ours = target == "verity" && length == data_blocks * SECTORS && table.parameters(behind) == parameters;
        ours.then_some((table, behind))
    }
}

/// A device of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The guest's id, from the device's name.
    pub guest: String,
    /// Major and minor number.
    pub number: (u32, u32),
    /// What it verifies; `None` if the table in force is not in the form that we write, or there is none.
    pub table: Option<Table>,
    /// Device and inode of the file behind it.
    pub file: Option<(u64, u64)>,
    /// Whether a block differed from the tree since the table was loaded.
    pub corrupt: bool,
}

/// The device-mapper.
pub struct DeviceMapper {
    dm: DM,
}

impl DeviceMapper {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self, Error> {
        DM::new().map(|dm| Self { dm }).map_err(|e| Error::Open(cause(Refusal(e))))
    }

    /// The devices of guests.
    ///
    /// # Errors
    /// [`Error::List`], [`Error::Read`], [`Error::Behind`].
    pub fn devices(&self) -> Result<Vec<Device>, Error> {
        let mut devices = Vec::new();
        for (name, _, _) in
            look("verity.list", || self.dm.list_devices().map_err(Refusal)).map_err(|e| Error::List(cause(e)))?
        {
            let name = name.to_string();
            if let Some(guest) = objects::verity_guest(&name) {
                devices.extend(self.device(guest)?);
            }
        }
        Ok(devices)
    }

    /// The device of `guest`, if there is one.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`], [`Error::Behind`].
    pub fn device(&self, guest: &str) -> Result<Option<Device>, Error> {
        let device = objects::verity(guest);
        let id = DevId::Name(parse(&device)?);
        let ask = |flags| self.dm.table_status(&id, DmOptions::default().set_flags(flags)).map_err(Refusal);
        let read = || -> Result<_, Refusal> { Ok((ask(DmFlags::DM_STATUS_TABLE)?, ask(DmFlags::empty())?)) };
        let ((info, tables), (_, states)) = match look("verity.look", read) {
            Ok(both) => both,
            Err(error) if errno(&error) == Some(Errno::ENXIO) => return Ok(None),
            Err(error) => return Err(Error::Read { device, source: cause(error) }),
        };
        let found = match tables.as_slice() {
            [(0, length, target, parameters)] => Table::of(*length, target, parameters),
            _ => None,
        };
        let writable = !info.flags().contains(DmFlags::DM_READONLY);
        let found = found.filter(|_| !writable && !info.flags().contains(DmFlags::DM_SUSPEND));
        let file = match &found {
            Some((_, behind)) => loop_device::file_behind((behind.major, behind.minor))
                .map_err(|source| Error::Behind { device: device.clone(), source })?,
            None => None,
        };
        Ok(Some(Device {
            guest: guest.to_owned(),
            number: (info.device().major, info.device().minor),
            table: found.map(|(table, _)| table),
            file,
            corrupt: states.iter().any(|(_, _, target, state)| target == "verity" && state.starts_with('C')),
        }))
    }

    /// Makes the read-only device of `guest` over `behind`, which it keeps open from then on. In one that is there already
    /// the table is put in force in place of the old one: whoever has it open, or mounted, reads by the new one from then
    /// on. After an error nothing remains of a new device, and an old one is as it was.
    ///
    /// # Errors
    /// [`Error::Make`], [`Error::Load`], and those of the parameters.
    pub fn map(&self, guest: &str, behind: &LoopDevice, table: &Table) -> Result<(), Error> {
        let device = objects::verity(guest);
        let name = parse(&device)?;
        if table.data_blocks == 0 || table.data_blocks > BLOCKS_LIMIT {
            return Err(Error::TooLong { device, blocks: table.data_blocks });
        }
        let (major, minor) = behind.number().map_err(|source| Error::Behind { device: device.clone(), source })?;
        let targets =
            [(0, table.data_blocks * SECTORS, "verity".to_owned(), table.parameters(Number { major, minor }))];
        let read_only = || DmOptions::default().set_flags(DmFlags::DM_READONLY);
        let is_new = match at("verity.make", || self.dm.device_create(name, None, read_only()).map_err(Refusal)) {
            Ok(_) => true,
            Err(error) if errno(&error) == Some(Errno::EBUSY) => false,
            Err(error) => return Err(Error::Make { device, source: cause(error) }),
        };
        let id = DevId::Name(name);
        let loaded = at("verity.load", || self.dm.table_load(&id, &targets, read_only()).map_err(Refusal));
        let loaded = loaded.and_then(|_| {
            // Without the flag to suspend, this puts the loaded table in force.
            at("verity.resume", || self.dm.device_suspend(&id, DmOptions::default()).map_err(Refusal))
        });
        loaded.map(drop).map_err(|error| {
            // The first error is the one to report; what is left over is seen by the next look.
            let _ = if is_new { self.dm.device_remove(&id, deferred()) } else { self.dm.table_clear(&id) };
            Error::Load { device: device.clone(), source: cause(error) }
        })
    }

    /// Removes the device of `guest`. One that is not there is success; one that is open is marked, and goes when its last
    /// user closes it.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Remove`].
    pub fn remove(&self, guest: &str) -> Result<(), Error> {
        let device = objects::verity(guest);
        let id = DevId::Name(parse(&device)?);
        match at("verity.remove", || self.dm.device_remove(&id, deferred()).map_err(Refusal)) {
            Err(error) if errno(&error) == Some(Errno::ENXIO) => return Ok(()),
            Err(error) => return Err(Error::Remove { device, source: cause(error) }),
            Ok(_) => {}
        }
        match self.dm.device_info(&id).map_err(Refusal) {
            Err(error) if errno(&error) == Some(Errno::ENXIO) => Ok(()),
            Err(error) => Err(Error::Read { device, source: cause(error) }),
            Ok(_) => Err(Error::InUse { device }),
        }
    }
}

/// The node of a device, as devtmpfs makes it.
#[must_use]
pub fn node(device: &Device) -> PathBuf {
    format!("/dev/dm-{}", device.number.1).into()
}

/// Without it, the crate tries a busy device 25 times with pauses.
fn deferred() -> DmOptions {
    DmOptions::default().set_flags(DmFlags::DM_DEFERRED_REMOVE)
}

fn parse(device: &str) -> Result<&DmName, Error> {
    DmName::new(device).map_err(|_| Error::Name { device: device.to_owned() })
}

/// What the device-mapper answers instead, or a test.
struct Refusal(DmError);

impl Failure for Refusal {
    fn injected() -> Self {
        Self(DmError::Core(errors::Error::GeneralIo("injected".to_owned())))
    }
}

fn errno(Refusal(error): &Refusal) -> Option<Errno> {
    match error {
        DmError::Core(errors::Error::Ioctl(_, _, _, errno)) => Some(**errno),
        _ => None,
    }
}

/// What the kernel answered; the crate's own text has whole structures in it.
fn cause(error: Refusal) -> io::Error {
    errno(&error).map_or_else(|| io::Error::other(error.0), io::Error::from)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = |index: usize| u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok();
    let mut bytes = [0; 32];
    for (index, place) in bytes.iter_mut().enumerate().filter(|_| digits) {
        *place = byte(index)?;
    }
    digits.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table { root_hash: [0xab; 32], salt: [0x01; 32], data_blocks: 256 };
    const LOOP: Number = Number { major: 7, minor: 3 };

    #[test]
    fn the_table_is_that_of_the_kernel_documentation() {
        let (root, salt) = ("ab".repeat(32), "01".repeat(32));
        let parameters = format!("1 7:3 7:3 4096 4096 256 257 sha256 {root} {salt}");
        assert_eq!(TABLE.parameters(LOOP), parameters);
        assert_eq!(Table::of(2048, "verity", &parameters), Some((TABLE, LOOP)));
    }

    #[test]
    fn a_table_in_another_form_is_not_ours() {
        let parameters = TABLE.parameters(LOOP);
        for (length, target, parameters) in [
            (2047, "verity", parameters.clone()),
            (2048, "linear", parameters.clone()),
            (2048, "verity", format!("{parameters} 1 ignore_corruption")),
            (2048, "verity", parameters.replace("sha256", "sha1")),
            (2048, "verity", parameters.replace(" 257 ", " 258 ")),
            (2048, "verity", parameters.replacen("7:3", "7:4", 1)),
            (2048, "verity", parameters.replacen("4096", "512", 1)),
            (2048, "verity", parameters.replacen('1', "0", 1)),
            (2048, "verity", parameters.replace(" 256 257 ", " 18446744073709551615 0 ")),
            (2048, "verity", parameters.replace("ab", "zz")),
            (2048, "verity", parameters.replace("abab", "")),
            (2048, "verity", String::new()),
        ] {
            assert_eq!(Table::of(length, target, &parameters), None, "{length} {target} {parameters}");
        }
    }
}
