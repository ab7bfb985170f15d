//! Tests of guests, limits and containers as the userland of the device's own kernel, for `vm_rooms_hold_on_the_device_kernel`
//! to boot. A build host may lack device-mapper or have its control groups in version 1; the device's kernel has both as these
//! rooms need. Those of zones need nothing that a build host lacks, and run there.
//!
//! ```text
//! target/catenoid/rooms/
//!   kernel       as in the device image, unpacked
//!   initramfs    tests/kernel of these rooms, what they run, the device's modules; see rooms/init and rooms/run
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use serde_json::Value;

use crate::image::initramfs::Initramfs;
use crate::image::kernel::Kernel;
use crate::run;

/// A room, and the package that has its tests on the kernel.
const ROOMS: [(&str, &str); 3] = [
    ("containers", "reconcilers/containers/launcher"),
    ("guests", "reconcilers/guests"),
    ("limits", "reconcilers/limits"),
];
/// Each of these packages names its tests on the kernel so: `tests/kernel.rs` or `tests/kernel/main.rs`.
const TARGET: &str = "kernel";

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
    for (room, package) in ROOMS {
        let program = executable(&messages, &artefacts.workspace().join(package).join("Cargo.toml"))
            .with_context(|| format!("cargo built no test `{TARGET}` of `{package}`"))?;
        // Debug information is nine tenths of it, and the machine has it in memory.
        let stripped = staging.join(room);
        run::output(Command::new("strip").args(["--strip-debug", "-o"]).arg(&stripped).arg(program))?;
        initramfs.add_program(&format!("/rooms/tests/{room}"), &stripped)?;
    }
    initramfs.add_modules(&kernel, &staging.join("modules"))?;
    fs::remove_dir_all(&staging).with_context(|| format!("failed to remove `{}`", staging.display()))?;
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
    use crate::walls::tree::{self, Source};

    /// Rooms whose tests on the kernel are none of these: they run on any build host.
    const ELSEWHERE: [&str; 1] = ["reconcilers/zones"];

    #[test]
    fn tests_on_the_kernel_are_booted_or_run_anywhere() {
        let rooms = ROOMS.map(|(_, package)| package);
        let sources = tree::read(Artefacts::new().workspace()).unwrap();
        let file =
            |source: &&Source| source.path.contains("/tests/kernel/") || source.path.ends_with("/tests/kernel.rs");
        for source in sources.iter().filter(file) {
            let package = source.path.split("/tests/").next().unwrap();
            let is_elsewhere = ELSEWHERE.contains(&package) && !source.text.contains("#[ignore");
            assert!(rooms.contains(&package) || is_elsewhere, "{}", source.path);
        }
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
