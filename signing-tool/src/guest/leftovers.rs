//! What every image is rid of, and what every image has: the part of a tree that is the same for all guests. Pure.

use super::{
    path::{GuestPath, Pattern},
    tree::{Content, Entry, Error, Node, Tree},
};

/// Where the launcher mounts a file system of each container's own (`mount` in its `inside.rs`): what an image has below
/// is never seen.
const MOUNTED: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];
/// What of a source is not in an image: mounted over, or for what does not last.
const EMPTIED: [&str; 6] = ["/dev/*", "/proc/*", "/sys/*", "/run/*", "/tmp/*", "/var/tmp/*"];

/// Files that an installation leaves behind and that differ from build to build, show the build host, or must not
/// be shared between devices. Directories stay: a program may count on its own in `/var/log`.
const LEFTOVERS: [&str; 23] = [
    "/etc/.pwd.lock",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*",
    "/etc/fstab",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/passwd-",
    "/etc/resolv.conf",
    "/etc/shadow-",
    "/etc/ssh/ssh_host_*",
    "/etc/subgid-",
    "/etc/subuid-",
    "/root/.bash_history",
    "/var/cache/apt/**",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",
    "/var/lib/apt/extended_states",
    "/var/lib/apt/lists/**",
    "/var/lib/dbus/machine-id",
    "/var/lib/dpkg/*-old",
    "/var/log/**",
];

/// Directories the launcher mounts over, or programs count on, with their modes.
const DIRECTORIES: [(&str, u32); 8] = [
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/proc", 0o755),
    ("/run", 0o755),
    ("/sys", 0o755),
    ("/tmp", 0o1777),
    ("/var", 0o755),
    ("/var/tmp", 0o1777),
];

/// Files that the launcher or a network client writes over, with what they hold until then.
const FILES: [(&str, &str); 3] =
    [("/etc/hostname", ""), ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"), ("/etc/resolv.conf", "")];

/// The directory of a container's own that `path` is, or is in, if it is.
pub(crate) fn mounted_over(path: &GuestPath) -> Option<&'static str> {
    let first = path.components().next()?;
    MOUNTED.into_iter().find(|mounted| mounted[1..] == *first)
}

/// Checks that the launcher, which follows no links, finds what it mounts over.
///
/// # Errors
/// [`Error::Mounted`].
pub(crate) fn check_mounted(tree: &Tree) -> Result<(), Error> {
    let none = |(path, entry): &(&GuestPath, &Entry)| {
        path.parent().is_none() && mounted_over(path).is_some() && entry.node != Node::Directory
    };
    match tree.entries().find(none) {
        Some((path, entry)) => Err(Error::Mounted { path: path.clone(), found: entry.node.describe() }),
        None => Ok(()),
    }
}

/// Rids a tree of what an installation left behind.
pub(crate) fn remove(tree: &mut Tree) {
    let patterns = |texts: &[&str]| -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().expect("the tables hold patterns; a test reads them all")).collect()
    };
    tree.remove(&patterns(&EMPTIED), &[]);
    tree.remove_files(&patterns(&LEFTOVERS));
}

/// Gives a tree what it lacks of what every image has.
///
/// # Errors
/// [`Error::TooMany`] at the limit of entries.
pub(crate) fn add_standard(tree: &mut Tree) -> Result<(), Error> {
    let path = |text: &str| -> GuestPath { text.parse().expect("the tables hold paths; a test reads them all") };
    for (directory, mode) in DIRECTORIES {
        tree.add_missing(path(directory), Entry::of_root(mode, Node::Directory))?;
    }
    for (file, text) in FILES {
        let node = Node::File { content: Content::Text(text), size: text.len() as u64 };
        tree.add_missing(path(file), Entry::of_root(0o644, node))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_directories_of_logs_stay() {
        let mut tree = Tree::default();
        let file = Node::File { content: Content::Text(""), size: 0 };
        for (path, node) in [
            ("/dev/shm", Node::Directory),
            ("/etc/ssh/ssh_host_ed25519_key", file.clone()),
            ("/etc/ssh/sshd_config", file.clone()),
            ("/var/log/nginx", Node::Directory),
            ("/var/log/nginx/error.log", file.clone()),
            ("/etc/machine-id", file.clone()),
            ("/etc/resolv.conf", file),
        ] {
            tree.add(path.parse().unwrap(), Entry::of_root(0o755, node)).unwrap();
        }
        remove(&mut tree);
        add_standard(&mut tree).unwrap();
        tree.complete().unwrap();
        let paths: Vec<String> = tree.entries().map(|(path, _)| path.to_string()).collect();
        let expected = [
            "/dev",
            "/etc",
            "/etc/hostname",
            "/etc/hosts",
            "/etc/resolv.conf",
            "/etc/ssh",
            "/etc/ssh/sshd_config",
            "/proc",
            "/run",
            "/sys",
            "/tmp",
            "/var",
            "/var/log",
            "/var/log/nginx",
            "/var/tmp",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn what_the_launcher_mounts_over_is_a_directory() {
        for mounted in MOUNTED {
            for node in [Node::Link { target: "var/tmp".into() }, Node::File { content: Content::Text(""), size: 0 }] {
                let mut tree = Tree::default();
                tree.add(mounted.parse().unwrap(), Entry::of_root(0o755, node.clone())).unwrap();
                let refused = check_mounted(&tree);
                let expected = Error::Mounted { path: mounted.parse().unwrap(), found: node.describe() };
                assert_eq!(refused, Err(expected), "{mounted}");
                // As the hint says.
                tree.remove(&[mounted.parse().unwrap()], &[]);
                add_standard(&mut tree).unwrap();
                assert_eq!(check_mounted(&tree), Ok(()), "{mounted}");
            }
        }
    }

    #[test]
    fn the_launcher_mounts_over_no_other_directory() {
        let launcher = include_str!("../../../reconcilers/containers/launcher/src/inside.rs");
        let places = launcher.lines().filter_map(|line| line.split("at: \"").nth(1)?.split('"').next());
        let mut tops: Vec<String> =
            places.map(|place| place.split('/').take(2).collect::<Vec<_>>().join("/")).collect();
        tops.sort();
        tops.dedup();
        assert_eq!(tops, MOUNTED);
    }
}
