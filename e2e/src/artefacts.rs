//! Where development artefacts lie: `target/catenoid/`, and nothing of them in the source tree.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// What the device's programs and the attacker of the scenario tests are built for. Named to cargo, it has a directory of its own: its static libraries
/// do not mix with what everything else links.
pub const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Why there are no artefacts to speak of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody says where we are.
    #[error("failed to find the current directory")]
    CurrentDirectory(#[source] io::Error),
    /// No `Cargo.lock` on the way up.
    #[error("`{}` is in no checkout of catenoid (hint: run `cargo xtask` in one)", .0.display())]
    NoWorkspace(PathBuf),
}

/// Paths below `target/catenoid/`. Making one touches nothing.
#[derive(Debug, Clone)]
pub struct Artefacts {
    workspace: PathBuf,
    target: PathBuf,
}

impl Default for Artefacts {
    fn default() -> Self {
        Self::new()
    }
}

impl Artefacts {
    /// The artefacts of this checkout, see [`Artefacts::find`].
    ///
    /// # Panics
    /// Outside of a checkout, where neither cargo nor nextest runs a program of ours.
    #[must_use]
    pub fn new() -> Self {
        Self::find().expect("cargo and nextest run their programs for a checkout")
    }

    /// The artefacts of the checkout that cargo runs us for, or of the one that the current directory is in. It is looked
    /// for when we run: a copied checkout may take over a program that was built in the original, and must not work on that.
    ///
    /// `CARGO_TARGET_DIR` is honoured as cargo does.
    pub fn find() -> Result<Self, Error> {
        let from = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(package) => PathBuf::from(package),
            None => std::env::current_dir().map_err(Error::CurrentDirectory)?,
        };
        Self::above(&from, std::env::var_os("CARGO_TARGET_DIR").as_deref())
    }

    /// The workspace that `from` is in; what was built for it is in `target` if that is given.
    fn above(from: &Path, target: Option<&OsStr>) -> Result<Self, Error> {
        let is_workspace = |folder: &&Path| folder.join("Cargo.lock").exists();
        let workspace = from.ancestors().find(is_workspace).ok_or_else(|| Error::NoWorkspace(from.to_owned()))?;
        Ok(Self { workspace: workspace.to_owned(), target: workspace.join(target.unwrap_or("target".as_ref())) })
    }

    /// The source tree.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Where cargo builds: `target` of the source tree unless cargo is set otherwise.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A program of [`STATIC_TARGET`], linked statically: `target/<target>/device/<name>`.
    #[must_use]
    pub fn static_binary(&self, name: &str) -> PathBuf {
        self.target.join(STATIC_TARGET).join("device").join(name)
    }

    /// The attacker of the scenario tests.
    #[must_use]
    pub fn probe(&self) -> PathBuf {
        self.static_binary("catenoid-probe")
    }

    /// `target/catenoid`, below which everything else lies.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.target.join("catenoid")
    }

    /// The development PKI that `catenoid-sign pki init` made.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.state().join("pki")
    }

    /// Guest images and their signed descriptors.
    #[must_use]
    pub fn guests(&self) -> PathBuf {
        self.state().join("guests")
    }

    /// Signed manifests.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.state().join("manifests")
    }

    /// Boot images and disks.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.state().join("image")
    }

    /// The rooms' tests on the device's kernel: `kernel` and `initramfs`.
    #[must_use]
    pub fn rooms(&self) -> PathBuf {
        self.state().join("rooms")
    }

    /// What devices boot with that hold what earlier versions left.
    #[must_use]
    pub fn compat(&self) -> PathBuf {
        self.state().join("compat")
    }

    /// Running or stopped VMs, one directory each.
    #[must_use]
    pub fn vm(&self, name: &str) -> PathBuf {
        self.state().join("vm").join(name)
    }

    /// The ssh key that the development core guest lets in.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.state().join("ssh").join("id_ed25519")
    }

    /// Downloads that outlive a rebuild of the image.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.state().join("cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_the_nearest_one_above() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let inner = root.path().join("copies/one");
        let package = inner.join("e2e/xtask");
        std::fs::create_dir_all(&package).expect("a folder");
        for workspace in [root.path(), &inner] {
            std::fs::write(workspace.join("Cargo.lock"), "").expect("a file");
        }
        let found = |from: &Path, target: Option<&str>| {
            let found = Artefacts::above(from, target.map(OsStr::new)).expect("it is in a workspace");
            (found.workspace, found.target)
        };
        assert_eq!(found(&package, None), (inner.clone(), inner.join("target")));
        assert_eq!(found(&inner, Some("/shared")), (inner.clone(), "/shared".into()));
        assert_eq!(found(&inner, Some("built")), (inner.clone(), inner.join("built")));
        assert_eq!(found(&root.path().join("copies"), None).0, root.path());
        std::fs::remove_file(root.path().join("Cargo.lock")).expect("it was there");
        assert!(matches!(Artefacts::above(&root.path().join("copies"), None), Err(Error::NoWorkspace(_))));
    }
}
