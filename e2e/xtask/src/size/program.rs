//! Whose bytes a program is made of. The linker (LLD) reports each piece that it put into the program: its size, its section,
//! and the object file that it came in. A function counts for the crate that wrote it, which its symbol names. Anything else,
//! also a function of Rust's own libraries that was made for a crate, counts for the crate whose object it came in.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;

use crate::run;

/// Who wrote a piece of a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// The crate that the compiler knows by this name.
    Crate(String),
    /// Rust's own libraries: `core`, `alloc`, `std` and what they are made of.
    Rust,
    /// The C library and what starts a program.
    C,
    /// Relocations, merged strings, tables of frames.
    Linker,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crate(name) => name,
            Self::Rust => "Rust's own libraries",
            Self::C => "C library",
            Self::Linker => "tables of the linker",
        })
    }
}

/// Bytes of a program's file by their owners.
pub(super) type Bytes = BTreeMap<Owner, usize>;

/// Where the compiler keeps Rust's own libraries.
const OF_RUST: &str = "/rustlib/";
/// Sections that take memory and no place in the file.
const NOT_IN_THE_FILE: [&str; 3] = [".bss", ".tbss", ".relro_padding"];
/// What a piece of the program is indented by in a map.
const INDENT: usize = 8;
/// What a symbol begins with (rustc's legacy mangling, which is that of C++ with a hash behind it).
const SYMBOL: &str = "_ZN";

/// Links `program` once more and gives what it is made of. `names` are the crates that it may have.
pub(super) fn bytes(artefacts: &Artefacts, program: &str, names: &[&str]) -> Result<Bytes> {
    let path = artefacts.state().join("size").join(format!("{program}.map"));
    let folder = path.parent().expect("the file is in a folder");
    fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    link(artefacts, program, &path)?;
    let map = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    ensure!(map.contains(SYMBOL), "`{}` has no symbol of the form that is read here", path.display());
    read(&map, names).with_context(|| format!("`{}` is no map of LLD", path.display()))
}

fn link(artefacts: &Artefacts, program: &str, map: &Path) -> Result<()> {
    let mut cargo = run::cargo_static_for(artefacts, "rustc")?;
    cargo.args(["-p", program, "--bin", program, "--", "-C"]);
    run::visibly(cargo.arg(format!("link-arg=-Wl,-Map={}", map.display())))
}

/// Adds up the pieces of a map. Each line has address, load address, size and alignment, and then a section of the program,
/// or, indented, a piece of it, or, indented twice, a symbol in that.
fn read(map: &str, names: &[&str]) -> Result<Bytes> {
    let mut bytes = Bytes::new();
    let mut counts = false;
    for line in map.lines().skip(1) {
        let (size, what) = columns(line).with_context(|| format!("`{line}` has no size"))?;
        let depth = what.len() - what.trim_start().len();
        let what = what.trim_start();
        if depth == 0 {
            counts = !NOT_IN_THE_FILE.contains(&what);
        }
        if let (true, INDENT, Some((object, section))) = (counts, depth, what.rsplit_once(":(")) {
            *bytes.entry(owner(object, section, names)).or_default() += size;
        }
    }
    ensure!(!bytes.is_empty(), "it names no piece of the program");
    Ok(bytes)
}

/// The size, and what is behind the alignment.
fn columns(line: &str) -> Option<(usize, &str)> {
    let mut rest = line;
    let mut column = || {
        let (column, behind) = rest.trim_start().split_once(' ')?;
        rest = behind;
        Some(column)
    };
    let (_address, _load, size, _alignment) = (column()?, column()?, column()?, column()?);
    Some((usize::from_str_radix(size, 16).ok()?, rest))
}

fn owner(object: &str, section: &str, names: &[&str]) -> Owner {
    if object.contains(OF_RUST) {
        return Owner::Rust;
    }
    if object == "<internal>" || object.ends_with("symbols.o") {
        return Owner::Linker;
    }
    let Some(crate_of_object) = crate_of(object) else { return Owner::C };
    written_by(section, names).unwrap_or_else(|| Owner::Crate(crate_of_object.to_owned()))
}

/// The crate of `.../libNAME-HASH.rlib(MEMBER)` or `.../NAME-HASH.MORE.o`.
fn crate_of(object: &str) -> Option<&str> {
    let (file, is_library) = match object.split_once(".rlib(") {
        Some((library, _)) => (library, true),
        None => (object.strip_suffix(".rcgu.o")?, false),
    };
    let name = file.rsplit('/').next()?.split_once('-')?.0;
    if is_library { name.strip_prefix("lib") } else { Some(name) }
}

/// Which crate wrote the function, or the static, that a section is named after. What is implemented for a type of a crate
/// counts for that crate, and what implements a trait of a crate for a type of Rust's own libraries for that one.
fn written_by(section: &str, names: &[&str]) -> Option<Owner> {
    let mangled = &section[section.find(SYMBOL)? + SYMBOL.len()..];
    let digits = mangled.len() - mangled.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let length: usize = mangled[..digits].parse().ok()?;
    let first = mangled.get(digits..)?.get(..length)?;
    // `a..b` is a path; `$LT$` and its kind are what no symbol may have.
    let mut roots = first.split('$').filter_map(|word| word.split("..").next());
    roots.find(|root| names.contains(root)).map(|root| Owner::Crate(root.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["catenoid_agent", "tokio", "serde", "serde_json"];

    fn named(name: &str) -> Owner {
        Owner::Crate(name.to_owned())
    }

    #[test]
    fn object_names_its_crate() {
        for (object, owner_of_it) in [
            ("/t/deps/libserde_json-1f2e.rlib(serde_json-1f2e.serde_json.aa-cgu.0.rcgu.o)", named("serde_json")),
            ("/t/deps/libaws_lc_sys-1f.rlib(0a1b-aes.o)", named("aws_lc_sys")),
            ("/t/deps/catenoid_agent-1f.catenoid_agent.aa-cgu.0.rcgu.o", named("catenoid_agent")),
            ("/r/lib/rustlib/x/lib/libstd-1f.rlib(std-1f.std.aa-cgu.0.rcgu.o)", Owner::Rust),
            ("/usr/lib/x/libc.a(malloc.o)", Owner::C),
            ("/usr/lib/x/rcrt1.o", Owner::C),
            ("<internal>", Owner::Linker),
            ("/tmp/rustcAbC/symbols.o", Owner::Linker),
        ] {
            assert_eq!(owner(object, ".rodata..Lanon.1f.2", NAMES), owner_of_it, "{object}");
        }
    }

    #[test]
    fn function_counts_for_the_crate_that_wrote_it() {
        let object = "/t/deps/catenoid_agent-1f.catenoid_agent.aa-cgu.0.rcgu.o";
        for (section, owner_of_it) in [
            (".text._ZN5tokio7runtime3run17h0123456789abcdefE", named("tokio")),
            (".text.unlikely._ZN5tokio7runtime4fail17h0123456789abcdefE", named("tokio")),
            (".rodata._ZN10serde_json2de5TABLE17h0123456789abcdefE", named("serde_json")),
            (
                ".text._ZN4core3ptr40drop_in_place$LT$tokio..task..Handle$GT$17h0123456789abcdefE",
                named("catenoid_agent"),
            ),
            (".text._ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", named("catenoid_agent")),
            (
                ".text._ZN67_$LT$tokio..task..Handle$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
                named("tokio"),
            ),
            (
                ".text._ZN68_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$serde..ser..Serialize$GT$9serialize17h01E",
                named("serde"),
            ),
            (".text._ZN7unknown3run17h0123456789abcdefE", named("catenoid_agent")),
            (".text._ZN999tokio3run17h0123456789abcdefE", named("catenoid_agent")),
            (".text.main", named("catenoid_agent")),
            (".eh_frame+0x30", named("catenoid_agent")),
        ] {
            assert_eq!(owner(object, section, NAMES), owner_of_it, "{section}");
        }
    }

    #[test]
    fn pieces_of_the_file_are_added_up() {
        let map = "\
             VMA              LMA     Size Align Out     In      Symbol
             2f0              2f0       28     8 .text
             2f0              2f0       18     8         /t/deps/libtokio-1f.rlib(tokio-1f.o):(.text._ZN5tokio3run17h01E)
             2f0              2f0       18     1                 tokio::run::h01
             308              308       10     4         /t/deps/libtokio-1f.rlib(tokio-1f.o):(.text.unnamed)
             318              318       20     1 .rodata
             318              318       20     1         <internal>:(.rodata.str1.1)
             400              400      fff     8 .bss
             400              400      fff     8         /usr/lib/x/libc.a(malloc.o):(.bss)
";
        let expected = Bytes::from([(named("tokio"), 0x28), (Owner::Linker, 0x20)]);
        assert_eq!(read(map, NAMES).expect("a map"), expected);
        assert!(read("", NAMES).is_err());
        assert!(read("heading\nnonsense\n", NAMES).is_err());
    }
}
