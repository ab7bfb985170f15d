//! The firewall of a network namespace: nftables, by way of nft(8) and its JSON form (libnftables-json(5)).
//!
//! What is ours is every table of one name, of whichever family. It is replaced as a whole: one
//! transaction of the kernel takes the old tables away and adds the new, so that no packet ever passes in between.

use std::{
    io,
    os::fd::BorrowedFd,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::socket::{SockFlag, SockProtocol};
use serde_json::{Value, json};

use catenoid_kernel_base::{
    fault::at,
    process::{self, Spoken, speak},
};

use crate::{
    namespace,
    netlink::{
        exchange::{exchange, flags::ACKNOWLEDGED, listing, open},
        message::{Message, attributes, number, text},
    },
};

/// Where nft(8) is, on Debian and on the device.
const NFT: &str = "/usr/sbin/nft";
/// The standard input. nft's own `-` means `/dev/stdin`, which is a link that nobody makes on the device.
const STDIN: &str = "/proc/self/fd/0";
/// Has nft list what follows.
const LISTED: [&str; 3] = ["-j", "--numeric-protocol", "list"];
/// The most memory that nft may take (`RLIMIT_AS`), which holds a listing as objects before it writes it: some 60 000 short
/// rules. It runs in the agent's control group, where want of memory ends the agent as well.
const MEMORY_LIMIT: u64 = 160 * 1024 * 1024;
/// The most bytes of what nft says when it fails; more is cut off.
const COMPLAINT_LIMIT: usize = 4096;
/// How long nft may take: the longest listing of ours takes a second or two, on a busy device some more.
const RUN_LIMIT: Duration = Duration::from_secs(20);
/// `linux/netfilter/nfnetlink.h` and `nf_tables.h`: `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_NEWTABLE`, `NFT_MSG_GETTABLE`.
const NEW_TABLE: u16 = 10 << 8;
const GET_TABLE: u16 = 10 << 8 | 1;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// `linux/netfilter.h`: the families by what nft calls them.
const FAMILIES: [(u8, &str); 6] = [(1, "inet"), (2, "ip"), (3, "arp"), (5, "netdev"), (7, "bridge"), (10, "ip6")];

/// `NFT_MSG_NEWGEN`, `NFT_MSG_GETGEN`, and `NFTA_GEN_ID`.
const NEW_GENERATION: u16 = 10 << 8 | 15;
const GET_GENERATION: u16 = 10 << 8 | 16;
const GENERATION: u16 = 1;

/// In which state the firewall of a network namespace is: equal means that nothing was changed in between. The kernel
/// counts the changes; no other namespace ever has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// The number of the namespace (`SO_NETNS_COOKIE`).
    pub namespace: u64,
    /// How many changes there were.
    pub generation: u32,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network namespace could not be entered.
    #[error("failed to reach the firewall")]
    Enter(#[from] namespace::Error),
    /// The kernel could not be asked for its tables.
    #[error("failed to list the tables of the firewall")]
    Tables(#[source] io::Error),
    /// nft could not be started or spoken to; `TimedOut` if it did not come to an end.
    #[error("failed to run `{NFT}`")]
    Run(#[source] io::Error),
    /// nft failed.
    #[error("`nft` refused to {what}: {complaint}")]
    Refused {
        /// Replace or list.
        what: &'static str,
        /// What it said, cut to a few lines.
        complaint: String,
    },
}

/// The state of the firewall of the calling thread's network namespace. Costs a message to the kernel, where a listing
/// costs a run of nft.
///
/// # Errors
/// [`Error::Tables`].
pub fn state() -> Result<State, Error> {
    let ask = || -> io::Result<State> {
        let socket = open(SockProtocol::NetlinkNetFilter, SockFlag::empty(), 0)?;
        let mut generation = None;
        exchange(&socket, Message::new(GET_GENERATION, ACKNOWLEDGED, &[0; 4]), |received| {
            let mut all = attributes(received.body.get(4..).unwrap_or_default());
            let found = all.find(|(kind, _)| received.kind == NEW_GENERATION && *kind == GENERATION);
            generation = found.map(|(_, value)| number(value)).or(generation);
        })?;
        let generation = generation.ok_or(io::ErrorKind::InvalidData)?;
        Ok(State { namespace: namespace::cookie(&socket)?, generation })
    };
    ask().map_err(Error::Tables)
}

/// The families that have a table called `table` in the network namespace `net`, by their names.
///
/// # Errors
/// [`Error::Enter`], [`Error::Tables`].
pub fn tables(net: BorrowedFd<'_>, table: &str) -> Result<Vec<&'static str>, Error> {
    namespace::inside(net, || tables_here(table))?
}

/// Every object in the tables called `table` in `net`, as nft lists them, with protocols by number: the device has no
/// `/etc/protocols`. None if there is none. A table of somebody
/// else's making that is longer than `limit` bytes, or that nft lists as something else than JSON, is listed as
/// `{"unreadable": family}`: it is none of ours, and not being able to read it must not keep it from being replaced.
///
/// # Errors
/// All of [`Error`].
pub fn list(net: BorrowedFd<'_>, table: &str, limit: usize) -> Result<Vec<Value>, Error> {
    namespace::inside(net, || {
        let families = tables_here(table)?;
        // Mostly there is nobody else's table: then one run lists what else takes one for each family.
        if families.len() > 1
            && let Ok(Output::Whole(listed)) = run(&[&LISTED[..], &["ruleset"]].concat(), "", limit, "list all rules")
            && let Ok(Listing { nftables }) = serde_json::from_str(&listed)
        {
            return Ok(nftables.into_iter().filter(|object| is_of(object, table)).collect());
        }
        let mut objects = Vec::new();
        for family in families {
            match run(&[&LISTED[..], &["table", family, table]].concat(), "", limit, "list its rules")? {
                Output::Whole(listed) if let Ok(Listing { nftables }) = serde_json::from_str(&listed) => {
                    objects.extend(nftables.into_iter().filter(|object| is_of(object, table)));
                }
                Output::Whole(_) | Output::TooLong => objects.push(json!({"unreadable": family})),
            }
        }
        Ok(objects)
    })?
}

/// Whether nft listed `object` as a table called `table`, or as a part of one; also what does not say of which it is.
fn is_of(object: &Value, table: &str) -> bool {
    let Some((kind, part)) = object.as_object().and_then(|object| object.iter().next()) else { return true };
    let of = &part[if kind == "table" { "name" } else { "table" }];
    kind != "metainfo" && (of.is_null() || of == table)
}

/// Puts `objects` (tables, chains, sets and rules, in an order in which they can be added) in place of all tables
/// called `table` in `net`. Either all of it is done or nothing.
///
/// # Errors
/// All of [`Error`].
pub fn replace(net: BorrowedFd<'_>, table: &str, objects: &[Value]) -> Result<(), Error> {
    namespace::inside(net, || {
        let old = tables_here(table)?;
        let delete = old.iter().map(|family| json!({"delete": {"table": {"family": family, "name": table}}}));
        let add = objects.iter().map(|object| json!({"add": object}));
        let commands: Vec<Value> = delete.chain(add).collect();
        run(&["-j", "-f", STDIN], &json!({"nftables": commands}).to_string(), COMPLAINT_LIMIT, "replace its rules")
            .map(drop)
    })?
}

#[derive(serde::Deserialize)]
struct Listing {
    nftables: Vec<Value>,
}

/// Asks the kernel itself: it costs a thousandth of starting nft, which is worth it where there is mostly no table.
fn tables_here(name: &str) -> Result<Vec<&'static str>, Error> {
    let mut found = Vec::new();
    let mut list = || -> io::Result<()> {
        let socket = open(SockProtocol::NetlinkNetFilter, SockFlag::empty(), 0)?;
        // `struct nfgenmsg`: any family, version 0.
        exchange(&socket, listing(GET_TABLE, &[0; 4]), |received| {
            let (family, rest) =
                (received.body.first().copied().unwrap_or(0), received.body.get(4..).unwrap_or_default());
            let ours = attributes(rest).any(|(kind, value)| kind == TABLE_NAME && text(value) == name);
            if received.kind == NEW_TABLE && ours {
                found.extend(FAMILIES.iter().find(|(number, _)| *number == family).map(|(_, name)| *name));
            }
        })
    };
    list().map_err(Error::Tables)?;
    Ok(found)
}

/// What nft wrote.
enum Output {
    Whole(String),
    /// More than was asked for.
    TooLong,
}

/// Runs nft with `input`, to write at most `limit` bytes.
fn run(arguments: &[&str], input: &str, limit: usize, what: &'static str) -> Result<Output, Error> {
    let mut nft = Command::new(NFT);
    let nft = nft.args(arguments).env_clear().current_dir("/");
    let nft = nft.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = at("firewall.run", || nft.spawn()).map_err(Error::Run)?;
    // It has hardly begun by then, and has asked for no rules.
    process::limit_memory(&child, MEMORY_LIMIT);
    let limits = [limit + 1, COMPLAINT_LIMIT];
    let spoken = speak(&mut child, input.as_bytes(), limits, Instant::now() + RUN_LIMIT);
    let Spoken { status, output, complaint } = spoken.map_err(Error::Run)?;
    if output.len() > limit {
        return Ok(Output::TooLong);
    }
    if status.success() {
        return Ok(Output::Whole(String::from_utf8_lossy(&output).into_owned()));
    }
    let complaint = if complaint.is_empty() {
        status.to_string()
    } else {
        String::from_utf8_lossy(&complaint).trim_end().to_owned()
    };
    Err(Error::Refused { what, complaint })
}
