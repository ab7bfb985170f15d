//! What a development device trusts and runs: PKI, operator's ssh key, signed guests, the factory bundle. Each step can be
//! done twice: keys are made once, everything else is reproducible and made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use catenoid_e2e::Artefacts;

use crate::run;

/// A guest to build: its recipe, and where this version of it differs.
struct Recipe {
    name: &'static str,
    version: &'static str,
    path: &'static str,
    /// `DEST=SRC` relative to the workspace.
    files: &'static [&'static str],
}

const NGINX: &str = "manifests/guests/nginx/recipe.yaml";

/// Guests that manifests/demo.yaml and manifests/demo-2.yaml name besides the core guest.
const DEMO: &[Recipe] = &[
    Recipe { name: "nginx", version: "1.0.0", path: NGINX, files: &[] },
    Recipe {
        name: "nginx",
        version: "1.0.1",
        path: NGINX,
        files: &["/usr/share/nginx/html/index.html=manifests/guests/nginx/index-1.0.1.html"],
    },
    Recipe { name: "busybox", version: "1.0.0", path: "manifests/guests/busybox/recipe.yaml", files: &[] },
];
/// The attacker of the scenario tests.
const PROBE: Recipe = Recipe { name: "probe", version: "1.0.0", path: "e2e/probe/guest/recipe.yaml", files: &[] };
/// Another version of the demo's smallest guest, with an image of its own: for tests that replace one by the other.
const SECOND: Recipe = Recipe {
    name: "busybox",
    version: "1.0.1",
    path: "manifests/guests/busybox/recipe.yaml",
    files: &["/srv/www/index.html=manifests/guests/nginx/index-1.0.1.html"],
};
const CORE: Recipe = Recipe { name: "catenoid-core", version: "0.1.0", path: "c0/guest/recipe.yaml", files: &[] };

/// Builds `catenoid` and `catenoid-sign` in one go, apart from the device's programs: built together, features would be
/// united and the signing tool would get the kernel's doors. They are static as those are, so that what all are made of is
/// built once.
pub(crate) fn tools(artefacts: &Artefacts) -> Result<()> {
    run::visibly(run::cargo_static(artefacts)?.args(["-p", "catenoid", "-p", "catenoid-sign"]))
}

/// Everything that the image needs besides the device's programs.
pub(crate) fn prepare(artefacts: &Artefacts) -> Result<()> {
    tools(artefacts)?;
    if !artefacts.pki().exists() {
        run::output(sign(artefacts).args(["pki", "init", "--dir"]).arg(artefacts.pki()))?;
    }
    ssh_key(&artefacts.ssh_key())?;
    let catenoid = format!("/usr/bin/catenoid={}", artefacts.static_binary("catenoid").display());
    let operator = format!("/root/.ssh/authorized_keys={}", artefacts.ssh_key().with_extension("pub").display());
    guest(artefacts, &CORE, &[catenoid, operator])?;
    let manifest = manifest(artefacts, "factory")?;
    let bundle = artefacts.manifests().join("factory.tar");
    let mut command = sign(artefacts);
    command.args(["bundle", "--manifest"]).arg(&manifest).arg("--guests").arg(artefacts.guests());
    run::output(command.arg("-o").arg(&bundle)).map(drop)
}

/// The guests of the demo.
pub(crate) fn demo_guests(artefacts: &Artefacts) -> Result<()> {
    DEMO.iter().try_for_each(|recipe| guest(artefacts, recipe, &[]))
}

/// The guests of the scenario tests: a second version, and the attacker, which is a guest and a program: linked
/// statically, for guests have no libraries.
pub(crate) fn test_guests(artefacts: &Artefacts) -> Result<()> {
    run::visibly(run::cargo_static(artefacts)?.args(["-p", "catenoid-probe"]))?;
    let program = format!("/usr/bin/catenoid-probe={}", artefacts.probe().display());
    guest(artefacts, &SECOND, &[])?;
    guest(artefacts, &PROBE, &[program])
}

/// The file names of the demo's guests without their endings.
pub(crate) fn demo_guest_names() -> impl Iterator<Item = String> {
    DEMO.iter().map(|recipe| format!("{}-{}", recipe.name, recipe.version))
}

/// A path below the workspace as a person would type it there.
pub(crate) fn shown(artefacts: &Artefacts, path: &Path) -> String {
    path.strip_prefix(artefacts.workspace()).unwrap_or(path).display().to_string()
}

/// Signs `manifests/<name>.yaml`; gives the envelope.
pub(crate) fn manifest(artefacts: &Artefacts, name: &str) -> Result<PathBuf> {
    let folder = artefacts.manifests();
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    let envelope = folder.join(format!("{name}.manifest.cose"));
    let mut command = sign(artefacts);
    command.arg("sign").arg("--guests").arg(artefacts.guests());
    credentials(&mut command, &artefacts.pki(), "operator");
    command.arg(format!("manifests/{name}.yaml")).arg("-o").arg(&envelope);
    run::output(&mut command)?;
    Ok(envelope)
}

fn guest(artefacts: &Artefacts, recipe: &Recipe, files: &[String]) -> Result<()> {
    let folder = artefacts.guests();
    let mut build = sign(artefacts);
    build.args(["guest", "build", recipe.path, "--set-version", recipe.version]);
    build.arg("--out").arg(&folder).arg("--cache").arg(artefacts.cache());
    for file in recipe.files.iter().copied().chain(files.iter().map(String::as_str)) {
        build.args(["--file", file]);
    }
    run::output(&mut build)?;
    let descriptor = folder.join(format!("{}-{}.guest.cbor", recipe.name, recipe.version));
    let mut command = sign(artefacts);
    command.args(["guest", "sign"]);
    credentials(&mut command, &artefacts.pki(), "software");
    run::output(command.arg(&descriptor)).map(drop)
}

fn credentials(command: &mut Command, pki: &Path, role: &str) {
    command.arg("--key").arg(pki.join(role).join("signer.key.pem"));
    command.arg("--chain").arg(pki.join(role).join("signer.chain.pem"));
    command.arg("--anchors").arg(pki.join("anchors.cbor"));
}

fn sign(artefacts: &Artefacts) -> Command {
    let mut command = Command::new(artefacts.static_binary("catenoid-sign"));
    command.current_dir(artefacts.workspace());
    command
}

fn ssh_key(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().expect("the key lies in a folder of its own");
    fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    let mut keygen = Command::new("ssh-keygen");
    run::output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "catenoid-development", "-f"]).arg(path)).map(drop)
}
