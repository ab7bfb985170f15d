//! Paths inside of an image, and patterns over them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest path in bytes: Linux's `PATH_MAX`, less its final zero.
const PATH_LIMIT: usize = 4095;
/// Longest component in bytes: Linux's `NAME_MAX`.
const COMPONENT_LIMIT: usize = 255;

/// Why a text is not a [`GuestPath`] or [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It does not begin at the root.
    #[error("`{0}` is not an absolute path (it must begin with `/`)")]
    NotAbsolute(String),
    /// It has a component that could lead elsewhere.
    #[error("`{0}` must not have `.`, `..`, an empty component or a control character")]
    Component(String),
    /// It is over a limit.
    #[error("`{0}…` is longer than {PATH_LIMIT} bytes, or a component of it longer than {COMPONENT_LIMIT}")]
    TooLong(String),
    /// It names the root, where something in it is wanted.
    #[error("`/` names the root itself")]
    Root,
}

/// A normal absolute path in an image: no `.`, no `..`, no empty component. Never the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct GuestPath(String);

impl GuestPath {
    /// The path without its leading `/`, to be joined to a folder.
    pub(crate) fn relative(&self) -> &str {
        &self.0
    }

    /// The directory it is in; `None` for the root.
    pub(crate) fn parent(&self) -> Option<GuestPath> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The directories it is in, the nearest first, without the root.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = GuestPath> {
        std::iter::successors(self.parent(), GuestPath::parent)
    }

    /// What sorts right before everything that is in it. A bound for searching, not a path.
    pub(crate) fn bound_of_inside(&self) -> GuestPath {
        Self(format!("{}/", self.0))
    }

    /// Whether `other` is in the directory at this path, at any depth.
    pub(crate) fn holds(&self, other: &GuestPath) -> bool {
        other.0.strip_prefix(self.0.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Its components.
    pub(crate) fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl std::str::FromStr for GuestPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let shown = || text.chars().take(80).collect::<String>();
        let relative = text.strip_prefix('/').ok_or_else(|| PathError::NotAbsolute(shown()))?;
        if relative.is_empty() {
            return Err(PathError::Root);
        }
        if text.len() > PATH_LIMIT || relative.split('/').any(|c| c.len() > COMPONENT_LIMIT) {
            return Err(PathError::TooLong(shown()));
        }
        if relative.split('/').any(|c| matches!(c, "" | "." | "..")) || text.chars().any(char::is_control) {
            return Err(PathError::Component(shown()));
        }
        Ok(Self(relative.to_owned()))
    }
}

impl TryFrom<String> for GuestPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<GuestPath> for String {
    fn from(path: GuestPath) -> String {
        path.to_string()
    }
}

/// A pattern over paths: `*` is any text within a component, `**` any number of components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Pattern(GuestPath);

impl Pattern {
    /// Whether `path` itself is meant.
    pub(crate) fn matches(&self, path: &GuestPath) -> bool {
        let pattern: Vec<&str> = self.0.components().collect();
        let path: Vec<&str> = path.components().collect();
        components_match(&pattern, &path)
    }
}

fn components_match(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|skipped| components_match(rest, &path[skipped..])),
        [first, rest @ ..] => path
            .split_first()
            .is_some_and(|(head, tail)| component_matches(first, head) && components_match(rest, tail)),
    }
}

fn component_matches(pattern: &str, text: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(prefix) else { return false };
    let mut parts = rest.split('*');
    let suffix = parts.next_back().unwrap_or_default();
    // The parts between two stars: the leftmost place for each leaves the most to the rest.
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(suffix)
}

impl std::str::FromStr for Pattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Pattern {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0.into()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normal_and_absolute() {
        for text in ["/a", "/usr/share/ü", "/a/..b"] {
            assert_eq!(text.parse::<GuestPath>().unwrap().to_string(), text);
        }
        for text in ["", "a", "/", "//a", "/a/", "/a/../b", "/./a", "/a\nb"] {
            assert!(text.parse::<GuestPath>().is_err(), "{text:?}");
        }
        assert!(format!("/{}", "a".repeat(256)).parse::<GuestPath>().is_err());
        assert!("/a".repeat(2048).parse::<GuestPath>().is_err());
    }

    #[test]
    fn a_star_stays_within_a_component_and_two_do_not() {
        let table = [
            ("/usr/share/doc/*", "/usr/share/doc/bash", true),
            ("/usr/share/doc/*", "/usr/share/doc/bash/copyright", false),
            ("/usr/share/doc/*", "/usr/share/doc", false),
            ("/usr/share/doc/*/copyright", "/usr/share/doc/bash/copyright", true),
            ("/**/*.a", "/usr/lib/libc.a", true),
            ("/**/*.a", "/libc.a", true),
            ("/**/*.a", "/libc.ab", false),
            ("/usr/**", "/usr/bin/sh", true),
            ("/usr/**", "/etc", false),
            ("/lib*c*.so", "/libabcabc.so", true),
            ("/lib*c*.so", "/libab.so", false),
            ("/a*a", "/a", false),
            ("/etc/passwd", "/etc/passwd", true),
            ("/etc/passwd", "/etc/passwd-", false),
        ];
        for (pattern, path, expected) in table {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&path.parse().unwrap()), expected, "{pattern} {path}");
        }
    }
}
