//! Tests of rooms on the kernel as the userland of the device's own kernel, for `vm_rooms_hold_on_the_device_kernel`
//! to boot. A build host may lack device-mapper or have its control groups in version 1; the device's kernel has both as these
//! rooms need. A room whose tests need nothing that a build host lacks runs them there. Doors hold on both kernels.
//!
//! ```text
//! target/catenoid/rooms/
//!   kernel       as in the device image, unpacked
//!   initramfs    tests/kernel of these rooms, what they run, the device's modules; see rooms/init and rooms/run
//!   tests.json   how many tests each room has
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use catenoid_house::ROOMS;
use serde_json::Value;

use crate::image::initramfs::Initramfs;
use crate::image::kernel::Kernel;
use crate::run;
use crate::walls::tree::{self, Source};

/// Each of these packages names its tests on the kernel so: `tests/kernel.rs` or `tests/kernel/main.rs`.
const TARGET: &str = "kernel";
/// How a test says that a build host's kernel may lack what it needs.
const NEEDS_THE_DEVICES: &str = "#[ignore";

/// Where the doors lie, each in a folder.
const DOORS: &str = "reconcilers/kernel/";

/// The doors with tests on the kernel, and the rooms with tests that need the device's: each with the package that has them,
/// its own or its program's.
fn rooms(sources: &[Source]) -> Vec<(String, String)> {
    let tests = || sources.iter().filter(|source| is_test_on_the_kernel(source));
    let package = |source: &Source| Some(source.path.split_once("/tests/")?.0.to_owned());
    let of_room = |room: &&'static str| {
        let begin = format!("reconcilers/{room}/");
        let own = tests().filter(|source| source.path.starts_with(&begin));
        let needed = own.clone().any(|source| source.text.contains(NEEDS_THE_DEVICES));
        own.clone().find_map(package).filter(|_| needed).map(|package| ((*room).to_owned(), package))
    };
    let doors: BTreeMap<String, String> = tests()
        .filter_map(|source| Some((source.path.strip_prefix(DOORS)?.split('/').next()?.to_owned(), package(source)?)))
        .collect();
    doors.into_iter().chain(ROOMS.iter().filter_map(of_room)).collect()
}

fn is_test_on_the_kernel(source: &Source) -> bool {
    source.path.contains("/tests/kernel/") || source.path.ends_with("/tests/kernel.rs")
}

/// Builds the tests and the initramfs around them. The launcher is the one of the device image, which is built before.
pub(crate) fn build(artefacts: &Artefacts) -> Result<()> {
    let folder = artefacts.rooms();
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    let staging = folder.join("staging");
    fs::create_dir_all(&staging).with_context(|| format!("failed to make `{}`", staging.display()))?;
    let kernel = Kernel::obtain(&artefacts.cache().join("kernel"))?;
    let mut initramfs = Initramfs::default();
    initramfs.add_file("/init", 0o755, include_bytes!("rooms/init").to_vec());
    initramfs.add_file("/rooms/run", 0o755, include_bytes!("rooms/run").to_vec());
    initramfs.add_program("/rooms/catenoid-launcher", &artefacts.static_binary("catenoid-launcher"))?;
    initramfs.add_program("/bin/busybox", Path::new("/bin/busybox"))?;
    initramfs.add_program("/sbin/modprobe", Path::new("/usr/bin/kmod"))?;
    initramfs.add_program("/usr/bin/mkfs.erofs", Path::new("/usr/bin/mkfs.erofs"))?;
    initramfs.add_program("/usr/sbin/dmsetup", Path::new("/usr/sbin/dmsetup"))?;
    initramfs.add_program("/usr/sbin/veritysetup", Path::new("/usr/sbin/veritysetup"))?;
    let probe = staging.join("probe");
    let source = artefacts.workspace().join("reconcilers/containers/launcher/tests/kernel/probe.c");
    run::output(Command::new("cc").args(["-static", "-o"]).arg(&probe).arg(source))?;
    initramfs.add_program("/rooms/probe", &probe)?;
    let messages = compile(artefacts)?;
    let mut counts = BTreeMap::new();
    for (room, package) in rooms(&tree::read(artefacts.workspace())?) {
        let program = executable(&messages, &artefacts.workspace().join(&package).join("Cargo.toml"))
            .with_context(|| format!("cargo built no test `{TARGET}` of `{package}`"))?;
        let listed = run::output(Command::new(&program).args(["--list", "--format", "terse"]))?;
        counts.insert(room.clone(), listed.lines().filter(|line| line.ends_with(": test")).count());
        // Debug information is nine tenths of it, and the machine has it in memory.
        let stripped = staging.join(&room);
        run::output(Command::new("strip").args(["--strip-debug", "-o"]).arg(&stripped).arg(program))?;
        initramfs.add_program(&format!("/rooms/tests/{room}"), &stripped)?;
    }
    initramfs.add_modules(&kernel, &staging.join("modules"))?;
    fs::remove_dir_all(&staging).with_context(|| format!("failed to remove `{}`", staging.display()))?;
    // What has to have passed.
    let counted = serde_json::to_vec(&counts).context("failed to write down how many tests there are")?;
    fs::write(folder.join("tests.json"), counted).context("failed to write down how many tests there are")?;
    // Not compressed: unpacking under TCG takes longer than loading.
    let archive = folder.join("initramfs");
    fs::write(&archive, initramfs.bytes()).with_context(|| format!("failed to write `{}`", archive.display()))?;
    kernel.unpack(&folder.join("kernel"))
}

/// With the words that nextest is run with, so that it finds all of this built. Gives cargo's messages, one a line.
fn compile(artefacts: &Artefacts) -> Result<String> {
    let mut cargo = run::cargo();
    cargo.args(["test", "--quiet", "--no-run", "--workspace", "--all-features", "--test", TARGET]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(artefacts.workspace());
    let output = cargo.stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "the rooms' tests do not compile");
    String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")
}

/// The test program of the package with this manifest, out of cargo's messages.
fn executable(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let of_package = |message: &Value| {
        message["target"]["name"] == TARGET && message["manifest_path"].as_str().map(Path::new) == Some(manifest)
    };
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter(of_package).find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_on_the_kernel_are_booted_or_run_anywhere() {
        let sources = tree::read(Artefacts::new().workspace()).unwrap();
        let rooms = rooms(&sources);
        let is_needed = |source: &&Source| is_test_on_the_kernel(source) && source.text.contains(NEEDS_THE_DEVICES);
        for source in sources.iter().filter(is_needed) {
            let package = source.path.split("/tests/").next().unwrap();
            assert!(rooms.iter().any(|(_, booted)| booted == package), "{}", source.path);
        }
        let names: Vec<_> = rooms.iter().map(|(room, _)| room.as_str()).collect();
        assert!(names.contains(&"guests") && names.contains(&"net") && !names.contains(&"zones"), "{names:?}");
    }

    #[test]
    fn the_packages_own_test_is_found_among_others() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/w/b/Cargo.toml","target":{"name":"kernel"},"executable":"/t/kernel-b"}
            {"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"a"},"executable":null}
            {"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"kernel"},"executable":"/t/kernel-a"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, Path::new("/w/a/Cargo.toml")), Some(PathBuf::from("/t/kernel-a")));
        assert_eq!(executable(messages, Path::new("/w/c/Cargo.toml")), None);
    }
}
