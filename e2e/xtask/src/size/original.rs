//! What others report of the same things. Each figure stands as it was found: in the inventory of the original (GyroidOS, cml
//! main `224b431`) and in the survey of its peers, by their sections.

use super::table::{Cell, Table};

/// What of ours a figure is held against; nothing where it was not measured, or where we have no counterpart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here {
    pub(super) lines: usize,
    pub(super) lines_of_others: usize,
    /// The agent's program, in bytes.
    pub(super) agent: Option<usize>,
    /// In bytes.
    pub(super) unpacked: usize,
    pub(super) packed: usize,
    pub(super) boot_image: usize,
    /// PSS of PID 1 and the agent, what of that is of no file, and PSS of the agent alone, in KiB.
    pub(super) pss: Option<usize>,
    pub(super) own: Option<usize>,
    pub(super) pss_of_agent: Option<usize>,
}

const NOTE: &str = "\
Figures of others stand as they were found: in the inventory of the original (GyroidOS, cml main `224b431`) and in the survey
of its peers, by section. They are of other machines, and those programs use shared libraries, which ours hold inside. Empty:
not measured, or no counterpart here yet.";
const LINES: &str = "lines of own code that run as root";
const PROGRAM: &str = "program of the manager, bytes";
const MANAGER: &str = "PSS of the manager while idle, KiB";
const AGENT: &str = "PSS of the agent alone, KiB";
const OF_LINES: &str = "the original, 14.1";
const OF_BUILD: &str = "the original, 15";
const OF_PEERS: &str = "peers, 3b";

/// The table of both.
pub(super) fn compared(here: &Here) -> Table {
    let rows: [(&str, Option<usize>, &str, &str, &str); 14] = [
        (LINES, Some(here.lines), "38,815", "cmld and common", OF_LINES),
        (LINES, Some(here.lines), "44,593", "cmld, common, scd and tpm2d", OF_LINES),
        (
            "lines of Rust of others in the same programs",
            Some(here.lines_of_others),
            "not counted",
            "OpenSSL and 11 more",
            OF_LINES,
        ),
        (PROGRAM, here.agent, "654,216", "cmld; its libraries are files of their own", OF_BUILD),
        ("program that holds keys, bytes", None, "203,104", "scd with a patch", OF_BUILD),
        (
            "initramfs unpacked, bytes",
            Some(here.unpacked),
            "at most 75,000 kB",
            "limit of its build",
            "the original, 11.1",
        ),
        (MANAGER, here.pss, "862", "cmld without a container, parts of it replaced", OF_BUILD),
        ("of that of no file, KiB", here.own, "176", "the same", OF_BUILD),
        ("PSS of what holds keys while idle, KiB", None, "4,241", "scd", OF_BUILD),
        (AGENT, here.pss_of_agent, "5.56 MiB", "agent of Ankaios with one container", OF_PEERS),
        (AGENT, here.pss_of_agent, "8 MiB (RSS)", "agent of thin-edge.io", OF_PEERS),
        ("initramfs packed, bytes", Some(here.packed), "2.5 to 8 MB", "rescue system of SWUpdate", OF_PEERS),
        ("boot image, bytes", Some(here.boot_image), "below 100 MB", "disk of Talos", OF_PEERS),
        ("boot image, bytes", Some(here.boot_image), "237 to 270 MB", "root file system of EVE", OF_PEERS),
    ];
    let row = |(figure, here, there, system, source): (&str, Option<usize>, &str, &str, &str)| {
        let here: Cell = here.into();
        vec![figure.into(), here, there.into(), system.into(), source.into()]
    };
    Table {
        key: "compared",
        title: "Here and elsewhere",
        columns: &["figure", "here", "there", "of", "found in"],
        rows: rows.into_iter().map(row).collect(),
        note: NOTE.to_owned(),
    }
}
