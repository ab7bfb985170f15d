//! `unsafe` stands in a few places only, and says there why it holds. The lint `undocumented_unsafe_blocks` reads the code as
//! the compiler does; this wall sees also what is built for another target or feature.

use super::tree::{self, Source};
use super::{Breach, at};

/// Where `unsafe` may stand: the doors, and the raw calls of the tests' attacker, which runs on no device but theirs.
const PLACES: &[&str] = &["reconcilers/kernel/", "e2e/probe/src/sys.rs"];
/// What its comment begins with.
const SAFETY: &str = "// SAFETY: ";

/// Every `unsafe` at another place, or without its reason.
pub(super) fn breaches(source: &Source) -> Vec<Breach> {
    let code = source.code();
    let is_place = PLACES.iter().any(|place| source.path.starts_with(place));
    let found = tree::words(&code, "unsafe").filter_map(|line| {
        if !is_place {
            return Some(at(&source.path, line, "wall `unsafe`: only reconcilers/kernel may".to_owned()));
        }
        let why = format!("wall `unsafe`: no `{SAFETY}...` above it");
        (needs_reason(&code, line) && !has_reason(source, &code, line)).then(|| at(&source.path, line, why))
    });
    found.collect()
}

/// Whether it is a block or an implementation: of a function whoever calls it has to know, of a declaration nobody.
fn needs_reason(code: &str, line: usize) -> bool {
    let from_line = code.split_inclusive('\n').skip(line - 1).collect::<String>();
    let behind = from_line.split_once("unsafe").map_or("", |(_, behind)| behind).trim_start();
    behind.starts_with('{') || behind.starts_with("impl ")
}

/// Whether the comment stands in the lines above, as far as the statement before.
fn has_reason(source: &Source, code: &str, line: usize) -> bool {
    let above = source.text.lines().zip(code.lines()).take(line - 1).collect::<Vec<_>>().into_iter().rev();
    let mut of_statement = above.take_while(|(text, code)| {
        let is_comment = code.trim().is_empty() && !text.trim().is_empty();
        is_comment || !(code.trim().is_empty() || code.trim_end().ends_with([';', '{', '}']))
    });
    of_statement.any(|(text, code)| code.trim().is_empty() && text.trim_start().starts_with(SAFETY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        breaches(&source).into_iter().map(|breach| format!("{}: {}", breach.place, breach.why)).collect()
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn planted_unsafe_is_found() {
        let text = "//! unsafe\nfn f() {\n    let _ = \"unsafe\"; // unsafe\n    // SAFETY: it holds.\n    unsafe { g() }\n}\n";
        let breach = ["agent/src/main.rs:5: wall `unsafe`: only reconcilers/kernel may"];
        assert_eq!(found("agent/src/main.rs", text), breach);
        assert_eq!(found("e2e/probe/src/main.rs", text).len(), 1);
        assert_eq!(found("agent/src/lib.rs", "#![forbid(unsafe_code)]\n"), NONE);
        for path in ["reconcilers/kernel/base/src/lib.rs", "e2e/probe/src/sys.rs"] {
            assert_eq!(found(path, text), NONE, "{path}");
        }
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        let path = "reconcilers/kernel/base/src/launch/clone.rs";
        for text in [
            "fn f() {\n    // It holds.\n    unsafe { g() }\n}\n",
            "// SAFETY: of something else.\nfn f() {\n    unsafe { g() }\n}\n",
            "    // SAFETY: of the other one.\n    let a = g();\n    let b = unsafe { g() };\n",
            "    // SAFETY: somewhere above.\n\n    unsafe { g() }\n",
            "\n\nunsafe impl Send for A {}\n",
            "\n\nunsafe\n{\n}\n",
        ] {
            let breach = format!("{path}:3: wall `unsafe`: no `// SAFETY: ...` above it");
            assert_eq!(found(path, text), [breach], "{text}");
        }
    }

    #[test]
    fn unsafe_with_a_reason_and_what_needs_none_are_left_alone() {
        let path = "reconcilers/kernel/base/src/launch/clone.rs";
        for text in [
            "    // SAFETY: it holds, and\n    // for long.\n    unsafe { g() }\n",
            "    // SAFETY: it holds.\n    let a =\n        unsafe { g() };\n",
            "    f(\n        // SAFETY: it holds.\n        unsafe { g() },\n    )\n",
            "// SAFETY: it is.\n#[allow(unsafe_code, reason = \"-\")]\nunsafe impl Send for A {}\n",
            "/// # Safety\n/// Once.\npub unsafe fn f() {}\nunsafe extern \"C\" {}\n#[unsafe(no_mangle)]\nfn g() {}\n",
        ] {
            assert_eq!(found(path, text), NONE, "{text}");
        }
    }
}
