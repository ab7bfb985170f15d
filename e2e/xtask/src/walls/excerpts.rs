//! Code that a document shows is code that is there, word for word: a block that begins with "```rust FILE" is a part of that
//! file. So a worked example compiles and is tested, or the wall fails. A line `// ...` leaves something out.

use super::tree::Source;
use super::{Breach, at};

const OPENS: &str = "```rust ";
const CLOSES: &str = "```";
const LEFT_OUT: &str = "// ...";

/// Blocks of `document` that are not in the files that they name.
pub(super) fn breaches(document: &Source, sources: &[Source]) -> Vec<Breach> {
    let mut lines = (1..).zip(document.text.lines());
    let mut breaches = Vec::new();
    while let Some((line, text)) = lines.next() {
        let Some(file) = text.trim_start().strip_prefix(OPENS) else { continue };
        let block: Vec<_> = lines.by_ref().map(|(_, text)| text.trim()).take_while(|text| *text != CLOSES).collect();
        let source = sources.iter().find(|source| source.path == file);
        if !source.is_some_and(|source| has(source, &block)) {
            breaches.push(at(&document.path, line, format!("wall `documents`: `{file}` has no such lines")));
        }
    }
    breaches
}

/// Whether `block` is in the file: its parts one after the other, however they are indented and broken.
fn has(source: &Source, block: &[&str]) -> bool {
    let mut rest = words(&source.text);
    block.split(|text| *text == LEFT_OUT).map(|part| words(&part.join(" "))).all(|part| {
        let behind = rest.split_once(&part).map(|(_, behind)| behind.to_owned());
        behind.map(|behind| rest = behind).is_some() && !part.is_empty()
    })
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(block: &str) -> Vec<String> {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let code = source("agent/src/a.rs", "fn f() {\n    g(1,\n      2);\n    h();\n}\n\nfn i() {}\n");
        let document = source("docs/a.md", &format!("# A\n\n{block}\n```\n"));
        breaches(&document, &[code]).into_iter().map(|breach| format!("{}: {}", breach.place, breach.why)).collect()
    }

    #[test]
    fn code_that_is_not_there_is_found() {
        for (file, block) in [
            ("agent/src/a.rs", "f(2);"),
            ("agent/src/a.rs", "fn i() {}\n// ...\nfn f() {"),
            ("agent/src/a.rs", "fn f() {\n// ...\n"),
            ("agent/src/b.rs", "fn f() {"),
        ] {
            let breach = format!("docs/a.md:3: wall `documents`: `{file}` has no such lines");
            assert_eq!(found(&format!("```rust {file}\n{block}")), [breach], "{block}");
        }
    }

    #[test]
    fn code_that_is_there_and_other_blocks_are_left_alone() {
        for block in [
            "```rust agent/src/a.rs\nfn f() {\n    g(1, 2);\n    // ...\n}\nfn i() {}",
            "```rust\nnone()",
            "```\nnone()",
        ] {
            assert_eq!(found(block), Vec::<String>::new(), "{block}");
        }
    }
}
