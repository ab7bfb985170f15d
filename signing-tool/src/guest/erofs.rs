//! Makes an erofs image of a folder: the same tree gives the same bytes.

use std::path::Path;

use super::{
    progress::Progress,
    tool::{self, Tool},
};

const MKFS: Tool = Tool { name: "mkfs.erofs", package: "erofs-utils" };

/// lz4, which is the fastest to read, in its best form: half the size in a second for the core guest. Its last levels
/// take three times as long for another 0.3 %.
const COMPRESSION: &str = "-zlz4hc,9";
/// Bytes of compressed data that are read, verified and unpacked at once: 64 KiB would save 5 % of the image and cost
/// four times as much at each page that is read alone.
const CLUSTER: &str = "-C16384";

/// Makes `image` of what is in `folder`, with a given file system id.
///
/// # Errors
/// If `mkfs.erofs` is missing or fails.
pub(crate) fn make(folder: &Path, image: &Path, uuid: [u8; 16]) -> Result<(), tool::Error> {
    let progress = Progress::spinner("erofs image");
    let mut command = MKFS.command();
    command
        .arg("--quiet")
        // File capabilities and labels mean nothing under `no_new_privs`; other attributes do not belong in an image.
        .arg("-x-1")
        .arg(format!("-T{}", super::fixed::TIMESTAMP))
        .arg(format!("-U{}", hyphenated(uuid)))
        .args([COMPRESSION, CLUSTER])
        .arg(image)
        .arg(folder);
    MKFS.run(&mut command, &progress)
}

/// The 8-4-4-4-12 form of RFC 9562.
fn hyphenated(uuid: [u8; 16]) -> String {
    let hex = hex::encode(uuid);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
