//! `cargo xtask size`: what a device has to trust, and what it costs: lines, programs, boot image, memory, each crate. It
//! prints tables, and leaves the same for programs in `target/catenoid/size/size.json`. With `--keep` they become
//! `docs/figures/size.md`.

mod built;
mod costs;
mod memory;
mod original;
mod program;
mod table;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use lexopt::{Arg, Parser};
use serde_json::{Map, Value, json};

use crate::image::{self, PROGRAMS, Variant, cpio};
use crate::origin::{self, Origin};
use costs::Costs;
use memory::Memory;
use original::Here;
use table::{Cell, Table};

const HELP: &str = "\
Usage: cargo xtask size [--no-boot] [--json] [--keep]

Builds the device image and shows its trusted lines, programs, boot image, memory and what each crate costs, beside the
figures of the original.

  --no-boot   boot no device: the figures of memory are left out
  --json      print what is saved in target/catenoid/size/size.json
  --keep      write docs/figures/size.md anew

Examples:
  cargo xtask size --no-boot
  cargo xtask size --keep
  cargo xtask size --no-boot --json | jq '.tables.crates'
";

const OF_FILES: &str = "\
All that the initramfs has. `/init` is PID 1 and the agent. All programs are stripped; those that are not ours are Debian's.";
const OF_MEMORY: &str = "\
Of the test image in QEMU, idle, with c0 as its only container. A process has its PSS: its share of what it maps. What it maps
of a file lies in the root file system, and is in the sum once. On the whole device runs also the test image's shell, which
takes some megabytes.";
/// How a program that runs as PID 1 and as the agent is found among the processes.
const AGENT: &str = "/init agent";

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    no_boot: bool,
    json: bool,
    keep: bool,
    help: bool,
}

/// What the rest of the command line asks for.
pub(crate) fn options(parser: &mut Parser) -> Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("no-boot") => options.no_boot = true,
            Arg::Long("json") => options.json = true,
            Arg::Long("keep") => options.keep = true,
            Arg::Long("help") | Arg::Short('h') => options.help = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// Measures and shows; `begin` makes sure that nobody else builds, and is not called for help.
pub(crate) fn run<T>(artefacts: &Artefacts, options: &Options, begin: impl FnOnce() -> Result<T>) -> Result<()> {
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    let _alone = begin()?;
    let before = origin::load();
    let tables = measure(artefacts, options)?;
    let origin = Origin::of(artefacts, before)?;
    let by_key = tables.iter().map(|table| (table.key.to_owned(), table.json())).collect::<Map<_, _>>();
    let mut saved = json!({ "tables": Value::Object(by_key) });
    origin.add_to(&mut saved)?;
    let text = origin::save(&artefacts.state().join("size/size.json"), &saved)?;
    if options.keep {
        let tables: Vec<String> = tables.iter().map(Table::markdown).collect();
        origin::keep(artefacts, "size.md", &(origin.head("size", None) + &tables.join("\n")))?;
    }
    if options.json {
        print!("{text}");
        return Ok(());
    }
    println!("size, commit {}\nmachine: {}", origin.commit(), origin.hardware());
    tables.iter().for_each(|table| print!("\n{}", table.text()));
    Ok(())
}

fn measure(artefacts: &Artefacts, options: &Options) -> Result<Vec<Table>> {
    let units = built::units(artefacts)?;
    let crates = built::crates(artefacts, &units)?;
    let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    let [agent, launcher] = PROGRAMS.map(|program| program::bytes(artefacts, program, &names));
    let costs = Costs::of(&units, &crates, &[agent?, launcher?]);
    // The image comes behind the maps: its programs are those that stay.
    image::build(artefacts, Variant::Production)?;
    for (program, found) in PROGRAMS.into_iter().zip(costs.bytes()) {
        let size = usize::try_from(image::size(&artefacts.static_binary(program))?)?;
        ensure!(is_all_of(size, found), "of {size} bytes of `{program}` the map has {found}: it is of another program");
    }
    let files = image::files(artefacts, Variant::Production);
    let archive = image::read(&files.unpacked)?;
    let entries = cpio::entries(&archive).with_context(|| format!("`{}` is broken", files.unpacked.display()))?;
    let size = |path| image::size(path).and_then(|size| Ok(usize::try_from(size)?));
    let (packed, boot_image) = (size(&files.packed)?, size(&files.signed)?);
    let memory = if options.no_boot { None } else { Some(memory::measure(artefacts)?) };
    let here = Here {
        lines: costs.trusted_lines(),
        lines_of_others: costs.lines_of_others(),
        agent: entries.iter().find(|(path, ..)| path == "init").map(|(_, _, size)| *size),
        unpacked: archive.len(),
        packed,
        boot_image,
        pss: memory.as_ref().map(Memory::pss),
        own: memory.as_ref().map(|memory| memory.processes.iter().map(|process| process.own).sum()),
        pss_of_agent: memory.as_ref().and_then(pss_of_agent),
    };
    let tables = [original::compared(&here), costs.of_ours(), costs.of_others()];
    let tables = tables.into_iter().chain([of_files(&entries), of_images(&here)]);
    Ok(tables.chain(memory.as_ref().map(of_memory)).collect())
}

/// Whether a program's pieces are all of it but headers and gaps.
fn is_all_of(size: usize, pieces: usize) -> bool {
    pieces <= size && pieces > size / 20 * 19
}

fn pss_of_agent(memory: &Memory) -> Option<usize> {
    memory.processes.iter().find(|process| process.words == AGENT).map(|process| process.pss)
}

/// The programs of the initramfs; libraries and modules each as one row.
fn of_files(entries: &[(String, u32, usize)]) -> Table {
    const EXECUTABLE: u32 = 0o100_111;
    let is_module = |path: &str| path.starts_with("lib/modules/");
    let is_program = |path: &str, mode: u32| mode & EXECUTABLE == EXECUTABLE && !path.contains(".so");
    let (mut rows, mut libraries, mut modules, mut rest) = (Vec::new(), (0, 0), (0, 0), (0, 0));
    for (path, mode, size) in entries.iter().filter(|(_, mode, _)| mode & 0o170_000 == 0o100_000) {
        let kind = match path.as_str() {
            path if is_program(path, *mode) => {
                rows.push(vec![format!("/{path}").into(), (*size).into()]);
                continue;
            }
            path if is_module(path) => &mut modules,
            path if path.contains(".so") => &mut libraries,
            _ => &mut rest,
        };
        *kind = (kind.0 + 1, kind.1 + size);
    }
    for ((count, size), what) in [
        (libraries, "shared libraries of the tools"),
        (modules, "modules of the kernel and their indexes"),
        (rest, "other files"),
    ] {
        rows.push(vec![format!("{what}: {count}").into(), size.into()]);
    }
    Table {
        key: "files",
        title: "Programs on the device",
        columns: &["file", "bytes"],
        rows,
        note: OF_FILES.to_owned(),
    }
}

fn of_images(here: &Here) -> Table {
    let row = |what: &str, size: usize| vec![what.into(), size.into()];
    Table {
        key: "images",
        title: "Boot image",
        columns: &["what", "bytes"],
        rows: vec![
            row("initramfs unpacked", here.unpacked),
            row("initramfs packed", here.packed),
            row("boot image (UKI): kernel, packed initramfs, stub, command line, signature", here.boot_image),
        ],
        note: "Of the production image.".to_owned(),
    }
}

fn of_memory(memory: &Memory) -> Table {
    let row = |what: &str, size: usize, own: Cell| vec![what.into(), size.into(), own];
    let mut rows = vec![row("root file system: the unpacked initramfs", memory.root, Cell::Nothing)];
    let processes = memory.processes.iter();
    rows.extend(processes.map(|process| row(&format!("`{}`", process.words), process.pss, process.own.into())));
    rows.push(row(
        "resident in the root namespace: file system and what is of no file",
        memory.resident(),
        Cell::Nothing,
    ));
    rows.push(row(
        "whole device: in use, kernel and c0 included",
        memory.total.saturating_sub(memory.available),
        Cell::Nothing,
    ));
    rows.push(row("whole device: all that the kernel manages", memory.total, Cell::Nothing));
    Table {
        key: "memory",
        title: "Memory",
        columns: &["what", "KiB", "of that of no file, KiB"],
        rows,
        note: OF_MEMORY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Options> {
        options(&mut Parser::from_args(words))
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parsed(&[]).expect("no option is needed"), Options::default());
        let all = Options { no_boot: true, json: true, keep: true, help: true };
        assert_eq!(parsed(&["--no-boot", "--json", "--keep", "-h"]).expect("options"), all);
        assert!(parsed(&["--boot"]).is_err());
        assert!(parsed(&["agent"]).is_err());
    }

    #[test]
    fn map_of_another_program_is_found() {
        assert!(is_all_of(2000, 2000) && is_all_of(2000, 1901));
        assert!(!is_all_of(2000, 2001) && !is_all_of(2000, 1900));
    }

    #[test]
    fn files_are_shown_by_kind() {
        let entry = |path: &str, mode, size| (path.to_owned(), mode, size);
        let table = of_files(&[
            entry("etc", 0o040_755, 0),
            entry("etc/anchors", 0o100_644, 1),
            entry("init", 0o100_755, 20),
            entry("lib/libc.so.6", 0o100_755, 300),
            entry("lib/modules/6.1/dm.ko", 0o100_644, 4000),
            entry("lib/modules/6.1/modules.softdep", 0o100_644, 50_000),
        ]);
        let row = |file: &str, size: usize| vec![Cell::from(file), Cell::from(size)];
        let expected = [
            row("/init", 20),
            row("shared libraries of the tools: 1", 300),
            row("modules of the kernel and their indexes: 2", 54_000),
            row("other files: 1", 1),
        ];
        assert_eq!(table.rows, expected);
    }

    #[test]
    fn memory_that_is_of_a_file_is_in_the_sum_once() {
        let process = memory::Process { words: AGENT.to_owned(), pss: 70, own: 20 };
        let memory = Memory { root: 100, processes: vec![process], total: 1000, available: 600 };
        assert_eq!(pss_of_agent(&memory), Some(70));
        let sizes: Vec<_> = of_memory(&memory).rows.into_iter().map(|row| row[1].clone()).collect();
        assert_eq!(sizes, [100, 70, 120, 400, 1000].map(Cell::from));
    }
}
