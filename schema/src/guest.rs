//! The descriptor of a guest: a signed, versioned, read-only image from which containers are run.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer},
};

use crate::{
    cbor::InputLimits,
    digest::Digest,
    document::{ApiVersion, Document, Role},
    limits::{ENTRIES_LIMIT, PROCESS_LIMIT, REQUIRES_LIMIT, SIZE_MOST},
    name::Name,
    units::{self, ByteSize},
    violation::Violation,
};

/// The block size of image data and hash tree, in bytes. The one that every page size we run on can read.
pub const BLOCK_SIZE: u32 = 4096;

/// What a software signer vouches for: one image, how to verify it, and how it likes to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Catenoid guest descriptor")]
pub struct Guest {
    /// The version of this format.
    #[serde(deserialize_with = "units::word")]
    pub api_version: ApiVersion,
    /// Always `Guest`.
    #[serde(deserialize_with = "units::word")]
    pub kind: GuestKind,
    /// What an agent must be able to do to run it, by the names that `catenoid version` lists. `catenoid-sign` adds what the
    /// descriptor makes use of.
    #[serde(default, deserialize_with = "units::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub requires: BTreeSet<Name>,
    /// What it is called.
    pub metadata: GuestMetadata,
    /// The processor it was built for.
    #[serde(deserialize_with = "units::word")]
    pub architecture: Architecture,
    /// The image.
    pub image: Image,
    /// How its container is run where the manifest does not say otherwise.
    pub defaults: Defaults,
    /// How the root file system can be written to.
    #[serde(deserialize_with = "root")]
    pub root: Root,
    /// System calls that its software makes beyond those of every container; each container of it must permit them.
    #[serde(default, deserialize_with = "units::words", skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<Need>,
}

impl Document for Guest {
    const ROLE: Role = Role::Software;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.guest.v1+cbor";
    /// A descriptor is about 1 KiB; most of the room is for environment and command.
    const LIMITS: InputLimits = InputLimits { bytes: 64 * 1024, depth: 8, items: 4_000 };
}

/// A set of system calls that a container gets only if its guest needs them and its manifest permits them: each is one more
/// part of the kernel that it can attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// `io_setup` and its companions: input and output that goes on beside the program. The device has 65536 events of it.
    Aio,
    /// `io_uring_setup` and its companions: calls by a queue, which the filter does not see.
    IoUring,
    /// Keyrings, which are not divided by namespaces.
    Keyrings,
    /// Which memory of several is used, on machines that have several.
    MemoryPolicy,
    /// Mounts and namespaces of its own: containers in a container, the sandboxes of browsers and of systemd's units.
    Namespaces,
    /// Other processes' memory and descriptors: debuggers.
    Ptrace,
}

impl Need {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Aio, Self::IoUring, Self::Keyrings, Self::MemoryPolicy, Self::Namespaces, Self::Ptrace];

    /// As documents write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aio => "aio",
            Self::IoUring => "io-uring",
            Self::Keyrings => "keyrings",
            Self::MemoryPolicy => "memory-policy",
            Self::Namespaces => "namespaces",
            Self::Ptrace => "ptrace",
        }
    }
}

/// The kind of this document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GuestKind {
    /// A guest descriptor.
    Guest,
}

/// What a guest is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestMetadata {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// One line for people.
    #[serde(default)]
    pub description: String,
}

/// A version such as `12.11.3`: 1 to 32 of `A-Z a-z 0-9 . _ + ~ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// Why a text is not a [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of 1 to 32 letters, digits, `.`, `_`, `+`, `~`, `-`")]
pub struct VersionError(String);

impl Version {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b));
        if fits && (1..=32).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(VersionError(text.chars().take(40).collect()))
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(value: Version) -> String {
        value.0
    }
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Za-z0-9._+~-]{1,32}$", "description": "A version."})
    }
}

/// A processor architecture, by the kernel's word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64 bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64 bit ARM.
    Aarch64,
}

/// An erofs image with its dm-verity superblock and hash tree behind it, in one blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// The size of the whole blob.
    pub size: ByteSize,
    /// How each block of it is verified when it is read.
    pub verity: Verity,
}

/// The dm-verity parameters (format 1, SHA-256, blocks of [`BLOCK_SIZE`]). The device takes them from here, never from
/// the superblock in the image, which is there for `veritysetup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verity {
    /// The root of the hash tree.
    pub root_hash: Digest,
    /// 32 bytes in front of every block that is hashed.
    pub salt: Digest,
    /// Blocks of data; the superblock stands right behind them, the tree one block further.
    #[serde(deserialize_with = "units::number")]
    #[schemars(range(min = 1, max = SIZE_MOST / u64::from(BLOCK_SIZE)))]
    pub data_blocks: u64,
}

/// All rules that `guest` breaks, in the order of the document. Empty means that a container can be run from it, as far
/// as a descriptor can show.
#[must_use]
pub fn check(guest: &Guest) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |path: &str, message: String| found.push(Violation { path: path.to_owned(), message, hint: None });
    if guest.requires.len() > REQUIRES_LIMIT {
        add("requires", format!("more than {REQUIRES_LIMIT} features"));
    }
    let (block, size, data) = (u64::from(BLOCK_SIZE), guest.image.size, guest.image.verity.data_blocks);
    // Behind the data stand a superblock and at least one block of the tree.
    let least = data.checked_add(2).and_then(|blocks| blocks.checked_mul(block));
    if data == 0 || !size.bytes().is_multiple_of(block) || least.is_none_or(|least| size.bytes() < least) {
        add("image.size", format!("`{size}` does not hold {data} blocks of data and their hash tree"));
    }
    if size.bytes() > SIZE_MOST {
        add("image.size", format!("`{size}` is more than 16TiB"));
    }
    let Defaults { command, environment, working_directory, .. } = &guest.defaults;
    if !command.first().is_some_and(|program| program.starts_with('/')) {
        add("defaults.command", "does not begin with an absolute path".to_owned());
    }
    if !working_directory.starts_with('/') {
        add("defaults.workingDirectory", format!("`{}` is not an absolute path", working_directory.escape_debug()));
    }
    let texts = command.iter().chain(environment.values()).chain([working_directory]);
    if texts.clone().any(|text| text.contains('\0')) {
        add("defaults", "command, environment or directory has a NUL".to_owned());
    }
    for key in environment.keys().filter(|key| key.is_empty() || key.contains(['=', '\0'])) {
        add("defaults.environment", format!("`{}` cannot name a variable", key.escape_debug()));
    }
    let bytes = texts.chain(environment.keys()).map(String::len).sum::<usize>();
    if bytes > PROCESS_LIMIT || command.len() > ENTRIES_LIMIT || environment.len() > ENTRIES_LIMIT {
        add("defaults", format!("command and environment are over {PROCESS_LIMIT} bytes or {ENTRIES_LIMIT} entries"));
    }
    if let Err(error) = guest.root.check() {
        add("root.tmpfs.size", error.to_string());
    }
    found
}

/// How a guest likes to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// Program and arguments; the program is an absolute path.
    pub command: Vec<String>,
    /// Environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where it starts.
    #[serde(default = "root_directory")]
    pub working_directory: String,
    /// User id inside of the container.
    #[serde(default, deserialize_with = "units::number")]
    pub user: u16,
    /// Group id inside of the container.
    #[serde(default, deserialize_with = "units::number")]
    pub group: u16,
}

fn root_directory() -> String {
    "/".to_owned()
}

/// How the root file system can be written to. What is written is gone when the container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Root {
    /// Not at all.
    ReadOnly,
    /// Into memory, up to this size, charged to the container.
    Tmpfs {
        /// The most it can hold.
        size: ByteSize,
    },
}

/// Reads a [`Root`]. Where a person wrote it, `readOnly` is a word and `tmpfs` a map, and nothing else is one.
///
/// # Errors
/// If it is something else.
pub fn root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Root, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Root;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("`readOnly` or a map such as `tmpfs: { size: 16MiB }`")
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<Root, E> {
            Root::deserialize(word.into_deserializer())
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Root, A::Error> {
            match Root::deserialize(de::value::MapAccessDeserializer::new(map))? {
                Root::ReadOnly => Err(de::Error::custom("`readOnly` is a word and not the key of a map")),
                root @ Root::Tmpfs { .. } => Ok(root),
            }
        }
    }
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(Visitor)
    } else {
        Root::deserialize(deserializer)
    }
}

/// What is wrong with `tmpfs.size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The kernel rounds it up.
    #[error("`{size}` is less than a page")]
    LessThanPage {
        /// The size.
        size: ByteSize,
    },
    /// The kernel may take it for less than it says.
    #[error("`{size}` is more than 16TiB")]
    TooLarge {
        /// The size.
        size: ByteSize,
    },
}

impl Root {
    /// Whether the kernel takes the size for what it says: it rounds up to pages, and a number that wraps is no limit at all.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn check(self) -> Result<(), RootError> {
        match self {
            Self::Tmpfs { size } if size.bytes() < u64::from(BLOCK_SIZE) => Err(RootError::LessThanPage { size }),
            Self::Tmpfs { size } if size.bytes() > SIZE_MOST => Err(RootError::TooLarge { size }),
            Self::Tmpfs { .. } | Self::ReadOnly => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> Guest {
        let digest = Digest::of(b"");
        Guest {
            api_version: ApiVersion::V1,
            kind: GuestKind::Guest,
            requires: BTreeSet::new(),
            metadata: GuestMetadata {
                name: "web".parse().unwrap(),
                version: "1".parse().unwrap(),
                description: String::new(),
            },
            architecture: Architecture::X86_64,
            image: Image {
                digest,
                size: ByteSize::from_bytes(3 * 4096),
                verity: Verity { root_hash: digest, salt: digest, data_blocks: 1 },
            },
            defaults: Defaults {
                command: vec!["/bin/true".to_owned()],
                environment: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
                working_directory: root_directory(),
                user: 0,
                group: 0,
            },
            root: Root::ReadOnly,
            needs: BTreeSet::new(),
        }
    }

    #[test]
    fn each_need_is_called_as_documents_write_it() {
        for need in Need::ALL {
            assert_eq!(serde_json::to_value(need).unwrap(), need.name());
        }
    }

    /// Each row breaks one rule of a good descriptor.
    #[test]
    fn each_rule_is_found_at_its_place() {
        assert_eq!(check(&guest()), []);
        type Change = fn(&mut Guest);
        let rows: [(&str, Change); 14] = [
            ("image.size", |g| g.image.verity.data_blocks = 0),
            ("image.size", |g| g.image.verity.data_blocks = 2),
            ("image.size", |g| g.image.verity.data_blocks = u64::MAX),
            ("image.size", |g| g.image.size = ByteSize::from_bytes(3 * 4096 + 1)),
            ("defaults.command", |g| g.defaults.command.clear()),
            ("defaults.command", |g| g.defaults.command = vec!["true".to_owned()]),
            ("defaults.workingDirectory", |g| g.defaults.working_directory = "srv".to_owned()),
            ("defaults", |g| g.defaults.command.push("a\0b".to_owned())),
            ("defaults.environment", |g| drop(g.defaults.environment.insert("A=B".to_owned(), String::new()))),
            ("defaults", |g| g.defaults.command.push("a".repeat(PROCESS_LIMIT))),
            ("root.tmpfs.size", |g| g.root = Root::Tmpfs { size: ByteSize::from_bytes(1) }),
            ("root.tmpfs.size", |g| g.root = Root::Tmpfs { size: ByteSize::from_bytes(u64::MAX) }),
            ("root.tmpfs.size", |g| g.root = Root::Tmpfs { size: ByteSize::from_bytes(SIZE_MOST + 1) }),
            ("image.size", |g| g.image.size = ByteSize::from_bytes(SIZE_MOST + 4096)),
        ];
        for (index, (path, change)) in rows.into_iter().enumerate() {
            let mut guest = guest();
            change(&mut guest);
            let paths: Vec<_> = check(&guest).into_iter().map(|violation| violation.path).collect();
            assert_eq!(paths, [path], "row {index}");
        }
    }
}
