//! The door to files, where somebody who had the disk in hand put things in its way.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use catenoid_kernel_base::files::{Durability, Error, FILES_LIMIT, Folder, make_way, sift, take_notes};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// A file system as a device has it, with `options` for `mkfs.ext4`, where nobody else sees it.
fn ext4(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    unshare(CloneFlags::CLONE_NEWNS).expect("tests on the kernel run as root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let base = tempfile::tempdir().unwrap();
    let (image, data) = (base.path().join("image"), base.path().join("data"));
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    fs::create_dir(&data).unwrap();
    run("mkfs.ext4", &[&["-q"], options, &[image.to_str().unwrap()]].concat());
    run("mount", &["-o", "loop", image.to_str().unwrap(), data.to_str().unwrap()]);
    (base, data)
}

/// Makes an inode of `image`, which is not mounted, one that the kernel does not take.
fn bend(image: &Path, path: &str) {
    run("debugfs", &["-w", "-R", &format!("set_inode_field {path} mode 0"), image.to_str().unwrap()]);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

fn fix(flag: &str, path: &Path) {
    run("chattr", &[flag, path.to_str().unwrap()]);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn whatever_has_the_name_of_a_new_file_is_put_aside() {
    let bends: [fn(&Path); 4] = [
        |new| fs::create_dir(new).unwrap(),
        |new| fs::create_dir_all(new.join("x/y")).unwrap(),
        |new| symlink("/etc/passwd", new).unwrap(),
        |new| nix::unistd::mkfifo(new, nix::sys::stat::Mode::S_IRWXU).unwrap(),
    ];
    for bend in bends {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::open(base.path()).unwrap();
        bend(&base.path().join("a.new"));
        for content in [b"1", b"2"] {
            folder.replace("a", content, Durability::OnDisk).unwrap();
            assert_eq!(fs::read(base.path().join("a")).unwrap(), content);
        }
    }
}

#[test]
fn mountns_a_name_that_cannot_be_freed_is_not_needed_to_write_a_file() {
    let (_base, data) = ext4(&["-O", "^filetype"]);
    let folder = Folder::open(&data.join("ledger")).unwrap();
    let new = data.join("ledger/a.new");
    // A mount stands for what cannot be renamed.
    fs::create_dir(&new).unwrap();
    mount(Some("none"), &new, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    for content in [b"1", b"2"] {
        folder.replace("a", content, Durability::OnDisk).unwrap();
        assert_eq!(fs::read(data.join("ledger/a")).unwrap(), content);
        assert_eq!(names(&data.join("ledger")), ["a", "a.new"]);
    }
}

#[test]
fn mountns_flags_are_taken_from_what_is_in_the_way() {
    let (_base, data) = ext4(&[]);
    fs::create_dir_all(data.join("ledger/a.new/x")).unwrap();
    fs::write(data.join("ledger/b.new"), "").unwrap();
    fs::create_dir(data.join("blobs")).unwrap();
    symlink("/etc", data.join("audit")).unwrap();
    for (flag, path) in [("+i", "ledger/a.new/x"), ("+i", "ledger/a.new"), ("+a", "ledger/b.new"), ("+i", "ledger")] {
        fix(flag, &data.join(path));
    }
    fix("+a", &data.join("blobs"));
    fix("+i", &data);
    for (name, folder) in [("audit", true), ("ledger", true), ("ledger/a", false), ("blobs", true), ("boots", true)] {
        make_way(&data.join(name), folder).unwrap();
    }
    for path in ["ledger/a", "ledger/b", "blobs/x", "audit/x"] {
        catenoid_kernel_base::files::replace(&data.join(path), b"1", Durability::OnDisk).unwrap();
    }
    let held = names(&data.join("ledger"));
    let [_, folder, _] = held.as_slice() else { panic!("{held:?}") };
    assert!(folder.starts_with("a.new.foreign-"), "{held:?}");
    let notes = take_notes();
    let freed = |path: &str| format!("`{}` could not be changed, and can be again", data.join(path).display());
    for path in ["ledger", "ledger/a.new", "ledger/b.new", "blobs"] {
        assert!(notes.contains(&freed(path)), "{path}: {notes:?}");
    }
}

#[test]
fn the_way_is_free_whatever_has_the_name_aside() {
    // A folder with content, and a second name of the same file: a plain rename to either moves nothing.
    let bends: [fn(&Path, &Path); 3] = [
        |_, aside| fs::create_dir_all(aside.join("x")).unwrap(),
        |name, aside| fs::hard_link(name, aside).unwrap(),
        |_, aside| fs::write(aside, "older evidence").unwrap(),
    ];
    for bend in bends {
        let base = tempfile::tempdir().unwrap();
        let (path, other) = (base.path().join("a"), base.path().join("other"));
        fs::write(&path, "newer evidence").unwrap();
        fs::hard_link(&path, &other).unwrap();
        let aside = base.path().join(format!("a.foreign-{}", fs::metadata(&path).unwrap().ino()));
        bend(&path, &aside);
        let before = fs::read(&aside).ok();
        make_way(&path, false).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(&aside).ok(), before, "what was put aside before stays");
        assert_eq!(names(base.path()).len(), 3);
    }
}

#[test]
fn a_folder_of_ours_is_ours_alone() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("blobs");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
    make_way(&path, true).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(take_notes(), [format!("`{}` was open to others, and is not any more", path.display())]);
    make_way(&path, true).unwrap();
    assert_eq!(take_notes(), [""; 0]);
}

#[test]
fn mountns_what_cannot_be_opened_is_freed_of_flags_or_put_aside() {
    let (_base, data) = ext4(&[]);
    let folder = Folder::open(&data.join("incoming")).unwrap();
    let path = |name: &str| data.join("incoming").join(name);
    for name in ["immutable", "append-only", "twice", "sticky"] {
        fs::write(path(name), "old").unwrap();
    }
    fix("+i", &path("immutable"));
    fix("+a", &path("append-only"));
    fs::hard_link(path("twice"), path("other")).unwrap();
    fs::create_dir_all(path("folder/x")).unwrap();
    fs::set_permissions(data.join("incoming"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(path("sticky"), Some(1000), None).unwrap();
    for (name, size) in [("immutable", 3), ("append-only", 3), ("twice", 0), ("folder", 0), ("sticky", 3)] {
        assert_eq!(folder.write(name).unwrap().size().unwrap(), size, "{name}");
    }
    fix("+i", &path("immutable"));
    folder.remove("immutable").unwrap();
    assert!(!path("immutable").exists());
    assert_eq!(folder.entry("other").unwrap().map(|entry| entry.size), None, "it has a second name aside");
}

#[test]
fn a_file_is_moved_whatever_is_in_its_new_place() {
    let bends: [fn(&Path, &Path); 4] = [
        |_, to| fs::create_dir_all(to.join("x")).unwrap(),
        |from, to| fs::hard_link(from, to).unwrap(),
        |_, to| symlink("/etc/passwd", to).unwrap(),
        |_, to| {
            fs::write(to, "old").unwrap();
            fs::hard_link(to, to.with_extension("other")).unwrap();
        },
    ];
    for (number, bend) in bends.iter().enumerate() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::open(base.path()).unwrap();
        fs::write(base.path().join("from"), "new").unwrap();
        bend(&base.path().join("from"), &base.path().join("to"));
        folder.rename("from", &folder, "to").unwrap();
        assert!(!base.path().join("from").exists(), "{number}");
        assert_eq!(fs::read(base.path().join("to")).unwrap(), b"new", "{number}");
        assert!(!fs::symlink_metadata(base.path().join("to")).unwrap().is_symlink(), "{number}");
    }
}

#[test]
fn mountns_a_file_system_without_types_is_listed() {
    let (_base, data) = ext4(&["-O", "^filetype"]);
    let folder = Folder::open(&data.join("blobs")).unwrap();
    fs::write(data.join("blobs/a"), "x").unwrap();
    fs::create_dir(data.join("blobs/b")).unwrap();
    let listed = folder.list(|_| true).unwrap();
    assert_eq!(listed.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert!(listed.missed.is_none(), "{:?}", listed.missed);
}

#[test]
fn mountns_what_cannot_be_looked_at_hides_nothing_and_is_in_nobodys_way() {
    let (base, data) = ext4(&["-O", "^metadata_csum"]);
    fs::create_dir(data.join("blobs")).unwrap();
    for name in ["a", "b", "c", "b.new"] {
        fs::write(data.join("blobs").join(name), name).unwrap();
    }
    run("umount", &[data.to_str().unwrap()]);
    let image = base.path().join("image");
    ["/blobs/b", "/blobs/b.new"].iter().for_each(|path| bend(&image, path));
    run("mount", &["-o", "loop,errors=continue", image.to_str().unwrap(), data.to_str().unwrap()]);
    let folder = Folder::open(&data.join("blobs")).unwrap();
    let listed = folder.list(|name| name != "b.new").unwrap();
    assert_eq!(listed.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert!(matches!(listed.missed, Some(Error::Open { .. })), "{:?}", listed.missed);
    folder.replace("d", b"d", Durability::OnDisk).unwrap();
    let ours = |name: &str| ["a", "b", "c", "d"].contains(&name);
    sift(&data.join("blobs"), ours).unwrap();
    assert_eq!(names(&data.join("blobs")), ["a", "c", "d"]);
    let folder = Folder::open(&data.join("blobs")).unwrap();
    folder.replace("b", b"new", Durability::OnDisk).unwrap();
    assert_eq!(fs::read(data.join("blobs/b")).unwrap(), b"new");
}

#[test]
fn a_folder_is_sifted_of_whatever_is_in_it() {
    let bends: [fn(&Path); 7] = [
        |folder| {
            (0..FILES_LIMIT + 1).for_each(|number| drop(fs::File::create(folder.join(number.to_string())).unwrap()))
        },
        |folder| fs::create_dir_all(folder.join("x/y")).unwrap(),
        |folder| fs::create_dir_all(folder.join("lost/y")).unwrap(),
        |folder| symlink("/etc", folder.join("x")).unwrap(),
        |folder| nix::unistd::mkfifo(&folder.join("lost"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
        |folder| {
            fs::write(folder.join("lost"), "x").unwrap();
            fs::hard_link(folder.join("lost"), folder.with_file_name("other")).unwrap();
        },
        // Somebody put it there, or a power cut came before everything was moved.
        |folder| {
            fs::create_dir(folder.with_file_name("blobs.old")).unwrap();
            fs::rename(folder.join("a"), folder.with_file_name("blobs.old").join("a")).unwrap();
        },
    ];
    for (number, bend) in bends.iter().enumerate() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("blobs");
        let ours = |name: &str| ["a", "b", "lost"].contains(&name);
        sift(&path, ours).unwrap();
        ["a", "b"].iter().for_each(|name| fs::write(path.join(name), name).unwrap());
        sift(&path, ours).unwrap();
        assert_eq!(take_notes(), [""; 0], "{number}: there is nothing to do");
        bend(&path);
        let evidence = names(&path).len() - ["a", "b"].iter().filter(|name| path.join(name).exists()).count();
        for _ in 0..2 {
            sift(&path, ours).unwrap();
            assert_eq!(names(&path), ["a", "b"], "{number}");
        }
        let note = take_notes().pop().unwrap();
        let aside = names(base.path()).into_iter().find(|name| name.starts_with("blobs.old.foreign-")).unwrap();
        assert_eq!(names(&base.path().join(&aside)).len(), evidence, "{number}");
        assert!(note.contains(&aside), "{note}");
    }
}
