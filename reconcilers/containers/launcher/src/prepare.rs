//! What needs the privileges of the device's root: the image with mapped ids, the writable layer, the pinned namespaces.

use std::os::fd::{AsFd as _, OwnedFd};

use catenoid_containers::order::{LaunchOrder, RootMode};
use catenoid_kernel::launch::{self, Error, Forbid, Namespace, Place, Tree};

/// Devices that hold no state of the device's and give no access to it.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// A tmpfs inode, with its dentry, costs about 1 KiB of kernel memory that `size` does not count: one for each 4 KiB of
/// it keeps small files possible and their cost bounded.
const BYTES_PER_INODE: u64 = 4096;

/// Ready to be cloned into.
pub(crate) struct Prepared {
    /// The container's root, not attached yet.
    pub(crate) root: Tree,
    /// The folder with the control socket, not attached yet.
    pub(crate) control: Option<Tree>,
    /// The host's nodes for `/dev`, by name, not attached yet.
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
    let log = launch::open_log(
        &order.log,
        order.id_base.saturating_add(order.user),
        order.id_base.saturating_add(order.group_id),
    )?;
    launch::own_mounts()?;
    let image = Tree::of_host(&order.image)?;
    // What its own mount forbids stays forbidden. Links in the image are followed nowhere in here.
    image.restrict(Forbid::Write)?;
    image.map_ids(user.as_fd())?;
    let root = match order.root {
        RootMode::ReadOnly => image,
        RootMode::Tmpfs { size } => writable(order, image, size.bytes())?,
    };
    let control = order.control.as_deref().map(control).transpose()?;
    let devices = DEVICES.into_iter().map(|name| Ok((name, device(name)?))).collect::<Result<_, Error>>()?;
    Ok(Prepared { root, control, devices, user, network, log })
}

/// An overlay of a tmpfs over `image`. It belongs to the device's user namespace: its copies between the layers are made
/// with the device's privileges, and its marks (`trusted.overlay.*`) can be neither read nor forged from inside. What
/// the container writes is charged to its own control group, as the kernel charges whoever touches a page first.
fn writable(order: &LaunchOrder, image: Tree, size: u64) -> Result<Tree, Error> {
    let (bytes, inodes) = (size.to_string(), (size / BYTES_PER_INODE).max(1024).to_string());
    let options = [("size", bytes.as_str()), ("nr_inodes", inodes.as_str()), ("mode", "0700")];
    let layers = Tree::new("tmpfs", &options, Forbid::Nothing)?;
    // Layers are named by path and must lie in our mount namespace: the image's own folder serves, in our private copy.
    layers.attach(&Place::of_host(&order.image)?)?;
    for folder in ["lower", "upper", "work"] {
        layers.make_folder(folder, 0o755)?;
    }
    layers.adopt_owner("upper", &image)?;
    image.attach(&layers.place("lower")?)?;
    layers.enter()?;
    let options = [
        ("lowerdir", "lower"),
        ("upperdir", "upper"),
        ("workdir", "work"),
        // Marks in a lower layer that would lead elsewhere are not followed, whatever the kernel's defaults are.
        ("redirect_dir", "nofollow"),
        ("metacopy", "off"),
        ("index", "off"),
    ];
    Tree::new("overlay", &options, Forbid::Nothing)
}

/// The control folder: the socket in it can be connected to, but neither removed nor replaced.
fn control(folder: &std::path::Path) -> Result<Tree, Error> {
    let tree = Tree::of_host(folder)?;
    tree.restrict(Forbid::WriteExecute)?;
    Ok(tree)
}

fn device(name: &str) -> Result<Tree, Error> {
    let tree = Tree::of_host(&std::path::Path::new("/dev").join(name))?;
    tree.restrict_device()?;
    Ok(tree)
}
