//! The build host's side: manifests from YAML through the signing tool, and what nobody should ever sign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catenoid_e2e::Artefacts;
use catenoid_envelope::Unverified;
use catenoid_schema::cbor;
use catenoid_schema::digest::Digest;
use catenoid_schema::document::{self, Document as _};
use catenoid_schema::manifest::Manifest;
use ciborium::value::Value;
use coset::{
    Algorithm, ContentType, CoseSignBuilder, CoseSignature, Header, Label, ProtectedHeader,
    TaggedCborSerializable as _, iana,
};
use p384::ecdsa::signature::Signer as _;
use p384::ecdsa::{Signature, SigningKey};
use p384::pkcs8::DecodePrivateKey as _;

/// The header parameter of a certificate chain (RFC 9360).
const X5CHAIN: i64 = 33;

/// Signs with the development PKI.
pub(crate) struct Author {
    artefacts: Artefacts,
}

impl Author {
    pub(crate) fn new(artefacts: &Artefacts) -> Self {
        Self { artefacts: artefacts.clone() }
    }

    /// An example manifest as it lies in the source tree.
    pub(crate) fn example(&self, name: &str) -> Result<String> {
        let path = self.artefacts.workspace().join(format!("manifests/{name}.yaml"));
        fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))
    }

    /// Signs a manifest as an operator does.
    pub(crate) fn sign(&self, folder: &Path, yaml: &str) -> Result<Vec<u8>> {
        let (manifest, envelope) = (folder.join("manifest.yaml"), folder.join("manifest.cose"));
        fs::write(&manifest, yaml).with_context(|| format!("failed to write `{}`", manifest.display()))?;
        let pki = self.artefacts.pki();
        let mut command = self.tool();
        command.arg("sign").arg("--guests").arg(self.artefacts.guests());
        command.arg("--key").arg(pki.join("operator/signer.key.pem"));
        command.arg("--chain").arg(pki.join("operator/signer.chain.pem"));
        command.arg("--anchors").arg(pki.join("anchors.cbor"));
        succeed(command.arg(&manifest).arg("-o").arg(&envelope))?;
        fs::read(&envelope).with_context(|| format!("failed to read `{}`", envelope.display()))
    }

    /// Whoever signs for `role` in the PKI of the device.
    pub(crate) fn signer(&self, role: &str) -> Result<Signer> {
        Signer::read(&self.artefacts.pki(), role)
    }

    /// Makes another PKI, which the device does not know; its operator.
    pub(crate) fn stranger(&self, folder: &Path) -> Result<Signer> {
        let pki = folder.join("strange-pki");
        if !pki.exists() {
            succeed(self.tool().args(["pki", "init", "--name", "strange", "--dir"]).arg(&pki))?;
        }
        Signer::read(&pki, "operator")
    }

    fn tool(&self) -> Command {
        let mut command = Command::new(self.artefacts.static_binary("catenoid-sign"));
        command.current_dir(self.artefacts.workspace());
        command
    }
}

/// An example with another sequence.
pub(crate) fn resequenced(yaml: &str, sequence: u64) -> Result<String> {
    let (before, rest) = yaml.split_once("sequence: ").context("the example has no sequence")?;
    let (_, after) = rest.split_once(',').context("the example has nothing after its sequence")?;
    Ok(format!("{before}sequence: {sequence},{after}"))
}

/// The manifest in an envelope of ours.
pub(crate) fn manifest(envelope: &[u8]) -> Result<Manifest> {
    Ok(document::decode(&payload(envelope)?)?)
}

/// What an envelope of ours signs.
pub(crate) fn payload(envelope: &[u8]) -> Result<Vec<u8>> {
    Ok(Unverified::read(envelope, Manifest::LIMITS.bytes)?.payload().to_vec())
}

/// What names a manifest on the device.
pub(crate) fn digest(envelope: &[u8]) -> Result<Digest> {
    Ok(Digest::of(&payload(envelope)?))
}

/// A key with its certificates. Signs whatever it is given: no check of the signing tool is in the way.
pub(crate) struct Signer {
    key: SigningKey,
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Signer {
    fn read(pki: &Path, role: &str) -> Result<Self> {
        let read =
            |path: PathBuf| fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()));
        let key = SigningKey::from_pkcs8_pem(&read(pki.join(role).join("signer.key.pem"))?)?;
        let chain = certificates(&read(pki.join(role).join("signer.chain.pem"))?)?;
        Ok(Self { key, chain })
    }

    /// An envelope of `manifest`.
    pub(crate) fn seal(&self, manifest: &Manifest) -> Result<Vec<u8>> {
        self.seal_payload(Manifest::CONTENT_TYPE, cbor::encode(manifest)?)
    }

    /// An envelope of any bytes.
    pub(crate) fn seal_payload(&self, content_type: &str, payload: Vec<u8>) -> Result<Vec<u8>> {
        let body = Header { content_type: Some(ContentType::Text(content_type.to_owned())), ..Header::default() };
        let chain = match self.chain.as_slice() {
            [leaf] => Value::Bytes(leaf.clone()),
            chain => Value::Array(chain.iter().cloned().map(Value::Bytes).collect()),
        };
        let header = Header {
            alg: Some(Algorithm::Assigned(iana::Algorithm::ES384)),
            rest: vec![(Label::Int(X5CHAIN), chain)],
            ..Header::default()
        };
        let protected = ProtectedHeader { original_data: None, header };
        let signature = CoseSignature { protected, ..CoseSignature::default() };
        let sign = |message: &[u8]| {
            let signature: Signature = self.key.sign(message);
            signature.to_bytes().to_vec()
        };
        let cose = CoseSignBuilder::new()
            .protected(body)
            .payload(payload)
            .add_created_signature(signature, content_type.as_bytes(), sign)
            .build();
        cose.to_tagged_vec().map_err(|error| anyhow::anyhow!("failed to write an envelope: {error}"))
    }
}

fn certificates(pem: &str) -> Result<Vec<Vec<u8>>> {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let bodies = pem.split(begin).skip(1).map(|rest| rest.split(end).next().unwrap_or_default());
    let decode = |body: &str| STANDARD.decode(body.split_whitespace().collect::<String>());
    bodies.map(|body| decode(body).context("a certificate file that is no PEM")).collect()
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to run {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
