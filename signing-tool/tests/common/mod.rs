//! Running the program as a person would, and saying what that person sees.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder with the manifests of the repository, from the folder of the package, in which tests run.
pub fn manifests() -> PathBuf {
    std::fs::canonicalize("../manifests").unwrap()
}

/// Runs `catenoid-sign` in `folder`.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_catenoid-sign"))
        .args(arguments)
        .current_dir(folder)
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

/// Runs it where it must succeed.
pub fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", seen(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a person sees: exit code and both outputs.
pub fn seen(output: &Output) -> String {
    let mut text = format!("exit code {}\n", output.status.code().map_or("none".to_owned(), |code| code.to_string()));
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            text += &format!("--- {name}\n{}", String::from_utf8_lossy(bytes));
        }
    }
    text
}

/// Compares `text` with the file at `path`, or writes it there with `UPDATE_GOLDEN=1`.
pub fn golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == text,
        "`{}` is not what comes out now; run the test with UPDATE_GOLDEN=1 and look at the difference",
        path.display()
    );
}

/// The cases of a folder, in the order of names.
pub fn cases(folder: &Path, extension: Option<&str>) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = entries
        .filter(|path| path.extension().and_then(|e| e.to_str()) == extension && path.is_dir() == extension.is_none())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// A folder with a PKI, an image, its signed guest and a manifest that names it.
pub struct Desk {
    pub folder: tempfile::TempDir,
}

pub const OPERATOR: [&str; 4] = ["--key", "pki/operator/signer.key.pem", "--chain", "pki/operator/signer.chain.pem"];
pub const SOFTWARE: [&str; 4] = ["--key", "pki/software/signer.key.pem", "--chain", "pki/software/signer.chain.pem"];

impl Desk {
    pub fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        succeed(desk.path(), &["pki", "init", "--dir", "pki", "--name", "test"]);
        std::fs::create_dir(desk.path().join("guests")).unwrap();
        desk.guest("catenoid-core", "1.4.0");
        desk.write("press.yaml", &manifest());
        desk
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    /// Makes and signs a guest of three blocks.
    pub fn guest(&self, name: &str, version: &str) {
        let image = format!("{name} {version}").into_bytes().into_iter().cycle().take(12288).collect::<Vec<_>>();
        std::fs::write(self.path().join(format!("guests/{name}-{version}.image")), &image).unwrap();
        let digest = catenoid_schema::digest::Digest::of(&image);
        let descriptor = format!(
            "apiVersion: catenoid.dev/v1\nkind: Guest\nmetadata: {{ name: {name}, version: \"{version}\" }}\n\
             architecture: x86_64\nimage:\n  digest: {digest}\n  size: 12KiB\n  verity: {{ rootHash: {digest}, \
             salt: {digest}, dataBlocks: 1 }}\ndefaults: {{ command: [/sbin/init] }}\nroot: readOnly\n"
        );
        let file = format!("guests/{name}-{version}.guest.yaml");
        self.write(&file, &descriptor);
        succeed(self.path(), &[&["guest", "sign"], &SOFTWARE[..], &[&file]].concat());
    }

    /// Signs `input` to `output`.
    pub fn sign(&self, input: &str, output: &str) -> Output {
        let rest = ["--guests", "guests", "--anchors", "pki/anchors.cbor", input, "-o", output];
        run(self.path(), &[&["sign"], &OPERATOR[..], &rest].concat())
    }
}

pub fn manifest() -> String {
    "apiVersion: catenoid.dev/v1\nkind: Manifest\n\
     metadata: { name: press, sequence: 1, notAfter: 2100-01-01T00:00:00Z }\n\
     target: { serials: [QEMU-0001] }\n\
     guests: { core: { ref: catenoid-core@1.4.0 } }\n\
     containers: { core0: { guest: core, role: core } }\n"
        .to_owned()
}
