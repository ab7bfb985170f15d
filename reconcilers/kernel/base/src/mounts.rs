//! What is the same of every file system that we mount.

use nix::mount::MsFlags;

/// Of a file system that can be written to: no program of it is executed, no device opened, no link followed.
pub const CLOSED: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW));

/// Whether something is mounted at `target`, by the text of `/proc/self/mountinfo`.
#[must_use]
pub fn is_mounted(mountinfo: &str, target: &str) -> bool {
    mountinfo.lines().any(|line| line.split(' ').nth(4) == Some(target))
}
