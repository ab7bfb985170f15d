//! Lines of `strace -f -o`: which call, and of its arguments what a filter may look at.

/// The call of a line as the record has it; nothing for signals, ends of processes and second halves of calls.
pub(super) fn call(line: &str) -> Option<String> {
    let line = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let (name, rest) = line.split_once('(')?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return None;
    }
    let arguments = arguments(rest);
    let argument = |number: usize| arguments.get(number).copied().unwrap_or("?");
    let details = match name {
        "socket" if argument(0) == "AF_NETLINK" => format!("{} {}", argument(0), argument(2)),
        "socket" | "socketpair" | "unshare" | "personality" | "prctl" | "keyctl" | "bpf" => argument(0).to_owned(),
        "setns" | "ioctl" | "fcntl" => argument(1).to_owned(),
        "setsockopt" => format!("{} {}", argument(1), argument(2)),
        "mount" => argument(2).trim_matches('"').to_owned(),
        "clone" | "clone3" => namespaces(rest),
        _ => String::new(),
    };
    Some(format!("{name} {details}").trim_end().to_owned())
}

/// The arguments up to the end of the call or of the line; commas in strings, structures and lists divide nothing.
fn arguments(text: &str) -> Vec<&str> {
    let (mut arguments, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                arguments.push(text[begin..at].trim());
                return arguments;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                arguments.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    // The other half of the line is that of another process.
    arguments.push(text[begin..].trim_end_matches("<unfinished ...>").trim());
    arguments
}

/// The namespaces that a `clone` makes.
fn namespaces(text: &str) -> String {
    let flags = text.split_once("flags=").map_or("", |(_, rest)| rest);
    let flags = flags.split([',', '}', ')', ' ']).next().unwrap_or("");
    flags.split('|').filter(|flag| flag.starts_with("CLONE_NEW")).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_its_call_and_what_a_filter_may_look_at() {
        for (line, expected) in [
            (r#"12 read(3, "a, b(\")", 832) = 832"#, Some("read")),
            ("12 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3", Some("socket AF_INET")),
            ("12 socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) = 3", Some("socket AF_NETLINK NETLINK_ROUTE")),
            ("12 socketpair(AF_UNIX, SOCK_STREAM, 0,  <unfinished ...>", Some("socketpair AF_UNIX")),
            ("12 <... socketpair resumed>[3, 4]) = 0", None),
            ("12 ioctl(0, TCGETS, {c_iflag=ICRNL, c_oflag=OPOST}) = 0", Some("ioctl TCGETS")),
            (
                "12 ioctl(0, _IOC(_IOC_READ, 0x61, 0x2, 0x8), 0x1) = -1 ENOTTY (Bad)",
                Some("ioctl _IOC(_IOC_READ, 0x61, 0x2, 0x8)"),
            ),
            ("12 fcntl(3, F_GETFD) = 0", Some("fcntl F_GETFD")),
            ("12 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0", Some("setsockopt SOL_SOCKET SO_REUSEADDR")),
            ("12 prctl(PR_SET_NAME, \"a, b\") = 0", Some("prctl PR_SET_NAME")),
            ("12 personality(0xffffffff) = 0 (PER_LINUX)", Some("personality 0xffffffff")),
            (r#"12 mount("tmp", "/a,b", "tmpfs", MS_NOSUID, NULL) = 0"#, Some("mount tmpfs")),
            ("12 mount(NULL, \"/\", NULL, MS_REC|MS_SLAVE, NULL <unfinished ...>", Some("mount NULL")),
            ("12 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7) = 13", Some("clone")),
            (
                "12 clone(child_stack=NULL, flags=CLONE_NEWPID|CLONE_NEWNS|SIGCHLD <unfinished ...>",
                Some("clone CLONE_NEWPID|CLONE_NEWNS"),
            ),
            ("12 clone3({flags=CLONE_VM|CLONE_NEWUSER, exit_signal=0}, 88) = 13", Some("clone3 CLONE_NEWUSER")),
            ("12 setns(3, CLONE_NEWNET) = 0", Some("setns CLONE_NEWNET")),
            ("12 unshare(CLONE_NEWNS) = -1 EPERM (Operation not permitted)", Some("unshare CLONE_NEWNS")),
            ("12 exit_group(0) = ?", Some("exit_group")),
            ("12 syscall_0x1c5(0x1, 0x2) = -1 ENOSYS (Function not implemented)", Some("syscall_0x1c5")),
            ("12 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---", None),
            ("12 +++ exited with 0 +++", None),
            ("12 ????( <unfinished ...>", None),
            ("", None),
        ] {
            assert_eq!(call(line).as_deref(), expected, "{line}");
        }
    }
}
