//! What authors write: whatever text `catenoid-sign check` is given, it answers soon and shows each finding at its place;
//! a text that it reads means the same to a second reader of YAML, or nothing at all, and what it takes is written out and
//! signed without loss.

use catenoid_schema::{cbor, document::Document, manifest::Manifest};
use catenoid_sign::testing::{check_manifest, parse_manifest, read_recipe};

pub(crate) fn check_any(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = read_recipe(text);
    let Ok(manifest) = parse_manifest(text) else { return };
    // To libyaml, `{?a: b}` has the key `a`; YAML 1.2 says `?a` (section 7.3.3).
    if !text.contains('?')
        && let Ok(theirs) = serde_yaml::from_str::<Manifest>(text)
    {
        assert_eq!(theirs, manifest, "a text has one meaning");
    }
    let _ = check_manifest(text);
    let written = serde_saphyr::to_string(&manifest).expect("a manifest can be written");
    assert_eq!(parse_manifest(&written).as_ref(), Ok(&manifest), "what is written out is what was meant");
    let signed = cbor::encode(&manifest).expect("a manifest can be signed");
    if signed.len() <= Manifest::LIMITS.bytes {
        assert_eq!(cbor::decode(&signed, Manifest::LIMITS).as_ref(), Ok(&manifest), "what is signed is what was meant");
    }
}
