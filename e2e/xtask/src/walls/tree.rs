//! The sources as the walls see them: comments and strings blanked, `use` groups spelt out, test code distinguished.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A `.rs` file, a `Cargo.toml` or a document; the path is relative to the workspace.
#[derive(Debug)]
pub(crate) struct Source {
    /// With `/`.
    pub(crate) path: String,
    /// As it is in the file.
    pub(crate) text: String,
}

impl Source {
    /// The text with comments, strings and characters blanked, line by line in place.
    pub(crate) fn code(&self) -> String {
        blank(&self.text)
    }

    /// The same without `#[cfg(test)]` items, which the module `tests` is as a whole, a file or a folder.
    pub(crate) fn shipped_code(&self) -> String {
        self.without_tests(self.code())
    }

    /// How many lines have code on them that is no test. A line within a string has; a comment or nothing is none.
    pub(crate) fn lines_of_code(&self) -> usize {
        let code = self.without_tests(filled(&self.text, '_'));
        code.lines().filter(|line| !line.trim().is_empty()).count()
    }

    fn without_tests(&self, code: String) -> String {
        let mut code = code.into_bytes();
        let items = if self.is_module_of_tests() { vec![(0, code.len())] } else { test_items(&self.code()) };
        for (start, end) in items {
            for byte in &mut code[start..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        String::from_utf8(code).expect("only whole ASCII bytes of blanked code are replaced")
    }

    fn is_module_of_tests(&self) -> bool {
        let within = self.path.split_once("/src/").map(|(_, within)| within);
        within.is_some_and(|within| within.ends_with("/tests.rs") || within.contains("/tests/"))
    }

    /// Line numbers of test code: all of a file under `tests/` and of the module `tests`, else the `#[cfg(test)]` items.
    pub(crate) fn test_lines(&self) -> BTreeSet<usize> {
        if self.path.contains("/tests/") || self.is_module_of_tests() {
            return (1..=self.text.lines().count()).collect();
        }
        let code = self.code();
        let line = |at: usize| code[..at].matches('\n').count() + 1;
        test_items(&code).into_iter().flat_map(|(start, end)| line(start)..=line(end)).collect()
    }
}

/// Every Rust source and manifest of the workspace; build output and hidden directories are left out.
pub(crate) fn read(workspace: &Path) -> Result<Vec<Source>> {
    texts(workspace, &paths_of(workspace)?, |path| path.ends_with(".rs") || path.ends_with("Cargo.toml"))
}

/// Every document of the workspace, and all files and folders that there are.
pub(super) fn documents(workspace: &Path) -> Result<(Vec<Source>, BTreeSet<String>)> {
    let paths = paths_of(workspace)?;
    Ok((texts(workspace, &paths, |path| path.ends_with(".md"))?, paths))
}

fn texts(workspace: &Path, paths: &BTreeSet<String>, wanted: fn(&str) -> bool) -> Result<Vec<Source>> {
    let read = |path: &String| {
        let text = fs::read_to_string(workspace.join(path)).with_context(|| format!("failed to read `{path}`"))?;
        Ok(Source { path: path.clone(), text })
    };
    paths.iter().filter(|path| wanted(path)).map(read).collect()
}

fn paths_of(workspace: &Path) -> Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    let mut directories = vec![workspace.to_owned()];
    while let Some(directory) = directories.pop() {
        let context = || format!("failed to list `{}`", directory.display());
        for entry in fs::read_dir(&directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && (name == "target" || name.starts_with('.')) {
                continue;
            }
            let relative = path.strip_prefix(workspace).expect("it was listed below the workspace");
            paths.insert(relative.display().to_string());
            if path.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(paths)
}

/// Lines on which `word` stands as a word of its own.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    (1..)
        .zip(code.lines())
        .filter(move |(_, line)| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word))
        .map(|(line, _)| line)
}

/// Every `a::b::c` in code with its line; a `use` group gives one path for each member.
pub(crate) fn paths(code: &str) -> impl Iterator<Item = (usize, String)> {
    let mut found = Vec::new();
    // Prefixes of the groups we are in; a brace that opens no group is an empty prefix.
    let mut groups: Vec<String> = Vec::new();
    let mut path = String::new();
    let mut finish = |path: &mut String, groups: &[String], line: usize| {
        let prefix = groups.last().map_or("", String::as_str);
        let whole = format!("{prefix}{}", path.trim_start_matches("::"));
        if whole.contains("::") && !path.is_empty() {
            found.push((line, whole.trim_end_matches("::self").to_owned()));
        }
        path.clear();
    };
    for (line, text) in (1..).zip(code.lines()) {
        for c in text.chars() {
            match c {
                '{' if path.ends_with("::") => {
                    let prefix = groups.last().map_or("", String::as_str);
                    groups.push(format!("{prefix}{path}"));
                    path.clear();
                }
                '{' => {
                    finish(&mut path, &groups, line);
                    groups.push(String::new());
                }
                '}' => {
                    finish(&mut path, &groups, line);
                    groups.pop();
                }
                c if c.is_alphanumeric() || c == '_' || c == ':' => path.push(c),
                c if c.is_whitespace() && path.ends_with("::") => {}
                _ => finish(&mut path, &groups, line),
            }
        }
        if !path.ends_with("::") {
            finish(&mut path, &groups, line);
        }
    }
    found.into_iter()
}

/// Byte ranges of items under `#[cfg(test)]`, attribute included.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]") {
        let start = from + at;
        let mut depth = 0;
        let mut end = code.len();
        for (offset, c) in code[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == '}' || c == ';') && depth == 0 {
                end = start + offset + 1;
                break;
            }
        }
        items.push((start, end));
        from = end;
    }
    items
}

/// Comments, string and character literals become spaces; everything keeps its place.
fn blank(text: &str) -> String {
    filled(text, ' ')
}

/// The same with literals made of `literals`, which is an ASCII character.
fn filled(text: &str, literals: char) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = literal(rest, out.chars().next_back());
        if length == 0 {
            // Identifiers may be of any script; the walls look for ASCII ones and keep places by byte.
            out.push(if c.is_ascii() { c } else { '_' });
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let filling = if rest.starts_with('/') { ' ' } else { literals };
        out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { filling }));
        rest = &rest[length..];
    }
    out
}

/// Length of the comment or literal that `text` starts with; 0 for code. `before` distinguishes `r"` from the end of a name.
fn literal(text: &str, before: Option<char>) -> usize {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('"') {
        return quoted(text, 1);
    }
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !in_name {
        let prefix = ["br", "cr", "r"].into_iter().find(|prefix| text.starts_with(prefix)).unwrap_or("");
        let hashes = text[prefix.len()..].chars().take_while(|c| *c == '#').count();
        let open = prefix.len() + hashes;
        if !prefix.is_empty() && text[open..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), open + 1);
        }
    }
    if text.starts_with('\'') {
        return character(text);
    }
    0
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn quoted(text: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal, or nothing for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_blanked_in_place() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("a\"b", 'x', '\'')"#, "f(      ,    ,     )"),
            (r##"f(r#"a"b"#)"##, "f(        )"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("bar\"x\"", "bar   "),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn lines_of_code_have_no_tests_and_no_comments() {
        let lines = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() }.lines_of_code();
        for (text, count) in [
            ("//! A.\n\nuse a; // b\n/// c\nfn d() {}\n", 2),
            ("/* a\n/* b */\n c */ fn d() {}\n/* e */\n", 1),
            ("const A: &str = r#\"// b\n/* c\n\"#;\n", 3),
            ("const A: &str = \"\\\n    // b\n\";\n", 3),
            ("fn f(c: char) -> bool {\n    c == '\"' // \"\n}\n", 3),
            ("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { \"}\"; }\n}\nfn c() {}\n", 2),
            ("#[cfg(test)]\nmod tests;\nmod a;\n", 1),
            ("#[cfg(not(test))]\nfn a() {}\n", 2),
        ] {
            assert_eq!(lines("a/src/lib.rs", text), count, "{text}");
        }
        assert_eq!(lines("a/src/b/tests.rs", "fn a() {}\n"), 0);
    }

    #[test]
    fn groups_are_spelt_out() {
        let code = "use std::{fs::{self, File}, io};\nfn f() { a::b(c::d {}) }\nuse x::\n    y;\n";
        let found: Vec<(usize, String)> = paths(code).collect();
        let expected = [(1, "std::fs"), (1, "std::fs::File"), (1, "std::io"), (2, "a::b"), (2, "c::d"), (4, "x::y")];
        assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn test_items_end_where_they_end() {
        let source = Source {
            path: "a/src/lib.rs".to_owned(),
            text: "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { {} }\n}\nfn c() {}\n".to_owned(),
        };
        assert_eq!(source.test_lines(), BTreeSet::from([2, 3, 4, 5]));
        assert_eq!(source.shipped_code().lines().last(), Some("fn c() {}"));
        for path in ["a/src/b/tests.rs", "a/src/b/tests/c.rs"] {
            let source = Source { path: path.to_owned(), text: "fn a() {}\n\nfn b() {}\n".to_owned() };
            assert_eq!(source.test_lines(), BTreeSet::from([1, 2, 3]), "{path}");
            assert_eq!(source.shipped_code().split_whitespace().next(), None, "{path}");
        }
    }
}
