//! Makes a tree of Debian packages with mmdebstrap, and keeps it: the archive of each distinct request in the cache.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use catenoid_schema::{digest::Digest, guest::Architecture};

use super::{
    progress::Progress,
    recipe::{Debian, Variant},
    tool::{self, Tool},
};

const MMDEBSTRAP: Tool = Tool { name: "mmdebstrap", package: "mmdebstrap" };
const APT: Tool = Tool { name: "apt-get", package: "apt" };

/// Makes the `/bin` -> `/usr/bin` links where no package does.
const MERGED_USR: &str = "/usr/share/mmdebstrap/hooks/merged-usr";
/// The variable by which the hooks know the folder with the downloaded packages.
const PACKAGES_VARIABLE: &str = "CATENOID_PACKAGES";
/// Puts packages of earlier builds where apt looks before it downloads. apt compares their sizes with the signed
/// index; who can write to the cache of a build can change the build, as with apt's own cache.
const BRING_PACKAGES: &str = "mkdir -p \"$1/var/cache/apt/archives\" && \
     find \"$CATENOID_PACKAGES\" -name '*.deb' -exec cp -t \"$1/var/cache/apt/archives\" {} +";
/// Keeps what was downloaded for later builds.
const KEEP_PACKAGES: &str =
    "find \"$1/var/cache/apt/archives\" -name '*.deb' -exec cp -n -t \"$CATENOID_PACKAGES\" {} +";

/// Why there is no tree of packages.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody says where the suite comes from.
    #[error("the apt sources of this host do not have the Debian release `{suite}`")]
    NoSources {
        /// The release.
        suite: String,
    },
    /// The cache cannot be used.
    #[error("failed to use the cache `{path}`")]
    Cache {
        /// The file or folder in it.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] tool::Error),
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoSources { .. } => {
                Some("give the archive with `--mirror URL`, or `mirror` in the recipe".to_owned())
            }
            Self::Tool(tool::Error::Failed { .. }) => {
                Some("packages are installed as the superuser (run as root) and need the Debian archive".to_owned())
            }
            Self::Tool(error) => error.hint(),
            Self::Cache { .. } => None,
        }
    }
}

/// The archive of a tree with the packages of `debian`, from the cache unless there is none or `refresh` is asked for.
///
/// # Errors
/// [`Error`]; an archive that is in the cache is whole.
pub(crate) fn archive(
    debian: &Debian,
    architecture: Architecture,
    cache: &Path,
    refresh: bool,
) -> Result<PathBuf, Error> {
    let sources = match &debian.mirror {
        Some(mirror) => vec![format!("deb {} {} main", mirror.as_str(), debian.suite.as_str())],
        None => sources_of_host(debian)?,
    };
    let request = arguments(debian, architecture, &sources);
    let path = cache.join("debian").join(format!("{}.tar", Digest::of(request.join("\0").as_bytes()).short()));
    let packages = cache.join("apt");
    for folder in [&packages, &cache.join("debian")] {
        fs::create_dir_all(folder).map_err(|source| cache_error(folder, source))?;
    }
    // Two builds at once would take each other's half-copied packages.
    let lock_path = cache.join("lock");
    let lock = File::create(&lock_path).map_err(|source| cache_error(&lock_path, source))?;
    lock.lock().map_err(|source| cache_error(&lock_path, source))?;
    if path.exists() && !refresh {
        return Ok(path);
    }

    let part = path.with_extension("part");
    let progress = Progress::spinner("Debian packages");
    let mut command = MMDEBSTRAP.command();
    let packages = fs::canonicalize(&packages).map_err(|source| cache_error(&packages, source))?;
    command
        .env(PACKAGES_VARIABLE, packages)
        .args(options(&request))
        .arg(debian.suite.as_str())
        .arg(&part)
        .args(&sources);
    MMDEBSTRAP.run(&mut command, &progress)?;
    fs::rename(&part, &path).map_err(|source| cache_error(&path, source))?;
    Ok(path)
}

fn cache_error(path: &Path, source: io::Error) -> Error {
    Error::Cache { path: path.display().to_string(), source }
}

/// What a tree of packages depends on, and so what names it in the cache: first the options, then the sources.
fn arguments(debian: &Debian, architecture: Architecture, sources: &[String]) -> Vec<String> {
    let mut packages: Vec<&str> = debian.packages.iter().map(super::recipe::Word::as_str).collect();
    packages.sort_unstable();
    packages.dedup();
    let architecture = match architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
    };
    let variant = match debian.variant {
        Variant::Essential => "essential",
        Variant::Extract => "extract",
    };
    let mut arguments = vec![
        "--mode=root".to_owned(),
        "--format=tar".to_owned(),
        format!("--variant={variant}"),
        format!("--architectures={architecture}"),
        // The packages that are brought, and those to be kept, lie where these steps look for strangers and clean up.
        "--skip=download/empty".to_owned(),
        "--skip=essential/unlink".to_owned(),
        format!("--setup-hook={BRING_PACKAGES}"),
        // After unpacking, which is all that `extract` does, and again after installing.
        format!("--extract-hook={KEEP_PACKAGES}"),
        format!("--customize-hook={KEEP_PACKAGES}"),
    ];
    if !packages.is_empty() {
        arguments.push(format!("--include={}", packages.join(",")));
    }
    if debian.variant == Variant::Extract {
        arguments.push(format!("--hook-dir={MERGED_USR}"));
    }
    arguments.push(debian.suite.as_str().to_owned());
    arguments.extend(sources.iter().cloned());
    arguments
}

fn options(arguments: &[String]) -> impl Iterator<Item = &String> {
    arguments.iter().take_while(|argument| argument.starts_with("--"))
}

/// The lines of apt sources from which this host gets a suite.
fn sources_of_host(debian: &Debian) -> Result<Vec<String>, Error> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets = APT.ask(APT.command().args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let sources = sources(debian.suite.as_str(), &targets);
    if sources.is_empty() { Err(Error::NoSources { suite: debian.suite.as_str().to_owned() }) } else { Ok(sources) }
}

/// Picks from apt's targets (`URI RELEASE COMPONENT` a line) the main component of a suite and of its updates.
fn sources(suite: &str, targets: &str) -> Vec<String> {
    let releases = ["", "-updates", "-security"].map(|suffix| format!("{suite}{suffix}"));
    let mut sources: Vec<String> = targets
        .lines()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [uri, release, "main"] if releases.iter().any(|r| r == release) => {
                Some(format!("deb {uri} {release} main"))
            }
            _ => None,
        })
        .collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
http://mirror.example/debian/ bookworm main
http://mirror.example/debian/ bookworm contrib
http://mirror.example/debian/ bookworm-updates main
http://mirror.example/debian-security/ bookworm-security main
http://mirror.example/debian/ bookworm main
http://other.example/ cloud-sdk-bookworm main
http://other.example/ trixie main
";

    #[test]
    fn sources_are_the_main_component_of_the_suite_and_its_updates() {
        let expected = [
            "deb http://mirror.example/debian-security/ bookworm-security main",
            "deb http://mirror.example/debian/ bookworm main",
            "deb http://mirror.example/debian/ bookworm-updates main",
        ];
        assert_eq!(sources("bookworm", TARGETS), expected);
        assert_eq!(sources("sid", TARGETS), Vec::<String>::new());
    }

    fn debian(packages: &[&str], variant: Variant) -> Debian {
        let packages = packages.iter().map(|package| package.parse().unwrap()).collect();
        Debian { suite: "bookworm".parse().unwrap(), variant, packages, mirror: None }
    }

    #[test]
    fn the_request_is_the_same_in_any_order_and_differs_by_all_that_matters() {
        let request = |packages: &[&str], variant, architecture, source: &str| {
            arguments(&debian(packages, variant), architecture, &[source.to_owned()])
        };
        let base = request(&["a", "b"], Variant::Extract, Architecture::X86_64, "deb x");
        assert_eq!(base, request(&["b", "a", "b"], Variant::Extract, Architecture::X86_64, "deb x"));
        for other in [
            request(&["a"], Variant::Extract, Architecture::X86_64, "deb x"),
            request(&["a", "b"], Variant::Essential, Architecture::X86_64, "deb x"),
            request(&["a", "b"], Variant::Extract, Architecture::Aarch64, "deb x"),
            request(&["a", "b"], Variant::Extract, Architecture::X86_64, "deb y"),
        ] {
            assert_ne!(base, other);
        }
        insta::assert_snapshot!(base.join("\n"));
    }
}
