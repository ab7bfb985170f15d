//! Where development artefacts lie: `target/catenoid/`, and nothing of them in the source tree.

use std::path::{Path, PathBuf};

/// What the attacker of the scenario tests is built for. Named to cargo, it has a directory of its own: its static libraries
/// do not mix with what everything else links.
pub const PROBE_TARGET: &str = "x86_64-unknown-linux-gnu";

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
    /// The artefacts of this checkout; `CARGO_TARGET_DIR` is honoured as cargo does.
    #[must_use]
    pub fn new() -> Self {
        let workspace =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies one level below the root").to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => workspace.join(dir),
            None => workspace.join("target"),
        };
        Self { workspace, target }
    }

    /// The source tree.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// What cargo built: `target/<profile>/<name>`. The `dev` profile's directory is `debug`.
    #[must_use]
    pub fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }

    /// The attacker of the scenario tests.
    #[must_use]
    pub fn probe(&self) -> PathBuf {
        self.target.join(PROBE_TARGET).join("device/catenoid-probe")
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
