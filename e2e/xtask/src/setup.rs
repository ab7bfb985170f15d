//! What the other commands need from Debian, and of cargo's subcommands.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run;

/// Package, and what needs it.
const PACKAGES: &[(&str, &str)] = &[
    ("binutils", "image: objcopy"),
    ("busybox-static", "guests: the tiny guest; test image: the probe"),
    ("clang", "building: bindings to libdevmapper"),
    ("cmake", "building: aws-lc"),
    ("crun", "bench start: to compare with"),
    ("cryptsetup-bin", "tests: veritysetup as the second opinion"),
    ("curl", "demo and tests"),
    ("dmsetup", "tests: dmsetup as the second opinion; test image"),
    ("dosfstools", "image: EFI partition"),
    ("e2fsprogs", "image: mkfs.ext4 on the device"),
    ("erofs-utils", "guests: image files"),
    ("fdisk", "image: sfdisk"),
    ("gcc", "building: aws-lc, and the tests' probe of system calls"),
    ("iproute2", "namespace tests: ip as the second opinion"),
    ("kmod", "image: depmod"),
    ("libc6-dev", "building: aws-lc, and the tests' probe of system calls"),
    ("libclang-dev", "building: bindings to libdevmapper"),
    ("libdevmapper-dev", "building: device-mapper"),
    ("libpcsclite-dev", "building: pcsc, for tests"),
    ("libtss2-dev", "building: tss-esapi, for tests"),
    ("make", "building: OpenSSL, for cose-rust as the second opinion"),
    ("mmdebstrap", "guests: Debian packages"),
    ("mtools", "image: EFI partition"),
    ("nftables", "image: nft on the device; namespace tests"),
    ("opensc", "tests: opensc-tool as the second opinion"),
    ("openssh-client", "vm: c0"),
    ("openssl", "tests: openssl verify as the second opinion"),
    ("ovmf", "vm: firmware"),
    ("pcscd", "tests: smart cards"),
    ("perl", "building: OpenSSL, for cose-rust as the second opinion"),
    ("pkg-config", "building: libdevmapper, libpcsclite, libtss2"),
    ("qemu-system-x86", "vm"),
    ("runc", "bench start: to compare with"),
    ("sbsigntool", "image: signing the UKI"),
    ("swtpm", "vm: TPM; tests: tss-esapi"),
    ("swtpm-tools", "vm: TPM"),
    ("systemd-boot-efi", "image: the UKI's stub"),
    ("systemd-container", "bench start: systemd-nspawn to compare with"),
    ("vsmartcard-vpcd", "tests: a reader for a card that is a program"),
    ("xz-utils", "image: the kernel, for devices without firmware"),
    ("zstd", "image: initramfs"),
];

/// What building needs on any Linux: a command that succeeds where it is, and Debian's packages with it.
const BUILDING: &[(&[&str], &str)] = &[
    (&["cc", "--version"], "gcc"),
    (&["c++", "--version"], "g++"),
    (&["clang", "--version"], "clang libclang-dev"),
    (&["cmake", "--version"], "cmake"),
    (&["make", "--version"], "make"),
    (&["perl", "-MFindBin", "-e", "1"], "perl"),
    (&["pkg-config", "--version"], "pkg-config"),
    (&["pkg-config", "--exists", "devmapper"], "libdevmapper-dev"),
    (&["pkg-config", "--exists", "libpcsclite"], "libpcsclite-dev"),
    (&["pkg-config", "--exists", "tss2-esys"], "libtss2-dev"),
];

/// The version that the pinned compiler builds.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// Installs what is missing and says so before; silent when nothing is.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).filter(|name| !installed(name)).collect();
    if !missing.is_empty() {
        eprintln!("setup: installing {}", missing.join(" "));
        install(&missing)?;
    }
    ensure_nextest()
}

/// Looks for what building and running the unit tests needs, and says what is missing. Installs nothing that needs root.
pub(crate) fn look() -> Result<()> {
    let there = |command: &[&str]| {
        let (program, words) = command.split_first().expect("a command has a program");
        Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
    };
    let missing: Vec<&str> =
        BUILDING.iter().filter(|(command, _)| !there(command)).map(|(_, packages)| *packages).collect();
    if !missing.is_empty() {
        let list = missing.join(" ");
        bail!("what building needs is not installed (hint: on Debian, as root: `apt-get install {list}`)");
    }
    ensure_nextest()
}

fn ensure_nextest() -> Result<()> {
    if !has_subcommand("nextest") {
        eprintln!("setup: installing cargo-nextest (some minutes)");
        run::visibly(run::cargo().args(["install", "--locked", "cargo-nextest"]))?;
    }
    Ok(())
}

/// Installs cargo-deny, if it is missing: what all tests need and no other command.
pub(crate) fn ensure_deny() -> Result<()> {
    if !has_subcommand("deny") {
        eprintln!("setup: installing cargo-deny (some minutes)");
        run::visibly(run::cargo().args(["install", "--locked", CARGO_DENY]))?;
    }
    Ok(())
}

/// Whether cargo has the subcommand `name`, which is a program of its own.
pub(crate) fn has_subcommand(name: &str) -> bool {
    run::cargo().args([name, "--version"]).output().is_ok_and(|output| output.status.success())
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn install(packages: &[&str]) -> Result<()> {
    let hint = || {
        let list = packages.join(" ");
        format!("failed to install packages (hint: on Debian 12, as root: `apt-get install {list}`)")
    };
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        apt
    };
    run::output(apt().arg("update")).with_context(hint)?;
    run::output(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages)).with_context(hint)?;
    Ok(())
}
