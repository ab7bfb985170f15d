//! Whole builds from folders and archives. They need `mkfs.erofs`, `veritysetup` and, to give files away, root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use catenoid_schema::{
    cbor,
    digest::Digest,
    guest::{Guest, Root},
    units::ByteSize,
};
use clap::Parser;

use super::build::{BuildArguments, build};
use super::recipe;

const RECIPE: &str = "\
apiVersion: catenoid.dev/v1
kind: GuestRecipe
name: small
version: 1.2.3
description: for tests
architecture: x86_64
source: { directory: root }
files:
  - { src: page, dest: /srv/page }
  - { dest: /etc/given, mode: \"0600\" }
links:
  - { dest: /bin/again, target: program }
remove: [/doc]
keep: [/doc/*/copyright]
defaults:
  command: [/bin/again, --now]
root: { tmpfs: { size: 1MiB } }
";
/// Far over the descriptor of these tests.
const LIMITS: cbor::InputLimits = cbor::InputLimits { bytes: 1 << 16, depth: 8, items: 1000 };

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    build: BuildArguments,
}

/// A folder with a recipe and what it needs, written in the given order.
fn sources(order: impl Iterator<Item = usize>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for directory in ["bin", "doc/a", "doc/b", "etc", "var/log/app", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let files = [
        ("bin/program", "#!/bin/true\n", 0o4755),
        ("doc/a/copyright", "free", 0o644),
        ("doc/a/news", "none", 0o644),
        ("doc/b/news", "none", 0o644),
        ("etc/machine-id", "0123", 0o444),
        ("var/log/app/today", "it rained", 0o640),
        ("tmp/scrap", "", 0o600),
    ];
    for index in order {
        let (path, text, mode) = files[index];
        fs::write(root.join(path), text).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(root.join("bin/large"), Digest::of(b"large").as_bytes().repeat(10_000)).unwrap();
    symlink("program", root.join("bin/link")).unwrap();
    fs::write(folder.path().join("recipe.yaml"), RECIPE).unwrap();
    fs::write(folder.path().join("page"), "a page").unwrap();
    fs::write(folder.path().join("given"), "a secret").unwrap();
    folder
}

/// Builds, with `{}` in the arguments standing for the folder. Gives image and descriptor.
fn built(folder: &Path, more: &[&str]) -> Result<(PathBuf, PathBuf), String> {
    let folder = folder.to_str().unwrap();
    let fixed = ["build", "{}/recipe.yaml", "--out", "{}/out"].iter().chain(more);
    let line = Line::try_parse_from(fixed.map(|argument| argument.replace("{}", folder))).map_err(|e| e.to_string())?;
    let recipe = recipe::read(&PathBuf::from(folder).join("recipe.yaml")).map_err(|_| "the recipe is refused")?;
    match build(&line.build, recipe) {
        Ok(_) => Ok((
            format!("{folder}/out/small-1.2.3.image").into(),
            format!("{folder}/out/small-1.2.3.guest.cbor").into(),
        )),
        Err(error) => Err(error.to_string().replace(folder, "FOLDER")),
    }
}

const GIVEN: [&str; 2] = ["--file", "/etc/given={}/given"];

fn descriptor(path: &Path) -> Guest {
    cbor::decode(&fs::read(path).unwrap(), LIMITS).unwrap()
}

#[test]
fn tool_the_same_files_give_the_same_bytes_in_any_order_and_at_any_place() {
    let (one, other) = (sources(0..7), sources((0..7).rev()));
    let (image, guest) = built(one.path(), &GIVEN).unwrap();
    let (other_image, other_guest) = built(other.path(), &GIVEN).unwrap();
    assert!(fs::read(&image).unwrap() == fs::read(&other_image).unwrap(), "the images differ");
    assert_eq!(fs::read(&guest).unwrap(), fs::read(&other_guest).unwrap());

    // The same files through an archive, whose entries come in yet another order.
    let root = one.path().join("root");
    let mut tar = Command::new("tar");
    tar.args(["--sort=inode", "-cf"]).arg(one.path().join("root.tar")).arg("-C").arg(root).arg(".");
    assert!(tar.status().unwrap().success());
    let (archived, _) = built(one.path(), &[&GIVEN[..], &["--from-tar", "{}/root.tar"]].concat()).unwrap();
    assert!(fs::read(&archived).unwrap() == fs::read(&other_image).unwrap(), "the image from the archive differs");
}

#[test]
fn tool_the_descriptor_says_what_the_image_is() {
    let folder = sources(0..7);
    let (image, guest) = built(folder.path(), &GIVEN).unwrap();
    let bytes = fs::read(&image).unwrap();
    let guest = descriptor(&guest);
    assert_eq!((guest.metadata.name.as_str(), guest.metadata.version.as_str()), ("small", "1.2.3"));
    assert_eq!(guest.image.digest, Digest::of(&bytes));
    assert_eq!(guest.image.size, ByteSize::from_bytes(bytes.len() as u64));
    assert_eq!(guest.defaults.command, ["/bin/again", "--now"]);
    assert_eq!(guest.root, Root::Tmpfs { size: ByteSize::from_mebibytes(1) });

    let verity = &guest.image.verity;
    let verified = Command::new("veritysetup")
        .arg("verify")
        .args([&image, &image])
        .arg(verity.root_hash.to_hex())
        .arg(format!("--hash-offset={}", verity.data_blocks * 4096))
        .status();
    assert!(verified.unwrap().success());
}

#[test]
fn mountns_the_image_holds_the_furnished_tree() {
    let folder = sources(0..7);
    let (image, _) = built(folder.path(), &GIVEN).unwrap();
    let place = folder.path().join("mounted");
    fs::create_dir(&place).unwrap();
    // In a mount namespace of its own: nothing is left behind, however this ends.
    let listed = Command::new("unshare")
        .args(["--mount", "sh", "-ec"])
        .arg("mount -t erofs -o ro,loop \"$1\" \"$2\"; cd \"$2\"; find . -printf '%p %y %#m %U:%G %T@ %l\\n' | sort; cmp bin/large \"$3\"")
        .args(["sh".as_ref(), image.as_os_str(), place.as_os_str(), folder.path().join("root/bin/large").as_os_str()])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    insta::assert_snapshot!(String::from_utf8_lossy(&listed.stdout));
}

#[test]
fn tool_refusals_name_what_to_change() {
    let folder = sources(0..7);
    fs::write(folder.path().join("broken.tar"), [1; 4096]).unwrap();
    let table: [&[&str]; 7] = [
        &[],
        &["--file", "/etc/given={}/none"],
        &["--file", "/etc/given={}/root"],
        &["--file", "/etc/other={}/given"],
        &["--file", "/etc/given={}/given", "--from-tar", "{}/none.tar"],
        &["--file", "/etc/given={}/given", "--from-tar", "{}/broken.tar"],
        &["--file", "/etc/given={}/given", "--from-dir", "{}/root/doc"],
    ];
    let messages: Vec<String> = table.iter().map(|more| built(folder.path(), more).unwrap_err()).collect();
    insta::assert_snapshot!(messages.join("\n"));
    assert!(!folder.path().join("out").join("small-1.2.3.image").exists());
}

/// A recipe may be somebody else's: nothing that it names leads it to the files of the build host.
#[test]
fn tool_what_a_recipe_names_is_no_link_and_no_pipe() {
    let page = "src: page";
    let source = "source: { directory: root }";
    let table = [
        ("ln -s /etc/passwd link", page, "src: link", "`FOLDER/link` is a symbolic link, or is behind one"),
        ("ln -s page link", page, "src: link", "`FOLDER/link` is a symbolic link, or is behind one"),
        ("ln -s /etc link", page, "src: link/passwd", "`FOLDER/link/passwd` is a symbolic link, or is behind one"),
        ("ln -s . link", page, "src: link/page", "`FOLDER/link/page` is a symbolic link, or is behind one"),
        (
            "ln -s /etc link",
            source,
            "source: { directory: link }",
            "`FOLDER/link` is a symbolic link, or is behind one",
        ),
        (
            "ln -s / link",
            source,
            "source: { directory: link/etc }",
            "`FOLDER/link/etc` is a symbolic link, or is behind one",
        ),
        (
            "tar -cf real root; ln -s real link",
            source,
            "source: { tar: link }",
            "`FOLDER/link` is a symbolic link, or is behind one",
        ),
        ("mkfifo pipe", page, "src: pipe", "failed to read `FOLDER/pipe`, which goes to `/srv/page`"),
        ("mkfifo pipe", source, "source: { tar: pipe }", "failed to open the archive `FOLDER/pipe`"),
        ("true", page, "src: none", "failed to read `FOLDER/none`, which goes to `/srv/page`"),
        ("true", source, "source: { tar: none }", "failed to open the archive `FOLDER/none`"),
        ("true", source, "source: { directory: none }", "failed to read `FOLDER/none`"),
    ];
    for (script, from, to, expected) in table {
        let folder = sources(0..7);
        let made = Command::new("sh").args(["-ec", script]).current_dir(folder.path()).status().unwrap();
        assert!(made.success(), "{script}");
        fs::write(folder.path().join("recipe.yaml"), RECIPE.replace(from, to)).unwrap();
        assert_eq!(built(folder.path(), &GIVEN).unwrap_err(), expected, "{script}, {to}");
    }
}

/// What the command line names may be anywhere, and a pipe is no archive even there.
#[test]
fn tool_what_the_command_line_names_may_be_behind_a_link() {
    let folder = sources(0..7);
    let script = "mkdir far; mv root given far; ln -s far near; mkfifo pipe";
    let made = Command::new("sh").args(["-ec", script]).current_dir(folder.path()).status().unwrap();
    assert!(made.success());
    let near = ["--file", "/etc/given={}/near/given"];
    let archive = built(folder.path(), &[&near[..], &["--from-tar", "{}/pipe"]].concat());
    assert_eq!(archive.unwrap_err(), "failed to open the archive `FOLDER/pipe`");
    built(folder.path(), &[&near[..], &["--from-dir", "{}/near/root"]].concat()).unwrap();
}

/// What was there before a build that fails is there afterwards, and nothing else.
#[test]
fn tool_a_failed_build_leaves_the_earlier_image() {
    let folder = sources(0..7);
    let (image, _) = built(folder.path(), &GIVEN).unwrap();
    let before = fs::read(&image).unwrap();
    let recipe = RECIPE.replace("/bin/again, --now", "/bin/none");
    fs::write(folder.path().join("recipe.yaml"), recipe).unwrap();
    assert_eq!(
        built(folder.path(), &GIVEN).unwrap_err(),
        "the command `/bin/none` is not an executable file in the image"
    );
    assert!(fs::read(&image).unwrap() == before);
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 2);
}
