//! Loop devices (`loop(4)`): a file as a read-only block device.

#![allow(unsafe_code, reason = "ioctls that no crate here offers")]

use std::{
    fs::{File, OpenOptions},
    io,
    mem::zeroed,
    os::{
        fd::{AsFd, AsRawFd},
        linux::fs::MetadataExt,
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
};

use nix::errno::Errno;

use catenoid_kernel_base::fault::{at, look};

/// The device that hands out free loop devices.
const CONTROL: &str = "/dev/loop-control";
/// How often a free device may be taken by somebody else between asking for it and configuring it. Nobody else on the
/// device does so; on a build host, each time it happens another process has made progress.
const ATTEMPTS: usize = 64;
/// The sector size of the device: that of images and of nearly all disks, so that direct I/O is possible.
const BLOCK_SIZE: u32 = 4096;

/// `LO_FLAGS_*` of `linux/loop.h`: read-only, detached on last close, past the page cache.
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// The requests of `linux/loop.h`.
mod request {
    #![allow(missing_docs, reason = "the macros make public functions without documentation")]

    nix::ioctl_none_bad!(ctl_get_free, 0x4C82);
    nix::ioctl_write_ptr_bad!(configure, 0x4C0A, super::LoopConfig);
    nix::ioctl_read_bad!(get_status, 0x4C05, super::LoopInfo);
}

/// What could not be done with a loop device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no free one.
    #[error("failed to find a free loop device")]
    Free(#[source] io::Error),
    /// It could not be opened.
    #[error("failed to open loop device `{}`", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The file could not be attached to it.
    #[error("failed to attach a file to loop device `{}`", path.display())]
    Attach {
        /// The device.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It could not be asked what is attached.
    #[error("failed to ask loop device `{}` for its file", path.display())]
    Status {
        /// The device.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// A loop device with a file attached. The file is detached when the last user of the device closes it: drop this once
/// something else, such as a device-mapper table, holds it.
#[derive(Debug)]
pub struct LoopDevice {
    file: File,
    path: PathBuf,
}

impl LoopDevice {
    /// Attaches `file` read-only, past the page cache where its file system can do that.
    ///
    /// # Errors
    /// [`Error::Free`], [`Error::Open`], [`Error::Attach`].
    pub fn attach(file: &impl AsFd) -> Result<Self, Error> {
        let control = options().open(CONTROL).map_err(Error::Free)?;
        // SAFETY: all fields are integers or arrays of them, for which zeros are values.
        let mut config: LoopConfig = unsafe { zeroed() };
        config.fd = file.as_fd().as_raw_fd().cast_unsigned();
        config.block_size = BLOCK_SIZE;
        config.info.flags = READ_ONLY | AUTOCLEAR | DIRECT_IO;
        let mut taken = Errno::EBUSY;
        for _ in 0..ATTEMPTS {
            // SAFETY: the descriptor is open; the request takes no argument.
            let free = at("loop.free", || unsafe { request::ctl_get_free(control.as_raw_fd()) });
            let number = free.map_err(|e| Error::Free(e.into()))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = options().open(&path).map_err(|source| Error::Open { path: path.clone(), source })?;
            // SAFETY: the descriptors are open, and `config` is laid out as the request wants it and lives on.
            match at("loop.attach", || unsafe { request::configure(device.as_raw_fd(), &raw const config) }) {
                Ok(_) => return Ok(Self { file: device, path }),
                Err(Errno::EBUSY) => taken = Errno::EBUSY,
                Err(source) => return Err(Error::Attach { path, source: source.into() }),
            }
        }
        Err(Error::Free(taken.into()))
    }

    /// Its node, as in `/dev/loop0`.
    #[must_use]
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Its major and minor number.
    ///
    /// # Errors
    /// [`Error::Status`].
    pub fn number(&self) -> Result<(u32, u32), Error> {
        let failed = |source| Error::Status { path: self.path.clone(), source };
        let number = self.file.metadata().map_err(failed)?.st_rdev();
        Ok((rustix::fs::major(number), rustix::fs::minor(number)))
    }
}

/// Device and inode of the file behind the loop device `number`; `None` if that is no loop device or has no file.
///
/// # Errors
/// [`Error::Open`], [`Error::Status`].
pub fn file_behind(number: (u32, u32)) -> Result<Option<(u64, u64)>, Error> {
    let path = PathBuf::from(format!("/dev/loop{}", number.1));
    let device = match options().open(&path) {
        Ok(device) => device,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Open { path, source }),
    };
    let node = device.metadata().map_err(|source| Error::Status { path: path.clone(), source })?.st_rdev();
    if (rustix::fs::major(node), rustix::fs::minor(node)) != number {
        return Ok(None);
    }
    // SAFETY: all fields are integers or arrays of them, for which zeros are values.
    let mut info: LoopInfo = unsafe { zeroed() };
    // SAFETY: the descriptor is open, and `info` is laid out as the request fills it.
    match look("loop.look", || unsafe { request::get_status(device.as_raw_fd(), &raw mut info) }) {
        Ok(_) => Ok(Some((info.device, info.inode))),
        Err(Errno::ENXIO) => Ok(None),
        Err(source) => Err(Error::Status { path, source: source.into() }),
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_CLOEXEC);
    options
}
