//! What the programs of Debian ask the kernel for: `reconcilers/kernel/base/tests/calls/NAME.txt`, from which the system call filter
//! of containers is judged.
//!
//! ```text
//! target/catenoid/calls/NAME/
//!   packages         what was asked for, when the root is whole
//!   root/            Debian with the program's packages
//!     calls/         what is run in there: see calls/, and below
//!       traces/      what strace wrote, until the next run
//! ```
//!
//! Each program is run as in a container, in namespaces of its own ([`ENTER`]), by a script that says in its first lines what it
//! does. The script picks what is traced.

mod trace;

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;

use crate::run;

pub(crate) struct Options {
    /// One program; all of them without.
    pub(crate) name: Option<String>,
    /// Programs do not do the same in each run: the record is of so many together.
    pub(crate) runs: usize,
    /// Gets the packages anew.
    pub(crate) fresh: bool,
}

struct Program {
    name: &'static str,
    /// Named in the record with their versions.
    packages: &'static [&'static str],
    /// Packages of what the script needs besides.
    helpers: &'static [&'static str],
    script: &'static str,
    /// In `/calls` beside the script.
    files: &'static [(&'static str, &'static str)],
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "go",
        packages: &["golang-1.19-go", "caddy", "prometheus-node-exporter"],
        helpers: &["golang-go", "ca-certificates", "curl", "procps"],
        script: include_str!("calls/go"),
        files: &[("main.go", include_str!("calls/main.go"))],
    },
    Program {
        name: "mosquitto",
        packages: &["mosquitto", "mosquitto-clients"],
        helpers: &["openssl", "procps"],
        script: include_str!("calls/mosquitto"),
        files: &[],
    },
    Program {
        name: "nginx",
        packages: &["nginx-light", "curl"],
        helpers: &["openssl"],
        script: include_str!("calls/nginx"),
        files: &[],
    },
    Program {
        name: "nodejs",
        packages: &["nodejs"],
        helpers: &[],
        script: include_str!("calls/nodejs"),
        files: &[("main.js", include_str!("calls/main.js"))],
    },
    Program {
        name: "openjdk",
        packages: &["openjdk-17-jdk-headless"],
        helpers: &[],
        script: include_str!("calls/openjdk"),
        files: &[("Main.java", include_str!("calls/Main.java"))],
    },
    Program {
        name: "postgresql",
        packages: &["postgresql-15"],
        helpers: &[],
        script: include_str!("calls/postgresql"),
        files: &[],
    },
    Program {
        name: "python",
        packages: &["python3"],
        helpers: &["openssl"],
        script: include_str!("calls/python"),
        files: &[("main.py", include_str!("calls/main.py"))],
    },
    Program {
        name: "redis",
        packages: &["redis-server"],
        helpers: &[],
        script: include_str!("calls/redis"),
        files: &[],
    },
    Program {
        name: "systemd",
        packages: &["systemd", "systemd-resolved", "systemd-timesyncd", "dbus"],
        helpers: &["libpam-systemd", "procps", "systemd-sysv"],
        script: include_str!("calls/systemd"),
        files: &[("inside", include_str!("calls/inside"))],
    },
];

/// Makes the namespaces and what a container has around it, and runs the script there.
const ENTER: &str = include_str!("calls/enter");
/// Programs that scripts use.
const TOOLS: [(&str, &str); 2] = [("trace", include_str!("calls/trace")), ("wait-for", include_str!("calls/wait-for"))];

const SUITE: &str = "bookworm";
/// The variable by which the hooks know the folder with the downloaded packages.
const PACKAGES_VARIABLE: &str = "CATENOID_PACKAGES";
/// Packages of earlier builds, also of guests, are brought where apt looks before it downloads, and new ones kept.
const BRING_PACKAGES: &str = "mkdir -p \"$1/var/cache/apt/archives\" && \
     find \"$CATENOID_PACKAGES\" -name '*.deb' -exec cp -t \"$1/var/cache/apt/archives\" {} +";
const KEEP_PACKAGES: &str =
    "find \"$1/var/cache/apt/archives\" -name '*.deb' -exec cp -n -t \"$CATENOID_PACKAGES\" {} +";
/// Seconds that one run may take, as `timeout` reads them.
const LIMIT: &str = "900";

/// Records what the programs call.
pub(crate) fn record(artefacts: &Artefacts, options: &Options) -> Result<()> {
    let chosen: Vec<&Program> =
        PROGRAMS.iter().filter(|program| options.name.as_deref().is_none_or(|name| name == program.name)).collect();
    let names: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
    ensure!(!chosen.is_empty(), "no such program (hint: {})", names.join(", "));
    for program in chosen {
        println!("calls: {}", program.name);
        record_one(artefacts, program, options).with_context(|| format!("no record of `{}`", program.name))?;
    }
    Ok(())
}

fn record_one(artefacts: &Artefacts, program: &Program, options: &Options) -> Result<()> {
    let folder = artefacts.state().join("calls").join(program.name);
    let root = root(artefacts, program, &folder, options.fresh)?;
    let traces = prepare(program, &root)?;
    let enter = folder.join("enter");
    write(&enter, ENTER)?;
    for _ in 0..options.runs {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", LIMIT, "unshare", "--mount", "/bin/sh", "-eu"]).arg(&enter).arg(&root);
        run::output(&mut command)?;
    }
    let calls = read(&traces)?;
    ensure!(!calls.is_empty(), "nothing was traced");
    let path = artefacts.workspace().join(format!("reconcilers/kernel/base/tests/calls/{}.txt", program.name));
    write(&path, &page(program, &versions(program, &root)?, &calls))
}

/// The root with the program's packages, made unless it is there.
fn root(artefacts: &Artefacts, program: &Program, folder: &Path, fresh: bool) -> Result<PathBuf> {
    let (root, mark) = (folder.join("root"), folder.join("packages"));
    let include = [&["mount", "strace"], program.packages, program.helpers].concat().join(",");
    if !fresh && fs::read_to_string(&mark).is_ok_and(|made| made == include) {
        return Ok(root);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    let packages = artefacts.cache().join("apt");
    for folder in [folder, &packages] {
        fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    }
    let mut command = Command::new("mmdebstrap");
    command.env(PACKAGES_VARIABLE, &packages);
    command.args(["--mode=root", "--format=directory", "--variant=essential", "--architectures=amd64"]);
    // The packages that are brought, and those to be kept, lie where these steps look for strangers and clean up.
    command.args(["--skip=download/empty", "--skip=essential/unlink"]);
    command.arg(format!("--setup-hook={BRING_PACKAGES}")).arg(format!("--customize-hook={KEEP_PACKAGES}"));
    command.arg(format!("--include={include}")).arg(SUITE).arg(&root);
    run::output(&mut command)?;
    write(&mark, &include)?;
    Ok(root)
}

/// Puts script and files into the root; gives the folder where the traces will be.
fn prepare(program: &Program, root: &Path) -> Result<PathBuf> {
    let calls = root.join("calls");
    if calls.exists() {
        fs::remove_dir_all(&calls).with_context(|| format!("failed to remove `{}`", calls.display()))?;
    }
    let traces = calls.join("traces");
    fs::create_dir_all(&traces).with_context(|| format!("failed to make `{}`", traces.display()))?;
    // Programs are traced as the users that they run as.
    fs::set_permissions(&traces, Permissions::from_mode(0o1777))
        .with_context(|| format!("failed to open `{}` to all", traces.display()))?;
    write(&calls.join("workload"), program.script)?;
    for (name, text) in program.files {
        write(&calls.join(name), text)?;
    }
    for (name, text) in TOOLS {
        let path = calls.join(name);
        write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .with_context(|| format!("failed to make a program of `{}`", path.display()))?;
    }
    Ok(traces)
}

/// All that the traces have, once and in order.
fn read(traces: &Path) -> Result<BTreeSet<String>> {
    let mut calls = BTreeSet::new();
    for entry in fs::read_dir(traces).with_context(|| format!("failed to list `{}`", traces.display()))? {
        let path = entry.with_context(|| format!("failed to list `{}`", traces.display()))?.path();
        let file = File::open(&path).with_context(|| format!("failed to open `{}`", path.display()))?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.with_context(|| format!("failed to read `{}`", path.display()))?;
            calls.extend(trace::call(&String::from_utf8_lossy(&line)));
        }
    }
    Ok(calls)
}

/// A package and its version a line.
fn versions(program: &Program, root: &Path) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    query.arg("--admindir").arg(root.join("var/lib/dpkg"));
    run::output(query.args(["-W", "-f", "# ${Package} ${Version}\\n"]).args(program.packages))
}

fn page(program: &Program, versions: &str, calls: &BTreeSet<String>) -> String {
    let head = format!("# System calls on x86_64, made by `cargo xtask calls {}`.\n", program.name);
    let workload = program.script.lines().take_while(|line| line.starts_with('#'));
    let lines = workload.chain(calls.iter().map(String::as_str)).map(|line| format!("{line}\n"));
    [head, versions.to_owned()].into_iter().chain(lines).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("failed to write `{}`", path.display()))
}
