//! The recipe of a guest, as its author writes it.

mod error;
mod read;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "testing"))]
pub(crate) use read::parse;
pub(crate) use read::read;

use std::{collections::BTreeSet, path::PathBuf};

use catenoid_schema::{
    document::ApiVersion,
    guest::{self, Architecture, Defaults, Need, Root, Version},
    name::Name,
    units,
};
use serde::Deserialize;

use super::{
    path::{GuestPath, Pattern},
    tree::{DIRECTORY_MODE, FILE_MODE},
};

/// How to make one guest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Recipe {
    /// The version of this format; only there to be checked.
    #[serde(rename = "apiVersion", deserialize_with = "units::word")]
    _api_version: ApiVersion,
    /// Always `GuestRecipe`; only there to be checked.
    #[serde(rename = "kind", deserialize_with = "units::word")]
    _kind: Kind,
    /// The guest's name.
    pub(crate) name: Name,
    /// The guest's version.
    pub(crate) version: Version,
    /// One line for people.
    #[serde(default)]
    pub(crate) description: String,
    /// The processor it is for.
    #[serde(deserialize_with = "units::word")]
    pub(crate) architecture: Architecture,
    /// Where its files come from.
    pub(crate) source: FileSource,
    /// Directories added to those of the source.
    #[serde(default)]
    pub(crate) directories: Vec<AddedDirectory>,
    /// Files added to those of the source, or in place of them.
    #[serde(default)]
    pub(crate) files: Vec<AddedFile>,
    /// Symbolic links added to those of the source.
    #[serde(default)]
    pub(crate) links: Vec<AddedLink>,
    /// What is dropped from the source.
    #[serde(default)]
    pub(crate) remove: Vec<Pattern>,
    /// What is not dropped although `remove` means it.
    #[serde(default)]
    pub(crate) keep: Vec<Pattern>,
    /// How its container is run where the manifest does not say otherwise.
    pub(crate) defaults: Defaults,
    /// How its root can be written to.
    #[serde(deserialize_with = "guest::root")]
    pub(crate) root: Root,
    /// System calls that its software makes beyond those of every container.
    #[serde(default, deserialize_with = "units::words")]
    pub(crate) needs: BTreeSet<Need>,
}

#[derive(Debug, Deserialize)]
enum Kind {
    GuestRecipe,
}

/// Where the files of a guest come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum FileSource {
    /// An archive, relative to the recipe and beneath its folder.
    Tar(PathBuf),
    /// A folder, relative to the recipe and beneath its folder.
    Directory(PathBuf),
    /// Debian packages.
    Debian(Debian),
}

/// A selection of Debian packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Debian {
    /// The release, such as `bookworm`; its security and other updates are included.
    pub(crate) suite: Word,
    /// How much is there besides the packages.
    #[serde(default, deserialize_with = "units::word")]
    pub(crate) variant: Variant,
    /// The packages; what they depend on comes with them.
    pub(crate) packages: Vec<Word>,
    /// The archive they come from; where the build host's own apt gets the suite from, if not given.
    #[serde(default)]
    pub(crate) mirror: Option<Word>,
}

/// How much of Debian is there besides the packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Variant {
    /// All essential packages; maintainer scripts are run.
    #[default]
    Essential,
    /// Nothing; packages are only unpacked, no maintainer script is run (so no users, caches or alternatives are made).
    Extract,
}

/// A text that goes into a command line or an apt source: 1 to 255 of `A-Z a-z 0-9 . + - _ : / ~ @ %`, beginning with
/// a letter or digit, so that it is never an option, a list or two words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Word(String);

/// Why a text is not a [`Word`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` may only have letters, digits and `.+-_:/~@%`, begin with a letter or digit and have 255 at most")]
pub(crate) struct WordError(String);

impl Word {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Word {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_:/~@%".contains(&b));
        if fits && text.len() <= 255 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(WordError(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Word {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

/// A directory to add.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AddedDirectory {
    /// Where it is put.
    pub(crate) dest: GuestPath,
    /// Its permission bits, `0755` if not given.
    #[serde(default)]
    pub(crate) mode: Mode<0o755, DIRECTORY_MODE>,
    /// Its owner.
    #[serde(default, deserialize_with = "units::number")]
    pub(crate) user: u16,
    /// Its group.
    #[serde(default, deserialize_with = "units::number")]
    pub(crate) group: u16,
}

/// A file to add.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AddedFile {
    /// A file of the build host, relative to the recipe; must be given by `--file` where this is absent.
    #[serde(default)]
    pub(crate) src: Option<PathBuf>,
    /// Where it is put.
    pub(crate) dest: GuestPath,
    /// Its permission bits, `0644` if not given.
    #[serde(default)]
    pub(crate) mode: FileMode,
}

/// A symbolic link to add.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AddedLink {
    /// Where it is put.
    pub(crate) dest: GuestPath,
    /// What it points to.
    pub(crate) target: String,
}

/// Permission bits, written in octal between quotes: `"0755"`. A bare number would be decimal to one YAML reader and
/// octal to another. Bits that an image drops are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Mode<const DEFAULT: u32, const KEPT: u32>(pub(crate) u32);

/// The mode of a file that is added.
pub(crate) type FileMode = Mode<0o644, FILE_MODE>;

/// Why a text is not a [`Mode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a mode of four octal digits such as `\"0755\"`; of the set-id bits, only the group's of a directory is \
     kept (`\"2775\"`)"
)]
pub(crate) struct ModeError(String);

impl<const DEFAULT: u32, const KEPT: u32> Default for Mode<DEFAULT, KEPT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const DEFAULT: u32, const KEPT: u32> TryFrom<String> for Mode<DEFAULT, KEPT> {
    type Error = ModeError;

    fn try_from(text: String) -> Result<Self, ModeError> {
        let digits = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if digits && mode & !KEPT == 0 => Ok(Self(mode)),
            _ => Err(ModeError(text.chars().take(20).collect())),
        }
    }
}
