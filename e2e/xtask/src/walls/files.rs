//! No file is opened beside the door, which follows no link, waits for nobody and opens regular files only: what lies on the
//! disk was made by whoever holds it (docs/decisions/0014-the-disk-is-somebody-elses.md).
//!
//! A text does not show which path a call is given. So every call that takes one is found, and a table names the places where
//! it is not one of the disk's.

use super::{Breach, TEST_SUPPORT, tree, tree::Source};

/// A place where files are opened by path.
pub(super) struct Opening {
    /// A file, `file:function`, or a folder with a `/` at its end.
    place: &'static str,
    /// What is opened there, and why that does not go through the door.
    what: &'static str,
}

const fn opening(place: &'static str, what: &'static str) -> Opening {
    Opening { place, what }
}

/// Where the door is, and what is opened beside it.
pub(super) const BESIDE: &[Opening] = &[
    opening(
        "agent/src/record/audit/log.rs:is_removed",
        "nothing: which file bears the log's name is looked up, beside the pass",
    ),
    opening("agent/src/init/pid1.rs:modules", "the list of modules, in the signed root"),
    opening("agent/src/run.rs:anchors", "the anchors, in the signed root"),
    opening("reconcilers/kernel/base/src/changes.rs", "the mount table, in procfs"),
    opening("reconcilers/kernel/base/src/fault.rs", "what tests put there: built into nothing that runs on a device"),
    opening("reconcilers/kernel/base/src/files/", "the door"),
    opening("reconcilers/kernel/base/src/launch/", "mounts, to which the door does not cross; procfs"),
    opening("reconcilers/kernel/base/src/machine.rs", "procfs and sysfs"),
    opening("reconcilers/kernel/base/src/process/identity.rs:folder_id", "control groups"),
    opening("reconcilers/kernel/base/src/process/identity.rs:program", "the launcher, in the signed root"),
    opening("reconcilers/kernel/base/src/process/identity.rs:read_bounded", "procfs"),
    opening("reconcilers/kernel/boot/src/init.rs", "the first root, before there is a disk; procfs, sysfs, `/dev`"),
    opening("reconcilers/kernel/boot/src/settings.rs", "procfs"),
    opening("reconcilers/kernel/boot/src/watchdog.rs", "sysfs, nodes in `/dev`"),
    opening(
        "reconcilers/kernel/cgroup/src/hierarchy.rs",
        "the files of control groups, below a descriptor and without links",
    ),
    opening("reconcilers/kernel/cgroup/src/shortage.rs", "procfs"),
    opening("reconcilers/kernel/net/src/namespace/", "mounted namespaces, to which the door does not cross; procfs"),
    opening(
        "reconcilers/kernel/storage/src/block.rs",
        "disks: sysfs, nodes in `/dev`, the folder that `/data` is mounted on",
    ),
    opening("reconcilers/kernel/storage/src/disk.rs", "the folder of the device's data; `/sys/dev/block`"),
    opening("reconcilers/kernel/storage/src/loop_device.rs", "nodes in `/dev`"),
    opening(
        "reconcilers/kernel/storage/src/mount.rs",
        "folders that images are mounted on, in `/run`, which is root's; procfs",
    ),
];

/// Where the crates lie that run as root of the device; `catenoid` runs in a container.
const DEVICE: &[&str] = &["agent/", "reconcilers/", "schema/"];

/// Modules of `std`, `tokio`, `rustix` and `nix` whose functions take a path.
const MODULES: &[&str] = &["fs", "fcntl"];
/// What of them takes none, as far as it is used beside the table.
const WITHOUT_PATH: &[&str] = &["fcntl_getfl", "fcntl_setfl", "fstat", "fsync", "inotify"];
/// Functions that take a path, of types and of modules that have others too.
const FUNCTIONS: &[(&str, &[&str])] = &[
    ("File", &["open", "create", "create_new", "options"]),
    ("OpenOptions", &["new"]),
    ("DirBuilder", &["new"]),
    ("Dir", &["open", "openat"]),
    ("UnixListener", &["bind"]),
    ("UnixDatagram", &["bind"]),
    ("UnixStream", &["connect"]),
    ("unistd", &["linkat", "mkdir", "mkfifo", "mkfifoat", "symlinkat", "truncate", "unlink", "unlinkat"]),
    ("libc", &["creat", "open", "openat", "SYS_open", "SYS_openat", "SYS_openat2"]),
];
/// Methods of `Path` that look at the disk, and of `tar` that write to it. Not `metadata`, `is_file` and `is_dir`: what was
/// opened or listed has them too.
const METHODS: &[&str] =
    &["canonicalize", "exists", "read_dir", "read_link", "symlink_metadata", "try_exists", "unpack", "unpack_in"];

/// Under another name they would hide a call.
const RENAMED: &[&str] = &["fs", "fcntl", "File", "OpenOptions"];

/// A call that takes a path, or what would hide one.
struct Call {
    line: usize,
    /// The function that it is in; nothing outside of one.
    function: String,
    what: String,
}

/// Calls of shipped code that are at no place of the table.
pub(super) fn breaches(source: &Source) -> Vec<Breach> {
    let beside = calls(source).into_iter().filter(|call| !BESIDE.iter().any(|place| place.holds(source, call)));
    let breach = |call: Call| Breach {
        place: format!("{}:{}", source.path, call.line),
        why: format!(
            "wall `files`: `{}` takes any path; use `catenoid_kernel_base::files`, \
             or say in e2e/xtask/src/walls/files.rs what else is opened here",
            call.what
        ),
    };
    beside.map(breach).collect()
}

/// Lines of the table that nothing needs any more.
pub(super) fn stale(table: &[Opening], sources: &[Source]) -> Vec<Breach> {
    let needed = |opening: &&Opening| {
        let is_of = |source: &&Source| opening.place.starts_with(&source.path) || opening.is_folder_of(source);
        sources.iter().filter(is_of).any(|source| calls(source).iter().any(|call| opening.holds(source, call)))
    };
    let breach = |opening: &Opening| {
        let is_line = |line: &str| line.contains(&format!("(\"{}\"", opening.place));
        let line = include_str!("files.rs").lines().position(is_line).unwrap_or_default() + 1;
        Breach {
            place: format!("e2e/xtask/src/walls/files.rs:{line}"),
            why: format!(
                "wall `files`: `{}` opens nothing ({}) any more; remove this line",
                opening.place, opening.what
            ),
        }
    };
    table.iter().filter(|opening| !needed(opening)).map(breach).collect()
}

impl Opening {
    fn is_folder_of(&self, source: &Source) -> bool {
        self.place.ends_with('/') && source.path.starts_with(self.place)
    }

    fn holds(&self, source: &Source, call: &Call) -> bool {
        let within = self.place.strip_prefix(&source.path);
        self.is_folder_of(source)
            || within.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':') == Some(call.function.as_str()))
    }
}

/// Every call of shipped code of the device that takes a path.
fn calls(source: &Source) -> Vec<Call> {
    let path = &source.path;
    if !DEVICE.iter().any(|dir| path.starts_with(dir)) || !path.contains("/src/") || path == TEST_SUPPORT {
        return Vec::new();
    }
    let code = source.shipped_code();
    let functions = functions(&code);
    let mut found: Vec<(usize, String)> = tree::paths(&code).filter(|(_, path)| takes_path(path)).collect();
    for (line, text) in (1..).zip(code.lines()) {
        let methods = METHODS.iter().filter(|method| text.contains(&format!(".{method}(")));
        found.extend(methods.map(|method| (line, format!(".{method}()"))));
        let words: Vec<&str> =
            text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
        let hidden = words.windows(3).filter(|three| three[1] == "as" && RENAMED.contains(&three[0]));
        found.extend(hidden.map(|three| (line, format!("{} as {}", three[0], three[2]))));
        // A file of that name is taken for one of tests.
        let shipped = words.windows(2).filter(|two| *two == ["mod", "tests"]);
        found.extend(shipped.map(|_| (line, "mod tests".to_owned())));
    }
    found.sort();
    let call = |(line, what): (usize, String)| Call { line, function: functions[line - 1].clone(), what };
    found.into_iter().map(call).collect()
}

fn takes_path(path: &str) -> bool {
    let words: Vec<&str> = path.split("::").collect();
    words.windows(2).any(|two| {
        let (of, name) = (two[0], two[1]);
        // Types have capitals; nothing is what `*` leaves.
        let in_module = MODULES.contains(&of) && !name.starts_with(char::is_uppercase) && !WITHOUT_PATH.contains(&name);
        let of_type = FUNCTIONS.iter().any(|(ours, names)| *ours == of && names.contains(&name));
        in_module || of_type || (of.ends_with("Path") && METHODS.contains(&name))
    })
}

/// For each line the function that it is in, as `rustfmt` indents it; nothing outside of one.
fn functions(code: &str) -> Vec<String> {
    let mut current = None;
    let mut functions = Vec::new();
    for line in code.lines() {
        let indent = line.len() - line.trim_start().len();
        let name = line.split_whitespace().skip_while(|word| *word != "fn").nth(1);
        let begins = name.map(|name| name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>());
        let on_one_line = begins.is_some() && line.trim_end().ends_with(['}', ';']);
        current = begins.map(|name| (indent, name)).or(current);
        functions.push(current.as_ref().map(|(_, name)| name.clone()).unwrap_or_default());
        current.take_if(|(start, _)| on_one_line || (indent == *start && line.trim() == "}"));
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let call = |call: Call| (call.line, call.what);
        calls(&source(path, text)).into_iter().map(call).collect()
    }

    #[test]
    fn planted_bypass_is_found() {
        let text = "use std::fs;\nfn load() {\n    fs::read(path)\n}\n";
        let breach = Breach {
            place: "agent/src/accept/ledger.rs:3".to_owned(),
            why: "wall `files`: `fs::read` takes any path; use `catenoid_kernel_base::files`, or say in \
                  e2e/xtask/src/walls/files.rs what else is opened here"
                .to_owned(),
        };
        assert_eq!(super::super::breaches(&[source("agent/src/accept/ledger.rs", text)]), [breach]);
    }

    #[test]
    fn every_spelling_of_a_bypass_is_found() {
        for (line, what) in [
            ("tokio::fs::rename(a, b).await", "tokio::fs::rename"),
            ("use std::{fs::{hard_link, File}, io};", "std::fs::hard_link"),
            ("use rustix::fs::*;", "rustix::fs::"),
            ("use rustix::fs::{Mode, openat2};", "rustix::fs::openat2"),
            ("use std::fs as disk;", "fs as disk"),
            ("use std::fs::File as Handle;", "File as Handle"),
            ("std::os::unix::fs::symlink(a, b)", "std::os::unix::fs::symlink"),
            ("nix::fcntl::open(path, flags, mode)", "nix::fcntl::open"),
            ("paths.map(File::open)", "File::open"),
            ("File::options().append(true).open(path)", "File::options"),
            ("std::fs::OpenOptions::new().read(true).open(path)", "std::fs::OpenOptions::new"),
            ("tokio::net::UnixListener::bind(path)", "tokio::net::UnixListener::bind"),
            ("fs::read::<&Path>(path)", "fs::read::"),
            ("path.exists()", ".exists()"),
            ("paths.any(Path::exists)", "Path::exists"),
            ("archive.unpack(path)", ".unpack()"),
            ("mod tests;", "mod tests"),
        ] {
            assert_eq!(found("agent/src/record/audit/mod.rs", line), [(1, what.to_owned())], "{line}");
        }
    }

    #[test]
    fn what_takes_no_path_and_what_runs_on_no_device_is_left_alone() {
        let innocent = "use std::{fs::{self, File}, os::unix::fs::MetadataExt as _};\nuse rustix::fs::{Mode, fstat};\n\
                        fn f(file: File) { file.metadata().is_file(); fs::Metadata::len; } // fs::read\n\
                        #[cfg(test)]\nmod tests {\n    use std::fs::read;\n}\n";
        assert_eq!(found("agent/src/record/audit/mod.rs", innocent), []);
        for path in ["c0/client/src/push.rs", "agent/tests/compat.rs", "agent/benches/pass.rs", TEST_SUPPORT] {
            assert_eq!(found(path, "std::fs::read(path)"), [], "{path}");
        }
    }

    #[test]
    fn function_in_the_table_covers_itself_alone() {
        let text = "use std::fs::read;\nfn anchors() {\n    fs::read(ANCHORS)\n}\nfn g() -> u8 { 0 }\n\
                    static A: X = fs::read(path);\nfn other() {\n    fs::read(path)\n}\n";
        let lines: Vec<String> =
            breaches(&source("agent/src/run.rs", text)).into_iter().map(|breach| breach.place).collect();
        assert_eq!(lines, [1, 6, 8].map(|line| format!("agent/src/run.rs:{line}")));
    }

    #[test]
    fn line_of_the_table_that_nothing_needs_is_found() {
        let table = [opening("agent/src/run.rs:anchors", "-"), opening("reconcilers/kernel/base/src/machine.rs", "-")];
        let line_of = |place: &str| {
            let lines = include_str!("files.rs").lines().take_while(|line| !line.contains(place)).count();
            format!("e2e/xtask/src/walls/files.rs:{}", lines + 1)
        };
        let reads = source("agent/src/run.rs", "fn anchors() {\n    fs::read(ANCHORS)\n}\n");
        let [breach] = stale(&table, &[reads]).try_into().expect("one of them is needed");
        assert_eq!(breach.place, line_of("machine.rs"));
        assert_eq!(
            breach.why,
            "wall `files`: `reconcilers/kernel/base/src/machine.rs` opens nothing (-) any more; remove this line"
        );
        let moved = source("agent/src/run.rs", "fn other() {\n    fs::read(ANCHORS)\n}\n");
        assert_eq!(stale(&table, &[moved]).len(), 2);
    }
}
