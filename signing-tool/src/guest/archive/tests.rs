//! Archives as tools make them, and as nobody should.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::Command,
};

use tar::{EntryType, Header};

use super::{
    super::{
        erofs,
        path::PathError,
        stage::{self, Opened},
        tree::{Content, Node, Tree},
    },
    Error, read,
};

fn archive(build: impl FnOnce(&mut tar::Builder<&mut File>)) -> (tempfile::NamedTempFile, Result<Tree, Error>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut handle = file.reopen().unwrap();
    let mut builder = tar::Builder::new(&mut handle);
    build(&mut builder);
    builder.finish().unwrap();
    drop(builder);
    let tree = read(Path::new("test.tar"), &handle);
    (file, tree)
}

fn header(kind: EntryType, user: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(user);
    header.set_gid(0);
    header.set_size(size);
    header
}

#[test]
fn every_kind_of_entry_is_read_or_left_out() {
    let long = format!("./{}", ["long"; 60].join("/"));
    let (_file, tree) = archive(|tar| {
        tar.append_data(&mut header(EntryType::Directory, 0, 0), "./", io::empty()).unwrap();
        tar.append_data(&mut header(EntryType::Regular, 7, 3), "./etc/a", &b"abc"[..]).unwrap();
        tar.append_link(&mut header(EntryType::Link, 0, 0), "./etc/b", "./etc/a").unwrap();
        tar.append_link(&mut header(EntryType::Symlink, 0, 0), "./etc/c", "../x").unwrap();
        tar.append_data(&mut header(EntryType::Char, 0, 0), "./dev/null", io::empty()).unwrap();
        tar.append_data(&mut header(EntryType::Regular, 0, 0), &long, io::empty()).unwrap();
    });
    let tree = tree.unwrap();
    let paths: Vec<String> = tree.entries().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/etc/a", "/etc/b", "/etc/c", &long[1..]]);
    assert_eq!(tree.files(), (3, 6));
    let (_, a) = tree.entries().next().unwrap();
    assert_eq!((a.user, a.mode), (7, 0o755));
}

#[test]
fn an_entry_outside_of_the_root_is_refused() {
    let mut raw = header(EntryType::Regular, 0, 0);
    raw.as_old_mut().name[..7].copy_from_slice(b"../evil");
    raw.set_cksum();
    let (_file, tree) = archive(|tar| tar.append(&raw, io::empty()).unwrap());
    assert!(matches!(tree, Err(Error::Path { index: 0, source: PathError::Component(_) })), "{tree:?}");
}

#[test]
fn an_id_over_the_range_names_its_entry() {
    let (_file, tree) =
        archive(|tar| tar.append_data(&mut header(EntryType::Regular, 1 << 20, 0), "a", io::empty()).unwrap());
    assert_eq!(
        tree.unwrap_err().to_string(),
        "`/a` belongs to user 1048576 and group 0, but a container's ids end at 65535"
    );
}

#[test]
fn a_compressed_archive_is_not_taken_for_a_broken_one() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"\x1f\x8b\x08\0\0\0\0\0").unwrap();
    let error = read(Path::new("x.tar.gz"), &file.reopen().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the archive `x.tar.gz` is compressed with gzip");
    assert_eq!(error.hint().unwrap(), "unpack it first with `gzip -d`");

    let mut broken = tempfile::NamedTempFile::new().unwrap();
    broken.write_all(&[b'x'; 1024]).unwrap();
    let error = read(Path::new("x.tar"), &broken.reopen().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "header 0 of the archive `x.tar` is none: its checksum is wrong");
}

/// How an archive is made.
enum Made {
    /// By a program: `a.tar` of the folder `w`, which is made by [`FOLDER`].
    By(&'static str),
    /// An archive with the file `a`, of which this is said, and nothing else.
    Saying(&'static [(&'static str, &'static str)]),
    /// The same, said of all entries.
    SayingOfAll(&'static [(&'static str, &'static str)]),
    /// An archive with these headers: type, name, target of a link, content.
    Of(&'static [(u8, &'static str, &'static str, &'static [u8])]),
}
use Made::{By, Of, Saying, SayingOfAll};

/// What is packed: modes, owners, holes, links, and a path that no old header has room for.
const FOLDER: &str =
    "mkdir -p w/bin w/data w/srv/share; printf '#!/bin/true\n' > w/bin/program; chmod 755 w/bin/program
    ln w/bin/program w/bin/again; ln -s ../bin/program w/srv/link; chmod 2775 w/srv/share; chown 33:50 w/srv/share
    truncate -s 1M w/data/s; printf HEAD | dd of=w/data/s conv=notrunc bs=1 status=none
    printf TAIL | dd of=w/data/s conv=notrunc bs=1 seek=1048572 status=none; chown 7:8 w/data/s
    long=$(printf %080d 0); mkdir -p w/$long/$long; printf long > w/$long/$long/$long; ln -s $long/$long/$long w/long
    find w -type d ! -path w/srv/share -exec chmod 755 {} +; ";

/// An archive: what it is, how it is made, and why it is refused, if it is.
const ARCHIVES: &[(&str, Made, Result<(), &str>)] = &[
    ("posix", By("tar -C w --format=posix -cf a.tar ."), Ok(())),
    ("gnu", By("tar -C w --format=gnu -cf a.tar ."), Ok(())),
    ("pax as others write it", By("tar -C w --format=posix --pax-option=delete=atime -cf a.tar bin data srv"), Ok(())),
    ("ustar", By("tar -C w --format=ustar -cf a.tar bin data srv"), Ok(())),
    ("v7", By("tar -C w --format=v7 -cf a.tar bin data srv"), Ok(())),
    ("appended", By("tar -C w -cf a.tar bin data; tar -C w -rf a.tar srv; tar -C w -rf a.tar bin"), Ok(())),
    ("by its numbers alone", By("tar -C w --numeric-owner -b 1 -cf a.tar ."), Ok(())),
    ("owner", Saying(&[("uid", "7"), ("gid", "8"), ("uname", "root"), ("gname", "root")]), Ok(())),
    ("path", Saying(&[("path", "./b")]), Ok(())),
    ("size", Saying(&[("size", "3")]), Ok(())),
    ("times", Saying(&[("mtime", "1.5"), ("atime", "1"), ("ctime", "1"), ("comment", "x")]), Ok(())),
    ("names are text", Saying(&[("hdrcharset", "BINARY")]), Ok(())),
    ("attribute that looks like a path", Saying(&[("SCHILY.xattr.user.a", "1\n12 path=evil\n")]), Ok(())),
    ("numbers of the host", Saying(&[("SCHILY.dev", "1"), ("SCHILY.ino", "2"), ("SCHILY.nlink", "1")]), Ok(())),
    ("git archive", SayingOfAll(&[("comment", "158487b")]), Ok(())),
    ("a file over a file", Of(&[(b'0', "a", "", b"x"), (b'0', "a", "", b"other")]), Ok(())),
    ("a file over a link", Of(&[(b'2', "a", "b", b""), (b'0', "a", "", b"x")]), Ok(())),
    ("a link over a file", Of(&[(b'0', "a", "", b"x"), (b'2', "a", "b", b"")]), Ok(())),
    ("a file over an empty directory", Of(&[(b'5', "a/", "", b""), (b'0', "a", "", b"x")]), Ok(())),
    ("a file over a pipe", Of(&[(b'6', "a", "", b""), (b'0', "a", "", b"x")]), Ok(())),
    ("a hard link over a file", Of(&[(b'0', "a", "", b"x"), (b'0', "b", "", b"y"), (b'1', "b", "a", b"")]), Ok(())),
    ("a directory behind what is in it", Of(&[(b'0', "d/a", "", b"x"), (b'5', "d/", "", b"")]), Ok(())),
    (
        "sparse 1.0",
        By("tar -C w -S --format=posix -cf a.tar data"),
        Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
    ),
    (
        "sparse 0.1",
        By("tar -C w -S --format=posix --sparse-version=0.1 -cf a.tar data"),
        Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
    ),
    (
        "sparse 0.0",
        By("tar -C w -S --format=posix --sparse-version=0.0 -cf a.tar data"),
        Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
    ),
    (
        "sparse of GNU",
        By("tar -C w -S --format=gnu -cf a.tar data"),
        Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
    ),
    (
        "sparse of Solaris",
        Saying(&[("SUN.holesdata", " 0 1 3")]),
        Err("`/a` is stored as a sparse file, whose holes are not in the archive"),
    ),
    (
        "cut within a file",
        By("tar -C w -cf whole bin data; head -c 100000 whole > a.tar"),
        Err("the archive ends early: `a.tar` has 100000 bytes, and what it holds needs 1051648 at least"),
    ),
    (
        "cut within a header",
        By("tar -C w -cf whole bin; head -c 700 whole > a.tar"),
        Err("the archive ends early: `a.tar` has 700 bytes, and what it holds needs 1024 at least"),
    ),
    (
        "cut between two entries",
        By("tar -C w -cf whole bin; head -c 512 whole > a.tar"),
        Err("the archive ends early: `a.tar` has 512 bytes, and what it holds needs 1024 at least"),
    ),
    (
        "cut before a long name's entry",
        By("tar -C w --format=gnu -cf whole long; head -c 1024 whole > a.tar"),
        Err("the archive ends early: `a.tar` has 1024 bytes, and what it holds needs 1536 at least"),
    ),
    (
        "empty",
        By(": > a.tar"),
        Err("the archive ends early: `a.tar` has 0 bytes, and what it holds needs 512 at least"),
    ),
    (
        "one behind another",
        By("tar -C w -cf a.tar bin; tar -C w -c srv >> a.tar"),
        Err("the archive `a.tar` ends at byte 2560, but something follows"),
    ),
    (
        "unknown key",
        Saying(&[("VENDOR.mood", "good")]),
        Err("the archive says `VENDOR.mood` of `/a`, which is not known here"),
    ),
    (
        "access control list",
        Saying(&[("SCHILY.acl.access", "user::rwx,group::r--")]),
        Err("the archive says `SCHILY.acl.access` of `/a`, which is not known here"),
    ),
    (
        "volume",
        Saying(&[("GNU.volume.offset", "512")]),
        Err("the archive says `GNU.volume.offset` of `/a`, which is not known here"),
    ),
    (
        "ustar of another version",
        By("tar -C w --format=ustar -cf a.tar bin; printf /1 | dd of=a.tar bs=1 seek=263 conv=notrunc status=none"),
        Err("header 0 of the archive `a.tar` is of a version of ustar that is not known here"),
    ),
    (
        "names are no text",
        Saying(&[("hdrcharset", "ISO-IR 8859 1 1998")]),
        Err("the archive says `hdrcharset` of `/a`, whose value cannot be followed"),
    ),
    ("negative owner", Saying(&[("uid", "-1")]), Err("the archive says `uid` of `/a`, whose value cannot be followed")),
    (
        "two paths",
        Saying(&[("path", "b"), ("path", "c")]),
        Err("the archive says `path` of `/c`, and has said the same before"),
    ),
    ("no path", Saying(&[("path", "")]), Err("the archive says `path` of `/a`, whose value cannot be followed")),
    (
        "owner of all",
        SayingOfAll(&[("uid", "0")]),
        Err("the archive says `uid` of all entries, which is followed for single entries only"),
    ),
    (
        "no record",
        Of(&[(b'x', "x", "", b"8 path=a\n"), (b'0', "a", "", b"")]),
        Err("header 0 of the archive `a.tar` is no extended header"),
    ),
    (
        "about nothing",
        Of(&[(b'0', "a", "", b""), (b'L', "x", "", b"b\0")]),
        Err("header 1 of the archive `a.tar` is about a next entry, of which there is none"),
    ),
    (
        "long name and path",
        Of(&[(b'L', "x", "", b"b\0"), (b'x', "x", "", b"10 path=c\n"), (b'0', "a", "", b"")]),
        Err("the archive says `path` of `/c`, and has said the same before"),
    ),
    (
        "content of a hard link",
        Of(&[(b'0', "a", "", b""), (b'1', "b", "a", &[1; 512])]),
        Err("`/b` is a hard link in the archive, but has content"),
    ),
    (
        "content of a directory",
        Of(&[(b'5', "a/", "", &[1; 512])]),
        Err("`/a` is a directory in the archive, but has content"),
    ),
    (
        "content of a pipe",
        Of(&[(b'6', "a", "", &[1; 512])]),
        Err("`/a` is a device node or a pipe in the archive, but has content"),
    ),
    (
        "file that some take for a directory",
        Of(&[(b'0', "a/", "", b"")]),
        Err("`/a` is a file in the archive, but has a name that ends with `/`"),
    ),
    (
        "a pipe over a file",
        Of(&[(b'0', "a", "", b"x"), (b'6', "a", "", b"")]),
        Err("`/a` is a device node or a pipe in the archive, and a file by an earlier entry"),
    ),
    (
        "a device node over a file",
        Of(&[(b'0', "a", "", b"x"), (b'3', "a", "", b"")]),
        Err("`/a` is a device node or a pipe in the archive, and a file by an earlier entry"),
    ),
    (
        "a pipe over a directory",
        Of(&[(b'0', "a/b", "", b"x"), (b'6', "a", "", b"")]),
        Err("`/a` is a device node or a pipe in the archive, and a directory by an earlier entry"),
    ),
    (
        "a directory over a file",
        Of(&[(b'0', "a", "", b"x"), (b'5', "a/", "", b"")]),
        Err("`/a` is a directory in the archive, and a file by an earlier entry"),
    ),
    (
        "a directory over a link",
        Of(&[(b'5', "d/", "", b""), (b'2', "l", "d", b""), (b'5', "l/", "", b"")]),
        Err("`/l` is a directory in the archive, and a symbolic link by an earlier entry"),
    ),
    (
        "a directory over a pipe",
        Of(&[(b'6', "a", "", b""), (b'5', "a/", "", b"")]),
        Err("`/a` is a directory in the archive, and a device node or a pipe by an earlier entry"),
    ),
    (
        "a file over a directory that something is in",
        Of(&[(b'0', "a/b", "", b"x"), (b'0', "a", "", b"y"), (b'5', "a/", "", b"")]),
        Err("`/a` is a file in the archive, and a directory by an earlier entry"),
    ),
    (
        "a file over a directory that a pipe is in",
        Of(&[(b'6', "a/b", "", b""), (b'0', "a", "", b"y")]),
        Err("`/a` is a file in the archive, and a directory by an earlier entry"),
    ),
    (
        "through a link",
        Of(&[(b'5', "d/", "", b""), (b'2', "l", "d", b""), (b'0', "l/x", "", b"x"), (b'5', "l/", "", b"")]),
        Err("`/l/x` is in `/l`, which is not a directory in the image but a symbolic link"),
    ),
    (
        "a hard link through a link",
        Of(&[(b'0', "a", "", b"x"), (b'2', "l", ".", b""), (b'1', "l/b", "a", b""), (b'5', "l/", "", b"")]),
        Err("`/l/b` is in `/l`, which is not a directory in the image but a symbolic link"),
    ),
    (
        "in a file",
        Of(&[(b'0', "a", "", b"x"), (b'0', "a/b", "", b"y"), (b'5', "a/", "", b"")]),
        Err("`/a/b` is in `/a`, which is not a directory in the image but a file"),
    ),
    (
        "far down in a file",
        Of(&[(b'0', "a", "", b"x"), (b'0', "a/b/c", "", b"y"), (b'5', "a/", "", b"")]),
        Err("`/a/b/c` is in `/a`, which is not a directory in the image but a file"),
    ),
    (
        "in a pipe",
        Of(&[(b'6', "a", "", b""), (b'0', "a/b", "", b"x")]),
        Err("`/a/b` is in `/a`, which is not a directory in the image but a device node or a pipe"),
    ),
    ("file at the root", Of(&[(b'0', "./", "", b"x")]), Err("entry 0 of the archive has no usable path")),
    ("hard link to the root", Of(&[(b'1', "a", "./", b"")]), Err("entry 0 of the archive has no usable path")),
    ("part of several", Of(&[(b'M', "a", "", b"")]), Err("`/a` is of tar type `M`, which an image cannot hold")),
];

fn sh(folder: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn make(made: &Made, folder: &Path) {
    let build = |headers: &[(u8, &str, &str, &[u8])]| {
        let mut builder = tar::Builder::new(File::create(folder.join("a.tar")).unwrap());
        for (kind, name, target, content) in headers {
            let mut header = header(EntryType::new(*kind), 0, content.len() as u64);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.finish().unwrap();
    };
    let said = |kind, said: &[(&str, &str)]| {
        let records: String = said.iter().map(|(key, value)| record(key, value)).collect();
        build(&[(kind, "x", "", records.as_bytes()), (b'0', "a", "", b"abc")]);
    };
    match made {
        By(script) => drop(sh(folder, &format!("{FOLDER}{script}"))),
        Saying(records) => said(b'x', records),
        SayingOfAll(records) => said(b'g', records),
        Of(headers) => build(headers),
    }
}

/// A record of an extended header, whose length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|length: &usize| length.to_string().len() + rest == *length).unwrap();
    format!("{length} {key}={value}\n")
}

/// Reads `a.tar` of a folder into an image and unpacks that to `ours`.
fn unpack_image(folder: &Path) -> Result<(), String> {
    let archive = File::open(folder.join("a.tar")).unwrap();
    let mut tree = read(Path::new("a.tar"), &archive).map_err(|error| error.to_string())?;
    tree.complete().unwrap();
    fs::create_dir(folder.join("staged")).unwrap();
    stage::write(&tree, &Opened::Archive(archive), &folder.join("staged")).unwrap();
    erofs::make(&folder.join("staged"), &folder.join("image"), [0; 16]).unwrap();
    sh(folder, "fsck.erofs --extract=ours image >&2");
    Ok(())
}

#[test]
fn tool_an_archive_is_what_gnu_tar_unpacks_or_is_refused() {
    let listed = "find . -mindepth 1 -printf '%p %y %m %U:%G %l\\n' | sort; find . -type f -exec sha256sum {} + | sort";
    let mut wrong = Vec::new();
    for (what, made, expected) in ARCHIVES {
        let folder = tempfile::tempdir().unwrap();
        make(made, folder.path());
        let found = unpack_image(folder.path());
        if found != expected.map_err(str::to_owned) {
            wrong.push(format!("{what}: {found:?}"));
        } else if found.is_ok() {
            sh(folder.path(), "mkdir theirs; tar -C theirs --numeric-owner -xpf a.tar");
            let [ours, theirs] = ["ours", "theirs"].map(|place| sh(&folder.path().join(place), listed));
            if ours != theirs {
                wrong.push(format!("{what}:\n{ours}\nand GNU tar unpacks\n{theirs}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No byte of an archive can be missing without a word.
#[test]
fn a_cut_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    make(&Of(&[(b'5', "d/", "", b""), (b'0', "d/a", "", b"abc")]), folder.path());
    let whole = fs::read(folder.path().join("a.tar")).unwrap();
    // The mark that ends it is two blocks of zeros, of which the first says all.
    for length in 0..4 * 512 {
        let cut = folder.path().join("cut");
        fs::write(&cut, &whole[..length]).unwrap();
        let refused = read(&cut, &File::open(&cut).unwrap());
        assert!(matches!(refused, Err(Error::EndsEarly { .. })), "{length}: {refused:?}");
    }
}

proptest::proptest! {
    /// Whatever stands in headers and records: no panic, and no content that is not in the archive.
    #[test]
    fn any_archive_is_read_or_refused(changes in proptest::collection::vec((0..2560_usize, 0_u8..), 0..8)) {
        let folder = tempfile::tempdir().unwrap();
        make(&Saying(&[("path", "b"), ("uid", "7"), ("size", "3"), ("SCHILY.xattr.user.a", "x")]), folder.path());
        let mut bytes = fs::read(folder.path().join("a.tar")).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        for at in [0, 1024] {
            let mut header = Header::from_byte_slice(&bytes[at..at + 512]).clone();
            header.set_cksum();
            bytes[at..at + 512].copy_from_slice(header.as_bytes());
        }
        let changed = folder.path().join("changed");
        fs::write(&changed, &bytes).unwrap();
        for (path, entry) in read(&changed, &File::open(&changed).unwrap()).unwrap_or_default().entries() {
            if let Node::File { content: Content::Archive { offset, size }, .. } = &entry.node {
                proptest::prop_assert!(offset + size <= bytes.len() as u64, "{path}");
            }
        }
    }
}
