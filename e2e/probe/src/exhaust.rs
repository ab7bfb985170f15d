//! One container uses up what the whole device has of something: each row takes as much of one resource as it gets, and then
//! holds it, so that it can be seen what the device does. Start reading at [`ROWS`], then [`taking`].

mod events;
mod files;
mod ids;
mod inet;
mod ipc;
mod load;
mod locks;
mod memory;
mod network;
mod packets;
mod queues;
mod sockets;
mod taking;
mod unix;

use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::latency;
use crate::rows::limits::raise_open_files;
use crate::sys::{self, Refusal};
use taking::{Stop, Taking};

/// How long a row takes, unless the call says otherwise.
pub(crate) const SECONDS: u64 = 60;
/// `PR_SET_PDEATHSIG` (linux/prctl.h).
const END_WITH_PARENT: i32 = 1;

/// By how many processes a row is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// One.
    One,
    /// The next one goes on where a process may have no more open files.
    Many,
    /// One for each processor, all at once.
    Processors,
}

/// One resource.
pub(crate) struct Row {
    name: &'static str,
    /// What is counted.
    what: &'static str,
    /// The capability that it takes; none if empty.
    needs: &'static str,
    by: By,
    take: fn(&mut Taking) -> Stop,
}

const fn row(
    name: &'static str,
    what: &'static str,
    needs: &'static str,
    by: By,
    take: fn(&mut Taking) -> Stop,
) -> Row {
    Row { name, what, needs, by, take }
}

/// Every resource. `docs/resources.md` says who counts it and what bounds it.
const ROWS: &[Row] = &[
    // Queues of sockets.
    row("netlink-usersock", "messages of 16 KiB to its own socket", "", By::Many, queues::usersock),
    row("netlink-route-unread", "requests whose answers nobody reads", "", By::Many, queues::route),
    row("netlink-generic-unread", "requests whose answers nobody reads", "", By::Many, queues::generic),
    row("packet-ring", "MiB of rings", "NET_RAW", By::Many, packets::ring),
    row("packet-unread", "frames of 32 KiB", "NET_RAW", By::Many, packets::unread),
    row("raw-unread", "packets of 32 KiB", "NET_RAW", By::Many, packets::raw),
    row("unix-descriptors", "open files on their way", "", By::Many, unix::descriptors),
    row("unix-datagrams", "datagrams of 16 KiB", "", By::Many, unix::datagrams),
    row("udp-unread", "datagrams of 32 KiB", "", By::Many, inet::udp_unread),
    row("tcp-unread", "KiB", "", By::Many, inet::tcp_unread),
    row("tcp-unaccepted", "connections with 32 KiB in each", "", By::Many, inet::unaccepted),
    row("tcp-orphans", "closed connections with unsent bytes", "", By::Many, inet::orphans),
    row("sockets", "TCP sockets", "", By::Many, inet::sockets),
    row("socket-filters", "filters of 2400 instructions", "", By::Many, inet::filters),
    row("ipv6-groups", "multicast groups on lo", "", By::Many, inet::groups),
    row("flow-labels", "IPv6 flow labels", "", By::Many, inet::flow_labels),
    // Files and what the kernel keeps with them.
    row("posix-locks", "locks of a byte", "", By::Many, locks::posix),
    row("ofd-locks", "locks of a byte", "", By::Many, locks::ofd),
    row("ofd-locks-slowly", "locks of a byte", "", By::Many, locks::ofd_slowly),
    row("flock", "locks of open files", "", By::Many, locks::flock),
    row("aio", "events of asynchronous input and output", "", By::One, events::aio),
    row("inotify", "instances", "", By::Many, events::inotify),
    row("epoll", "watches", "", By::Many, events::epoll),
    row("pipes", "KiB", "", By::Many, events::pipes),
    row("ptys", "terminals", "", By::Many, events::terminals),
    row("dentries", "names that are not there", "", By::One, files::names),
    row("tmpfs-files", "empty files", "", By::One, files::empty),
    row("tmpfs-acls", "access lists of 64 KiB", "", By::Many, files::access_lists),
    row("overlay-listings", "open folders with a listing of their own", "", By::Many, files::listings),
    row("mounts", "mounts", "SYS_ADMIN", By::One, files::mounts),
    row("memfd", "KiB", "", By::Many, memory::memfd),
    row("memory-policies", "policies of a page", "", By::One, memory::policies),
    // Numbers and names of the device.
    row("processes", "processes", "", By::One, ids::processes),
    row("threads", "threads", "", By::One, ids::threads),
    row("user-namespaces", "user namespaces", "", By::One, ids::user_namespaces),
    row("keyrings", "keys of 16 KiB", "", By::One, ids::keys),
    row("posix-timers", "timers", "", By::One, events::timers),
    row("signals", "signals that wait", "", By::One, events::signals),
    row("sysv-shm", "segments of 64 KiB", "", By::One, ipc::segments),
    row("sysv-sem", "sets of 500 semaphores", "", By::One, ipc::semaphores),
    row("sysv-msg", "messages of 4 KiB", "", By::One, ipc::messages),
    row("mqueue", "messages of 8 KiB", "", By::Many, ipc::queue),
    // Objects of the network namespace.
    row("neighbours", "permanent neighbours", "NET_ADMIN", By::One, network::neighbours),
    row("bridge-entries", "permanent entries of a bridge", "NET_ADMIN", By::One, network::bridge_entries),
    row("routes", "IPv4 routes", "NET_ADMIN", By::One, network::routes),
    row("routes-ipv6", "IPv6 routes", "NET_ADMIN", By::One, network::routes_ipv6),
    row("addresses", "IPv4 addresses of lo", "NET_ADMIN", By::One, network::addresses),
    row("links", "interfaces", "NET_ADMIN", By::One, network::links),
    row("nft-less", "policies of IPsec, beside the firewall", "NET_ADMIN", By::One, network::policies),
    // What takes time of everybody: each goes on until its time is up.
    row("kernel-log", "crashes that the kernel may report", "", By::Processors, load::crashes),
    row("sync", "calls that write out every file system", "", By::Processors, load::sync),
    row("image-reads", "KiB read past the page cache", "", By::Processors, load::image),
    row("datagram-flood", "datagrams of 64 bytes through lo", "", By::Processors, load::flood),
    row("busy-loop", "rounds of computing: what is permitted", "", By::Processors, load::busy),
];

/// Prints the rows, a line each.
pub(crate) fn list() {
    for Row { name, what, needs, .. } in ROWS {
        crate::say(&json!({"name": name, "what": what, "needs": needs}).to_string());
    }
}

/// The row with this name.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Takes `most` of a row, for `seconds` at most, prints what it got, and holds it until it is ended.
pub(crate) fn run(row: &Row, most: u64, seconds: u64) -> ! {
    raise_open_files();
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut got = Got::default();
    match row.by {
        By::One => got.add(start(row, Taking::new(most, deadline))),
        By::Many => loop {
            let before = got.count;
            got.add(start(row, Taking::new(most.saturating_sub(before), deadline)));
            let full = got.error == sys::errno_name(libc::EMFILE);
            if got.stop != Stop::Refused.name() || !full || got.count == before {
                break;
            }
        },
        By::Processors => {
            let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
            let each = most.div_ceil(processors as u64);
            let started: Vec<_> = (0..processors).map(|_| start(row, Taking::new(each, deadline))).collect();
            started.into_iter().for_each(|one| got.add(one));
        }
    }
    let Got { count, processes, stop, error } = got;
    let line = json!({
        "name": row.name, "what": row.what, "count": count, "processes": processes, "stopped": stop, "error": error,
    });
    crate::say(&line.to_string());
    loop {
        sys::pause();
    }
}

/// Takes the rows one after the other, for `seconds` each, `rounds` times over; prints when it did.
pub(crate) fn turns(rows: &[&str], seconds: &str, rounds: usize) -> Result<(), Refusal> {
    for row in std::iter::repeat_n(rows, rounds).flatten() {
        let from = latency::now()?;
        let mut taker = Command::new(std::env::current_exe()?);
        let mut taker = taker.args(["exhaust", row, "--seconds", seconds]).stdout(Stdio::piped()).spawn()?;
        let (mut output, mut line) = (BufReader::new(taker.stdout.take().expect("it is piped")), String::new());
        output.read_line(&mut line)?;
        let until = latency::now()?;
        taker.kill()?;
        taker.wait()?;
        crate::say(&json!({"name": row, "from": from, "until": until}).to_string());
        // It ends with the last of the taker's children.
        output.read_to_string(&mut line)?;
    }
    Ok(())
}

/// What all processes of a row got.
#[derive(Debug, Default)]
struct Got {
    count: u64,
    processes: u64,
    /// Why the last one stopped, and the last refusal.
    stop: String,
    error: String,
}

impl Got {
    /// Waits for what a process reports about itself.
    fn add(&mut self, started: Result<PipeReader, i32>) {
        let mut line = String::new();
        let read = started.map(|read| BufReader::new(read).read_line(&mut line));
        let got = match read {
            Ok(_) => serde_json::from_str(&line).unwrap_or(Value::Null),
            Err(errno) => json!({"stop": Stop::Refused.name(), "error": sys::errno_name(errno), "unborn": true}),
        };
        self.processes += u64::from(got.get("unborn").is_none());
        self.count += got["count"].as_u64().unwrap_or_default();
        got["stop"].as_str().unwrap_or("ended by the kernel").clone_into(&mut self.stop);
        got["error"].as_str().unwrap_or_default().clone_into(&mut self.error);
    }
}

/// Takes in a child, which reports what it got and then holds it.
fn start(row: &Row, mut taking: Taking) -> Result<PipeReader, i32> {
    hold_in_child(move || {
        let stop = (row.take)(&mut taking);
        json!({"count": taking.count, "stop": stop.name(), "error": taking.error}).to_string()
    })
}

/// Works in a child, which reports in one line and then waits to be ended, by its parent's end too.
fn hold_in_child(work: impl FnOnce() -> String) -> Result<PipeReader, i32> {
    let (reader, mut writer) = std::io::pipe().map_err(|error| error.raw_os_error().unwrap_or_default())?;
    sys::spawn(|| {
        let signal = i64::from(libc::SIGKILL);
        let _ = sys::call(libc::SYS_prctl, [END_WITH_PARENT.into(), signal.into(), 0.into(), 0.into(), 0.into()]);
        let _ = writer.write_all(format!("{}\n", work()).as_bytes());
        loop {
            sys::pause();
        }
    })?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let names: std::collections::BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn each_row_is_in_the_table_of_the_documents() {
        let table = include_str!("../../../docs/resources.md");
        let missing: Vec<&str> =
            ROWS.iter().map(|row| row.name).filter(|name| !table.contains(&format!("`{name}`"))).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
