//! `catenoid-sign guest build`: the steps in order, and what is reported about them.

use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use catenoid_schema::{
    cbor,
    digest::Digest,
    document::ApiVersion,
    feature,
    guest::{BLOCK_SIZE, Guest, GuestKind, GuestMetadata, Image, Verity, Version},
    units::ByteSize,
};
use clap::Args;
use rustix::{fs::OFlags, io::Errno};
use sha2::{Digest as _, Sha256};

use super::{
    archive, debian, erofs,
    fixed::uuid,
    folder::{self, Folder},
    identity::Identity,
    leftovers,
    path::{GuestPath, PathError},
    progress::Progress,
    recipe::{self, FileMode, FileSource, Recipe, Word},
    stage::{self, Opened},
    tool,
    tree::{self, Content, Entry, Node, Tree},
    verity,
};
use crate::{
    failure::Failure,
    files::{self, replace},
    terminal::print,
};

/// Bytes read at once while an image is hashed.
const CHUNK: usize = 1 << 20;

/// Build a guest image and its unsigned descriptor from a recipe
#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    /// The recipe (YAML)
    recipe: PathBuf,
    /// Folder for NAME-VERSION.image and NAME-VERSION.guest.cbor
    #[arg(long, value_name = "DIR", default_value = "target/catenoid/guests")]
    out: PathBuf,
    /// Take the files from this tar archive instead of the recipe's source
    #[arg(long, value_name = "FILE", conflicts_with = "from_dir")]
    from_tar: Option<PathBuf>,
    /// Take the files from this folder instead of the recipe's source
    #[arg(long, value_name = "DIR")]
    from_dir: Option<PathBuf>,
    /// Put the host's file SRC at DEST, for which the recipe has an entry in `files`; can be repeated
    #[arg(long, value_name = "DEST=SRC", value_parser = replacement)]
    file: Vec<(GuestPath, PathBuf)>,
    /// Build as this version instead of the recipe's
    #[arg(long, value_name = "VERSION")]
    set_version: Option<Version>,
    /// Debian archive to take packages from [default: the recipe's, or where this host's apt has the suite from]
    #[arg(long, value_name = "URL")]
    mirror: Option<Word>,
    /// Folder that keeps downloaded packages and unpacked selections of them
    #[arg(long, value_name = "DIR", default_value = "target/catenoid/cache")]
    cache: PathBuf,
    /// Ask the Debian archive again, although the cache has this selection of packages
    #[arg(long)]
    refresh: bool,
}

fn replacement(text: &str) -> Result<(GuestPath, PathBuf), String> {
    let (dest, src) = text.split_once('=').ok_or("write `DEST=SRC`")?;
    Ok((dest.parse().map_err(|e: PathError| e.to_string())?, src.into()))
}

/// Why no guest was built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A `--file` for which the recipe has no place.
    #[error("the recipe `{recipe}` has no entry `{dest}` in `files`")]
    NoPlace {
        /// The recipe.
        recipe: String,
        /// What was asked for.
        dest: GuestPath,
    },
    /// A file of the recipe that must be given on the command line was not.
    #[error("the recipe `{recipe}` leaves the file `{dest}` to whoever builds it")]
    NotGiven {
        /// The recipe.
        recipe: String,
        /// Its place in the image.
        dest: GuestPath,
    },
    /// A file of the build host is missing or none.
    #[error("failed to read `{path}`, which goes to `{dest}`")]
    File {
        /// The file.
        path: String,
        /// Its place in the image.
        dest: GuestPath,
        /// What the system says.
        source: io::Error,
    },
    /// The recipe names a link, or leads through one.
    #[error("`{path}` is a symbolic link, or is behind one")]
    Linked {
        /// What it names.
        path: String,
    },
    /// The source archive is unfit.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The source archive cannot be opened.
    #[error("failed to open the archive `{path}`")]
    OpenArchive {
        /// The archive.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The source folder is unfit.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// There is no tree of packages.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// The tree is unfit for an image.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The tree could not be written to a folder.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// The image could not be made.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// The hash tree could not be made.
    #[error(transparent)]
    Verity(#[from] verity::Error),
    /// The image could not be handled.
    #[error("failed to {doing} the image `{path}`")]
    Image {
        /// What was tried.
        doing: &'static str,
        /// The image.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The image does not end with a whole block.
    #[error("`mkfs.erofs` made an image of {bytes} bytes, which are no whole blocks")]
    Unaligned {
        /// Its size.
        bytes: u64,
    },
    /// The descriptor could not be said.
    #[error("failed to encode the descriptor")]
    Descriptor(#[from] cbor::Error),
    /// A file could not be written.
    #[error(transparent)]
    Files(#[from] files::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::NotGiven { dest, .. } => Some(format!("give it with `--file {dest}=PATH`")),
            Error::NoPlace { dest, .. } => Some(format!("add `- {{ dest: {dest} }}` to `files`")),
            Error::Linked { .. } => {
                Some("name what the link leads to, or give it with `--file`, `--from-tar` or `--from-dir`".to_owned())
            }
            Error::Archive(error) => error.hint(),
            Error::Folder(error) => error.hint(),
            Error::Debian(error) => error.hint(),
            Error::Tree(error) => error.hint(),
            Error::Stage(error) => error.hint(),
            Error::Tool(error) => error.hint(),
            _ => None,
        };
        let failure = match error {
            Error::NoPlace { .. } | Error::NotGiven { .. } => Self::usage(error),
            Error::Archive(archive::Error::Read { .. }) | Error::Folder(folder::Error::Read { .. }) => {
                Self::system(error)
            }
            Error::Linked { .. } | Error::Archive(_) | Error::Folder(_) | Error::Tree(_) => Self::refused(error),
            _ => Self::system(error),
        };
        failure.hint(hint)
    }
}

/// Builds the guest of a recipe and prints what was made.
///
/// # Errors
/// [`Error`]; the folder for the results then has what it had before.
pub(crate) fn run(arguments: &BuildArguments) -> Result<(), Failure> {
    let built = build(arguments, recipe::read(&arguments.recipe)?)?;
    print(&built.to_string())
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Built {
    guest: Guest,
    image: PathBuf,
    descriptor: PathBuf,
    files: (usize, u64),
}

impl std::fmt::Display for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Guest { metadata, image, .. } = &self.guest;
        let (count, bytes) = self.files;
        let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024);
        writeln!(f, "{}@{}", metadata.name, metadata.version)?;
        writeln!(
            f,
            "  image       {} ({}, from {count} files of {})",
            self.image.display(),
            mib(image.size.bytes()),
            mib(bytes)
        )?;
        writeln!(f, "  digest      {}", image.digest)?;
        writeln!(f, "  root hash   {}", image.verity.root_hash)?;
        writeln!(f, "  descriptor  {} (unsigned)", self.descriptor.display())
    }
}

pub(crate) fn build(arguments: &BuildArguments, recipe: Recipe) -> Result<Built, Error> {
    let version = arguments.set_version.clone().unwrap_or_else(|| recipe.version.clone());
    let added = added_files(arguments, &recipe)?;
    let beside = Folder::around(&arguments.recipe)?;
    let (mut tree, opened) = source(arguments, &recipe, &beside)?;
    furnish(&mut tree, &recipe, added, &beside)?;

    files::make_folder(&arguments.out)?;
    let stem = format!("{}-{version}", recipe.name);
    let image_path = arguments.out.join(format!("{stem}.image"));
    let descriptor_path = arguments.out.join(format!("{stem}.guest.cbor"));
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(&arguments.out).map_err(|source| {
        Error::Image { doing: "make a folder for", path: image_path.display().to_string(), source }
    })?;
    let staged = work.path().join("root");
    let part = work.path().join("image");
    fs::create_dir(&staged).map_err(|source| Error::Image {
        doing: "make a folder for",
        path: image_path.display().to_string(),
        source,
    })?;
    stage::write(&tree, &opened, &staged)?;
    erofs::make(&staged, &part, uuid(b"erofs", stem.as_bytes()))?;
    let image = protect(&part)?;

    let mut guest = Guest {
        api_version: ApiVersion::V1,
        kind: GuestKind::Guest,
        requires: BTreeSet::new(),
        metadata: GuestMetadata { name: recipe.name, version, description: recipe.description },
        architecture: recipe.architecture,
        image,
        defaults: recipe.defaults,
        root: recipe.root,
        needs: recipe.needs,
    };
    feature::complete_guest(&mut guest);
    let descriptor = cbor::encode(&guest)?;
    fs::rename(&part, &image_path).map_err(|source| Error::Image {
        doing: "move",
        path: image_path.display().to_string(),
        source,
    })?;
    replace(&descriptor_path, &descriptor)?;
    Ok(Built { guest, image: image_path, descriptor: descriptor_path, files: tree.files() })
}

/// Where a file that is added lies on the build host.
enum Src {
    /// Where the command line says: anywhere.
    Given(PathBuf),
    /// Where the recipe says, seen from it.
    Named(PathBuf),
}

/// The files that are added, each with its place on the build host.
fn added_files(arguments: &BuildArguments, recipe: &Recipe) -> Result<Vec<(GuestPath, FileMode, Src)>, Error> {
    let shown = || arguments.recipe.display().to_string();
    if let Some((dest, _)) = arguments.file.iter().find(|(dest, _)| recipe.files.iter().all(|file| file.dest != *dest))
    {
        return Err(Error::NoPlace { recipe: shown(), dest: dest.clone() });
    }
    let place = |file: &recipe::AddedFile| {
        let given = arguments.file.iter().rev().find(|(dest, _)| *dest == file.dest);
        let given = given.map(|(_, src)| Src::Given(src.clone()));
        match given.or_else(|| file.src.clone().map(Src::Named)) {
            Some(src) => Ok((file.dest.clone(), file.mode, src)),
            None => Err(Error::NotGiven { recipe: shown(), dest: file.dest.clone() }),
        }
    };
    recipe.files.iter().map(place).collect()
}

/// Reads the source of a recipe, or what was given in its place. Its contents are read later, from what was opened here.
fn source(arguments: &BuildArguments, recipe: &Recipe, beside: &Folder) -> Result<(Tree, Opened), Error> {
    match (&arguments.from_tar, &arguments.from_dir, &recipe.source) {
        (Some(path), _, _) => read_archive(path, files::open_at_once(path)),
        (_, Some(path), _) => read_folder(Folder::open(path)?),
        (_, _, FileSource::Tar(name)) => {
            let path = beside.place_of(name);
            let archive = open_named(beside, name, folder::READ, unopened(&path))?;
            read_archive(&path, Ok(archive))
        }
        (_, _, FileSource::Directory(name)) => {
            let path = beside.place_of(name);
            let shown = path.display().to_string();
            let unread = |source| Error::Folder(folder::Error::Read { path: shown, source });
            let directory = open_named(beside, name, folder::LIST, unread)?;
            read_folder(Folder::of(path, directory))
        }
        (_, _, FileSource::Debian(debian)) => {
            let mut debian = debian.clone();
            debian.mirror = arguments.mirror.clone().or(debian.mirror);
            let path = debian::archive(&debian, recipe.architecture, &arguments.cache, arguments.refresh)?;
            read_archive(&path, files::open_at_once(&path))
        }
    }
}

fn read_folder(folder: Folder) -> Result<(Tree, Opened), Error> {
    Ok((folder::read(&folder)?, Opened::Folder(folder)))
}

fn read_archive(path: &Path, opened: io::Result<File>) -> Result<(Tree, Opened), Error> {
    let archive = opened.and_then(|archive| only_file(archive.metadata()?).map(|_| archive)).map_err(unopened(path))?;
    Ok((archive::read(path, &archive)?, Opened::Archive(archive)))
}

fn unopened(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::OpenArchive { path, source }
}

/// What was looked at, if it is a file.
fn only_file(metadata: Metadata) -> io::Result<Metadata> {
    if metadata.is_file() { Ok(metadata) } else { Err(io::Error::other("it is not a file")) }
}

/// Opens what the recipe in `beside` names. A link may lead to any file of the build host, which whoever wrote the recipe
/// need not have a right to.
fn open_named(
    beside: &Folder,
    name: &Path,
    flags: OFlags,
    failed: impl FnOnce(io::Error) -> Error,
) -> Result<File, Error> {
    beside.named(name, flags).map_err(|source| match source {
        Errno::LOOP => Error::Linked { path: beside.place_of(name).display().to_string() },
        source => failed(source.into()),
    })
}

/// Turns what the source has into what the image has. The result is complete.
fn furnish(
    tree: &mut Tree,
    recipe: &Recipe,
    added: Vec<(GuestPath, FileMode, Src)>,
    beside: &Folder,
) -> Result<(), Error> {
    leftovers::remove(tree);
    tree.remove(&recipe.remove, &recipe.keep);
    for directory in &recipe.directories {
        let entry = Entry {
            mode: directory.mode.0,
            user: directory.user.into(),
            group: directory.group.into(),
            node: Node::Directory,
        };
        tree.add(directory.dest.clone(), entry)?;
    }
    for (dest, mode, src) in added {
        let path = match &src {
            Src::Given(path) => path.clone(),
            Src::Named(name) => beside.place_of(name),
        };
        let unread = |source| Error::File { path: path.display().to_string(), dest: dest.clone(), source };
        let metadata = match &src {
            Src::Given(path) => fs::metadata(path),
            Src::Named(name) => open_named(beside, name, folder::LOOK, unread)?.metadata(),
        };
        let metadata = metadata.and_then(only_file).map_err(unread)?;
        let content = Content::Host { path, identity: Identity::of(&metadata) };
        tree.add(dest, Entry::of_root(mode.0, Node::File { content, size: metadata.len() }))?;
    }
    for link in &recipe.links {
        tree.add(link.dest.clone(), Entry::of_root(0o777, Node::Link { target: link.target.clone() }))?;
    }
    leftovers::add_standard(tree)?;
    leftovers::check_mounted(tree)?;
    tree.complete()?;
    let program = recipe.defaults.command.first().expect("the recipe was checked to have a command");
    tree.check_command(&program.parse().expect("the recipe was checked to name its program by a path"))?;
    Ok(())
}

/// Appends superblock and hash tree to an erofs image, and describes the whole.
fn protect(path: &Path) -> Result<Image, Error> {
    let failed = |doing| move |source| Error::Image { doing, path: path.display().to_string(), source };
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
    let bytes = file.metadata().map_err(failed("measure"))?.len();
    let blocks = bytes / u64::from(BLOCK_SIZE);
    if !bytes.is_multiple_of(u64::from(BLOCK_SIZE)) {
        return Err(Error::Unaligned { bytes });
    }
    // Derived, so that the same data has the same tree; different for each image, so that no work on one serves another.
    let salt = digest_of(path).map_err(failed("read"))?;
    let progress = Progress::bytes("hash tree", bytes);
    let verity: Verity = verity::append(&mut file, blocks, salt, |bytes| progress.advance(bytes))?;
    drop(progress);
    file.sync_all().map_err(failed("write"))?;
    let digest = digest_of(path).map_err(failed("read"))?;
    Ok(Image { digest, size: ByteSize::from_bytes(verity::total_size(blocks)), verity })
}

/// The digest of a file, read in pieces.
fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            read => hash.update(&chunk[..read]),
        }
    }
}
