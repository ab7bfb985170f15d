//! The door to files, on a file system of the host.

use std::{fs, io};

use catenoid_kernel_base::files::{Error, FILES_LIMIT, Folder, listen, make_folders, make_pipe, open_pipe};

#[test]
fn a_blob_is_written_hashed_moved_and_removed() {
    let base = tempfile::tempdir().unwrap();
    let (incoming, blobs) = (base.path().join("incoming"), base.path().join("blobs"));
    let (incoming, blobs) = (Folder::open(&incoming).unwrap(), Folder::open(&blobs).unwrap());
    let writing = incoming.write("a.part").unwrap();
    writing.write_at(b"abc", 0).unwrap();
    writing.sync().unwrap();
    // FIPS 180-2, appendix B.1.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(writing.hash().unwrap().map(|byte| format!("{byte:02x}")).concat(), abc);
    for _ in 0..2 {
        incoming.rename("a.part", &blobs, abc).unwrap();
        assert_eq!(incoming.list(|_| true).unwrap().files, []);
    }
    let [entry] = blobs.list(|_| true).unwrap().files.try_into().unwrap();
    assert_eq!((entry.name.as_str(), entry.size), (abc, 3));
    assert_eq!(blobs.entry(abc).unwrap(), Some(entry));
    for _ in 0..2 {
        blobs.remove(abc).unwrap();
        assert_eq!(blobs.list(|_| true).unwrap().files, []);
    }
}

#[test]
fn a_folder_with_too_many_files_is_listed_in_part_until_enough_are_removed() {
    let base = tempfile::tempdir().unwrap();
    let folder = Folder::open(base.path()).unwrap();
    for number in 0..FILES_LIMIT + 2 {
        fs::write(base.path().join(format!("{number:08}")), "").unwrap();
    }
    let listed = folder.list(|_| true).unwrap().files;
    assert_eq!(listed.len(), FILES_LIMIT);
    listed.iter().for_each(|entry| folder.remove(&entry.name).unwrap());
    assert_eq!(folder.list(|_| true).unwrap().files.len(), 2);
}

#[test]
fn a_file_has_one_writer_at_a_time() {
    let base = tempfile::tempdir().unwrap();
    let folder = Folder::open(base.path()).unwrap();
    let writing = folder.write("a").unwrap();
    let second = folder.write("a").unwrap_err();
    assert!(matches!(&second, Error::Open { source, .. } if source.kind() == io::ErrorKind::WouldBlock), "{second}");
    drop(writing);
    folder.write("a").unwrap();
}

#[test]
fn a_folder_is_not_left_and_only_regular_files_are_in_it() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("secret"), "x").unwrap();
    let folder = Folder::open(&base.path().join("blobs")).unwrap();
    for name in ["", ".", "..", "../secret", "/etc/passwd", "a\0"] {
        assert!(matches!(folder.read(name), Err(Error::Name { .. })), "{name:?}");
        assert!(matches!(folder.remove(name), Err(Error::Name { .. })), "{name:?}");
    }
    std::os::unix::fs::symlink("../secret", base.path().join("blobs/link")).unwrap();
    nix::unistd::mkfifo(&base.path().join("blobs/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(base.path().join("blobs/folder")).unwrap();
    assert!(folder.read("link").is_err());
    assert_eq!(folder.list(|_| true).unwrap().files, []);
    std::os::unix::fs::symlink("blobs", base.path().join("other")).unwrap();
    assert!(matches!(Folder::open(&base.path().join("other")), Err(Error::Folder { .. })));
}

#[test]
fn a_pipe_and_a_socket_are_made_twice_and_no_link_leads_to_them() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let base = tempfile::tempdir().unwrap();
    let of = |path: &str| base.path().join(path);
    assert!(open_pipe(&of("a/b/pipe")).unwrap().is_none());
    for _ in 0..2 {
        make_pipe(&of("a/b/pipe")).unwrap();
        assert!(open_pipe(&of("a/b/pipe")).unwrap().is_some());
        listen(&of("a/c/socket")).unwrap();
        assert_eq!(fs::metadata(of("a/c/socket")).unwrap().permissions().mode() & 0o777, 0o666);
    }
    symlink("b", of("a/link")).unwrap();
    symlink("pipe", of("a/b/link")).unwrap();
    assert!(matches!(open_pipe(&of("a/link/pipe")), Err(Error::Folder { .. })));
    assert!(matches!(open_pipe(&of("a/b/link")), Err(Error::Open { .. })));
    assert!(matches!(make_folders(&of("a/link/x/y")), Err(Error::Folder { .. })));
    assert!(matches!(listen(&of("a/link/socket")), Err(Error::Folder { .. })));
}
