//! Reading a recipe, and its rules.

use std::path::{Component, Path};

use catenoid_schema::guest::Defaults;

use super::{
    super::{leftovers, path::GuestPath},
    FileSource, Recipe,
    error::Error,
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
    let checked = checked.and_then(|()| recipe.root.check().map_err(Error::Root));
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
