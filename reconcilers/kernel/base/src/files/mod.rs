//! The door to files that somebody else may have had in hand: all that lies on the data partition, and records in `/run`.
//!
//! A name is a single path component, looked up below the folder's descriptor: no link is followed, no mount is crossed, and
//! only a regular file with that one name is opened, without waiting for anybody (a fifo). Whatever else is in the way is
//! put aside, by [`make_way`] or by who cannot go on without, and noted: [`take_notes`]. "Already so" is success. Pipes and
//! sockets in `/run` are reached by the same lookup.

mod aside;
mod error;
mod folder;
mod hash;
mod lookup;
mod path;
mod way;
mod writing;

pub use aside::take_notes;
pub use error::Error;
pub use folder::{Durability, Entry, FILES_LIMIT, Folder, Listing};
pub use hash::read_device;
pub use path::{listen, make_folders, make_pipe, open_pipe, read_bounded, remove, replace};
pub use way::{make_way, sift};
pub use writing::Writing;
