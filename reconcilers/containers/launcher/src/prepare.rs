//! What needs the privileges of the device's root: the image with mapped ids, the writable layer, the pinned namespaces.

use std::os::fd::{AsFd as _, OwnedFd};

use catenoid_containers::order::{LaunchOrder, RootMode};
use catenoid_kernel_base::launch::{self, Error, Forbid, MountTarget, Namespace, Tree};

/// Devices that hold no state of the device's and give no access to it, with their numbers
/// (Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// The least size of a memory file system.
const PAGE: u64 = 4096;
/// A tmpfs inode, with its dentry, costs about 1 KiB of kernel memory that `size` does not count: one for each 4 KiB of
/// it keeps small files possible and their cost bounded.
const BYTES_PER_INODE: u64 = 4096;

/// Ready to be cloned into.
pub(crate) struct Prepared {
    /// The container's root, not attached yet.
    pub(crate) root: Tree,
    /// The folder with the control socket, not attached yet.
    pub(crate) control: Option<Tree>,
    /// Its nodes for `/dev`, by name, not attached yet.
    pub(crate) devices: Vec<(&'static str, Tree)>,
    /// The user namespace.
    pub(crate) user: Namespace,
    /// The network namespace.
    pub(crate) network: Namespace,
    /// The container's output.
    pub(crate) log: OwnedFd,
}

pub(crate) fn prepare(order: &LaunchOrder) -> Result<Prepared, Error> {
    let user = Namespace::open(&order.namespaces.user)?;
    let network = Namespace::open(&order.namespaces.network)?;
    let (user_id, group_id) = order.host_ids();
    let log = launch::open_log(&order.log, user_id, group_id)?;
    launch::own_mounts()?;
    let image = Tree::of_host(&order.image)?;
    // What its own mount forbids stays forbidden. Links in the image are followed nowhere in here.
    image.restrict(Forbid::Write)?;
    image.map_ids(user.as_fd())?;
    let root = match order.root {
        RootMode::ReadOnly => read_only(order, image)?,
        // For a tmpfs, no size at all is one without a limit.
        RootMode::Tmpfs { size } => writable(order, image, size.bytes().max(PAGE))?,
    };
    let control = order.control.as_deref().map(control).transpose()?;
    let devices = devices()?;
    Ok(Prepared { root, control, devices, user, network, log })
}

/// Marks in a lower layer that would lead elsewhere are not followed, whatever the kernel's defaults are.
const UNMARKED: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// An overlay of `image` and nothing. Containers of one guest have the file system of its image in common, and with it its
/// files' locks, leases and watches: one could hear when another opens a file, or hold it up (`F_SETLEASE` in fcntl(2)). The
/// files of an overlay are its own; what is in them is still read, and kept in memory, once for all.
fn read_only(order: &LaunchOrder, image: Tree) -> Result<Tree, Error> {
    // A layer below, as an overlay that cannot be written to needs two.
    let layers = Tree::new("tmpfs", &[("size", "4k"), ("nr_inodes", "8"), ("mode", "0700")], Forbid::Nothing)?;
    stack(order, &layers, &image, &["lower", "empty"])?;
    let options = [("lowerdir", "lower:empty")].into_iter().chain(UNMARKED).collect::<Vec<_>>();
    Tree::new("overlay", &options, Forbid::Write)
}

/// An overlay of a tmpfs over `image`. It belongs to the device's user namespace: its copies between the layers are made
/// with the device's privileges, and its marks (`trusted.overlay.*`) can be neither read nor forged from inside. What
/// the container writes is charged to its own control group, as the kernel charges whoever touches a page first.
fn writable(order: &LaunchOrder, image: Tree, size: u64) -> Result<Tree, Error> {
    let (bytes, inodes) = (size.to_string(), (size / BYTES_PER_INODE).max(1024).to_string());
    let options = [("size", bytes.as_str()), ("nr_inodes", inodes.as_str()), ("mode", "0700")];
    let layers = Tree::new("tmpfs", &options, Forbid::Nothing)?;
    stack(order, &layers, &image, &["lower", "upper", "work"])?;
    layers.adopt_owner("upper", &image)?;
    let layered = [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")];
    let options = layered.into_iter().chain(UNMARKED).collect::<Vec<_>>();
    Tree::new("overlay", &options, Forbid::Nothing)
}

/// Makes `folders` in `layers`, and mounts `image` on the first of them. Layers are named by path, from the working directory
/// on, and must lie in our mount namespace: the image's own folder serves, in our private copy.
fn stack(order: &LaunchOrder, layers: &Tree, image: &Tree, folders: &[&str]) -> Result<(), Error> {
    layers.attach(&MountTarget::of_host(&order.image)?)?;
    folders.iter().try_for_each(|folder| layers.make_folder(folder, 0o755))?;
    image.attach(&layers.place("lower")?)?;
    layers.enter()
}

/// The control folder: the socket in it can be connected to, but neither removed nor replaced.
fn control(folder: &std::path::Path) -> Result<Tree, Error> {
    let tree = Tree::of_host(folder)?;
    tree.restrict(Forbid::WriteExecute)?;
    Ok(tree)
}

/// Nodes of the container's own: on those of the device it could hear when others open theirs, and lock them (inotify(7),
/// flock(2)). Made as root of the device, for such of a user namespace cannot be opened, in our private copy of `/dev`.
fn devices() -> Result<Vec<(&'static str, Tree)>, Error> {
    let folder = std::path::Path::new("/dev");
    let nodes = Tree::new("tmpfs", &[("size", "4k"), ("nr_inodes", "8"), ("mode", "0755")], Forbid::ExecuteNotDevices)?;
    DEVICES.iter().try_for_each(|(name, major, minor)| nodes.make_device(name, *major, *minor))?;
    nodes.attach(&MountTarget::of_host(folder)?)?;
    DEVICES.iter().map(|(name, ..)| Ok((*name, Tree::of_host(&folder.join(name))?))).collect()
}
