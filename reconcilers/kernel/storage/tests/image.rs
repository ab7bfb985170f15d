//! The doors to loop devices and mounts of images, on the kernel.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::Command,
};

use catenoid_kernel_base::files::read_device;
use catenoid_kernel_storage::{
    loop_device::{LoopDevice, file_behind},
    mount::{self, Mount, mount_image, mounts_in, unmount_all},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// An erofs image that has the file `hello`.
fn image(folder: &Path) -> File {
    let (content, image) = (folder.join("content"), folder.join("image"));
    fs::create_dir(&content).unwrap();
    fs::write(content.join("hello"), "from the image").unwrap();
    let made = Command::new("mkfs.erofs").arg(&image).arg(&content).output().expect("`erofs-utils` is installed");
    assert!(made.status.success(), "{made:?}");
    File::open(image).unwrap()
}

fn private_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("tests on the kernel run as root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

#[test]
fn mountns_an_image_is_mounted_so_that_nothing_can_be_written() {
    use std::os::linux::fs::MetadataExt;

    private_mounts();
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().canonicalize().unwrap();
    let file = image(&base);
    let device = LoopDevice::attach(&file).unwrap();
    let number = device.number().unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(file_behind(number).unwrap(), Some((metadata.st_dev(), metadata.st_ino())));
    assert!(read_device(device.path(), |_| true).unwrap());
    assert!(!read_device(device.path(), |_| false).unwrap());

    let (mounts, target) = (base.join("guests"), base.join("guests/0123456789abcdef"));
    assert_eq!(mounts_in(&mounts).unwrap(), []);
    mount_image(device.path(), &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("hello")).unwrap(), "from the image");
    let written = fs::write(target.join("hello"), "x").unwrap_err();
    assert_eq!(written.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let kind = "erofs".to_owned();
    let locked = Mount { target: target.clone(), device: number, kind, whole: true, locked: true };
    assert_eq!(mounts_in(&mounts).unwrap(), std::slice::from_ref(&locked));

    // Somebody mounts something over it.
    mount(Some("none"), &target, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let [below, above] = mounts_in(&mounts).unwrap().try_into().unwrap();
    assert_eq!((below, above.kind.as_str(), above.locked), (locked, "tmpfs", false));

    let open = File::open(target.join(".")).unwrap();
    let busy = unmount_all(&target).unwrap_err();
    assert!(matches!(&busy, mount::Error::Unmount { source, .. } if source.kind() == io::ErrorKind::ResourceBusy));
    drop(open);
    for _ in 0..2 {
        unmount_all(&target).unwrap();
        assert_eq!((mounts_in(&mounts).unwrap(), target.exists()), (vec![], false));
    }
}

#[test]
fn mountns_what_is_no_image_is_not_mounted() {
    private_mounts();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("image"), vec![0; 64 * 1024]).unwrap();
    let device = LoopDevice::attach(&File::open(folder.path().join("image")).unwrap()).unwrap();
    let refused = mount_image(device.path(), &folder.path().join("guest")).unwrap_err();
    assert!(matches!(refused, mount::Error::Mount { .. }), "{refused}");
}
