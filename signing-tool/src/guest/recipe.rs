//! The recipe of a guest, as its author writes it.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use catenoid_schema::{
    document::ApiVersion,
    guest::{self, Architecture, Defaults, Need, Root, Version},
    name::Name,
    units,
};
use serde::Deserialize;

use super::{
    leftovers,
    path::{GuestPath, Pattern},
    tree::{DIRECTORY_MODE, FILE_MODE},
};
use crate::{
    failure::Failure,
    yaml::{Finding, Source},
};

/// Most arguments and environment variables of the default command, and bytes of each: what a descriptor may hold.
const WORDS_LIMIT: usize = 64;
/// Most bytes of one argument or variable.
const WORD_LIMIT: usize = 4096;
/// Most packages a recipe names; their dependencies are not counted.
const PACKAGES_LIMIT: usize = 512;
/// Most files, directories, links and patterns a recipe names, each.
const ITEMS_LIMIT: usize = 1024;

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
    /// Where.
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
    /// Where.
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

/// Why a recipe cannot be followed. Its author must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A list is over its limit.
    #[error("{count} items are more than the limit of {limit}")]
    TooMany {
        /// Where the list is.
        field: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The default command, its environment or directory cannot be one.
    #[error("{problem}")]
    Defaults {
        /// Where.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Something that no container would see.
    #[error("`{dest}` would not be seen: each container mounts a `{mounted}` of its own there")]
    Hidden {
        /// Where.
        field: String,
        /// What.
        dest: GuestPath,
        /// What is mounted.
        mounted: &'static str,
    },
    /// What it names lies elsewhere than it may.
    #[error("`{path}` {problem}")]
    Elsewhere {
        /// Where.
        field: String,
        /// What it names.
        path: String,
        /// What is wrong with that.
        problem: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// The root cannot be as large as that.
    #[error("{problem}")]
    Root {
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    fn field(&self) -> &str {
        match self {
            Self::TooMany { field, .. } | Self::Defaults { field, .. } => field,
            Self::Hidden { field, .. } | Self::Elsewhere { field, .. } => field,
            Self::Root { .. } => "root.tmpfs.size",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Hidden { .. } => {
                "put it elsewhere, such as below `/var/lib`, or let the command of the container make it"
            }
            Self::Elsewhere { hint, .. } => hint,
            Self::TooMany { .. } | Self::Defaults { .. } | Self::Root { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Reads the recipe at `path`. What is wrong with it is shown at its place.
///
/// # Errors
/// If the file cannot be read, or its text is not a recipe that can be followed.
pub(crate) fn read(path: &Path) -> Result<Recipe, Failure> {
    let source = Source::read(path)?;
    parse(&source).map_err(|finding| source.refuse(&[finding]))
}

/// Reads a recipe from its text.
pub(crate) fn parse(source: &Source) -> Result<Recipe, Finding> {
    let recipe: Recipe = source.parse()?;
    let checked =
        check_counts(&recipe).and_then(|()| check_defaults(&recipe.defaults)).and_then(|()| check_hidden(&recipe));
    let checked = checked.and_then(|()| check_named(&recipe));
    let checked = checked.and_then(|()| recipe.root.check().map_err(|problem| Error::Root { problem }));
    checked.map_err(|error| Finding {
        place: source.place_of(&source.places(), error.field()),
        message: error.to_string(),
        hint: error.hint(),
    })?;
    Ok(recipe)
}

fn check_counts(recipe: &Recipe) -> Result<(), Error> {
    let packages = match &recipe.source {
        FileSource::Debian(debian) => debian.packages.len(),
        FileSource::Tar(_) | FileSource::Directory(_) => 0,
    };
    let counts = [
        ("source.debian.packages", packages, PACKAGES_LIMIT),
        ("directories", recipe.directories.len(), ITEMS_LIMIT),
        ("files", recipe.files.len(), ITEMS_LIMIT),
        ("links", recipe.links.len(), ITEMS_LIMIT),
        ("remove", recipe.remove.len(), ITEMS_LIMIT),
        ("keep", recipe.keep.len(), ITEMS_LIMIT),
        ("defaults.command", recipe.defaults.command.len(), WORDS_LIMIT),
        ("defaults.environment", recipe.defaults.environment.len(), WORDS_LIMIT),
    ];
    match counts.into_iter().find(|(_, count, limit)| count > limit) {
        Some((field, count, limit)) => Err(Error::TooMany { field, count, limit }),
        None => Ok(()),
    }
}

fn check_defaults(defaults: &Defaults) -> Result<(), Error> {
    let word = |text: &str| text.len() <= WORD_LIMIT && !text.contains('\0');
    let name = |text: &str| !text.is_empty() && !text.contains('=') && word(text);
    let (field, problem) = if defaults.command.first().is_none_or(|program| program.parse::<GuestPath>().is_err()) {
        ("defaults.command", "the command must begin with the absolute path of a program")
    } else if !defaults.command.iter().all(|text| word(text)) {
        ("defaults.command", "an argument is over 4096 bytes or has a zero byte")
    } else if !defaults.environment.iter().all(|(key, value)| name(key) && word(value)) {
        ("defaults.environment", "a variable has an unusable name, is over 4096 bytes or has a zero byte")
    } else if defaults.working_directory != "/" && defaults.working_directory.parse::<GuestPath>().is_err() {
        ("defaults.workingDirectory", "the directory must be an absolute path without `.` and `..`")
    } else {
        return Ok(());
    };
    Err(Error::Defaults { field, problem })
}

/// What is added must be where the launcher mounts nothing over it; a directory may be what is mounted over.
fn check_hidden(recipe: &Recipe) -> Result<(), Error> {
    let directories = recipe.directories.iter().enumerate().map(|(index, item)| ("directories", index, &item.dest));
    let files = recipe.files.iter().enumerate().map(|(index, item)| ("files", index, &item.dest));
    let links = recipe.links.iter().enumerate().map(|(index, item)| ("links", index, &item.dest));
    for (list, index, dest) in directories.filter(|(.., dest)| dest.parent().is_some()).chain(files).chain(links) {
        if let Some(mounted) = leftovers::mounted_over(dest) {
            return Err(Error::Hidden { field: format!("{list}.{index}.dest"), dest: dest.clone(), mounted });
        }
    }
    Ok(())
}

/// A recipe may come from somebody who has no right to the files of the build host. It takes what lies in its own folder, and
/// single files by a path that begins there, each of which stands where a person can read it.
fn check_named(recipe: &Recipe) -> Result<(), Error> {
    const SOURCE: &str = "put it into the recipe's folder; `--from-tar` and `--from-dir` take it from anywhere";
    const FILE: &str = "put it beside the recipe, or leave `src` out: `--file DEST=SRC` takes it from anywhere";
    let source = match &recipe.source {
        FileSource::Tar(path) => Some(("source.tar", path)),
        FileSource::Directory(path) => Some(("source.directory", path)),
        FileSource::Debian(_) => None,
    };
    let files = recipe.files.iter().enumerate();
    let files = files.filter_map(|(index, file)| Some((format!("files.{index}.src"), file.src.as_ref()?, FILE)));
    let source = source.map(|(field, path)| (field.to_owned(), path, SOURCE));
    for (field, path, hint) in source.into_iter().chain(files) {
        let problem = if path.is_absolute() {
            "is an absolute path, and not one from the recipe"
        } else if path.components().any(|component| component == Component::ParentDir) {
            "has `..`, by which it leaves the recipe's folder"
        } else {
            continue;
        };
        return Err(Error::Elsewhere { field, path: path.display().to_string(), problem, hint });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: catenoid.dev/v1
kind: GuestRecipe
name: tiny
version: 1.0.0
architecture: x86_64
source:
  debian: { suite: bookworm, variant: extract, packages: [busybox-static] }
files:
  - { src: a, dest: /etc/a, mode: \"0600\" }
defaults:
  command: [/bin/busybox, httpd]
root: readOnly
";

    /// The source of [`GOOD`].
    const DEBIAN: &str = "debian: { suite: bookworm, variant: extract, packages: [busybox-static] }";

    fn source(text: &str) -> Source {
        Source::from_text("recipe.yaml", text)
    }

    fn refused(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let source = source(&GOOD.replace(from, to));
        source.render(&parse(&source).unwrap_err())
    }

    #[test]
    fn a_recipe_is_read_with_its_defaults() {
        let recipe = parse(&source(GOOD)).unwrap();
        assert_eq!((recipe.name.as_str(), recipe.version.as_str()), ("tiny", "1.0.0"));
        assert_eq!(recipe.files[0].mode, Mode(0o600));
        assert_eq!((recipe.defaults.working_directory.as_str(), recipe.defaults.user), ("/", 0));
        assert_eq!(recipe.root, Root::ReadOnly);
    }

    #[test]
    fn a_directory_may_set_its_group_and_be_mounted_over() {
        let text = format!("{GOOD}directories: [{{ dest: /srv, mode: \"2775\" }}, {{ dest: /tmp, mode: \"1777\" }}]\n");
        let recipe = parse(&source(&text)).unwrap();
        let modes: Vec<u32> = recipe.directories.iter().map(|directory| directory.mode.0).collect();
        assert_eq!(modes, [0o2775, 0o1777]);
    }

    #[test]
    fn every_refusal_shows_its_place() {
        let table = [
            ("architecture: x86_64", "architecture: x86_64\nnames: x"),
            ("version: 1.0.0", "version: 1.0.0\nname: other"),
            ("[busybox-static]", "[busybox-static, --option]"),
            ("\"0600\"", "\"4755\""),
            ("\"0600\"", "\"2755\""),
            ("/etc/a", "/etc/../a"),
            ("/etc/a", "/run/app/a"),
            ("/etc/a", "/tmp"),
            ("files:\n  - { src: a, dest: /etc/a", "directories:\n  - { dest: /dev/app"),
            ("files:\n  - { src: a, dest: /etc/a, mode: \"0600\" }", "links:\n  - { dest: /proc/a, target: b }"),
            ("files:\n  - { src: a, dest: /etc/a, mode: \"0600\"", "directories:\n  - { dest: /srv, mode: \"6755\""),
            ("[/bin/busybox, httpd]", "[]"),
            ("[/bin/busybox, httpd]", "[busybox]"),
            ("variant: extract", "variant: all"),
            ("root: readOnly", "root: { tmpfs: { size: 16 } }"),
            ("kind: GuestRecipe", "kind: Manifest"),
            ("name: tiny", "name: !!binary dGlueQ=="),
            ("name: tiny", "!!binary bmFtZQ==: tiny"),
            ("name: tiny", "name: tiny\n!!binary bmFtZQ==: other"),
            ("name: tiny", "name: !!str tiny"),
            ("name: tiny", "name: ! tiny"),
            ("root: readOnly", "root: !tmpfs { size: 16MiB }"),
            ("[busybox-static]", "!!seq [busybox-static]"),
            ("root: readOnly", "root: { tmpfs: { size: 18446744073709551615B } }"),
            ("\"0600\"", "0600"),
            ("version: 1.0.0", "version: 1.0"),
            ("version: 1.0.0", "version: 12e3"),
            ("src: a", "src: /etc/shadow"),
            (DEBIAN, "tar: /srv/tiny.tar"),
            (DEBIAN, "tar: a/../../tiny.tar"),
            (DEBIAN, "directory: /etc"),
            (DEBIAN, "directory: ../root"),
        ];
        let messages: Vec<String> = table.iter().map(|(from, to)| refused(from, to)).collect();
        insta::assert_snapshot!(messages.join("\n---\n"));
    }

    #[test]
    fn an_expanding_recipe_is_refused() {
        let bomb =
            "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n";
        assert!(parse(&source(bomb)).is_err());
        assert!(parse(&source(&"[".repeat(10_000))).is_err());
    }
}
