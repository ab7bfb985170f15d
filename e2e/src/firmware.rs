//! Platform keys written into an OVMF variable store, before the firmware ever ran.
//!
//! The store's layout is that of EDK II `MdeModulePkg/Include/Guid/VariableFormat.h` (authenticated variables), the
//! signature lists that of the UEFI specification 2.10, section 32.4.1. A store prepared so boots in user mode with
//! Secure Boot on: only what `db` vouches for starts. There is no Microsoft key and no way back but another store.

use base64::Engine as _;
use thiserror::Error;

/// The certificates of the platform, DER.
#[derive(Debug, Clone)]
pub struct PlatformKeys {
    /// Platform key: may change the KEK.
    pub pk: Vec<u8>,
    /// Key exchange key: may change db.
    pub kek: Vec<u8>,
    /// What may boot.
    pub db: Vec<u8>,
}

/// Why a variable store could not be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FirmwareError {
    /// The template is not what the `ovmf` package ships.
    #[error("the firmware's variable template holds no authenticated variable store")]
    NoStore,
    /// Keys and existing variables exceed the store.
    #[error("the platform keys need {needed} bytes, the variable store has {free} left")]
    Full {
        /// Bytes that would be written.
        needed: usize,
        /// Bytes that are free.
        free: usize,
    },
    /// A certificate file holds no PEM certificate.
    #[error("no PEM certificate in `{name}`")]
    Pem {
        /// What the text was read from.
        name: String,
    },
}

/// `gEfiAuthenticatedVariableGuid` aaf32c78-947b-439a-a180-2e144ec37792, as it lies in memory.
const STORE: [u8; 16] = guid(0xaaf3_2c78, 0x947b, 0x439a, [0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92]);
/// `EFI_GLOBAL_VARIABLE`: the vendor of PK and KEK.
const GLOBAL: [u8; 16] = guid(0x8be4_df61, 0x93ca, 0x11d2, [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: the vendor of db.
const SECURITY: [u8; 16] = guid(0xd719_b2cb, 0x3d3a, 0x4596, [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);
/// `gEfiSecureBootEnableDisableGuid`: EDK II's own switch, which must be on beside the keys.
const SWITCH: [u8; 16] = guid(0xf0a3_0bc7, 0xaf08, 0x4556, [0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44]);
/// `EFI_CERT_X509_GUID`: the type of a signature list of certificates.
const X509: [u8; 16] = guid(0xa5c0_59a1, 0x94e4, 0x4aa7, [0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72]);
/// Who put the certificates there: a fixed GUID of ours, so that the store is reproducible.
const OWNER: [u8; 16] = guid(0x6361_7465, 0x6e6f, 0x4964, [0x80, 0x00, 0x64, 0x65, 0x76, 0x69, 0x63, 0x65]);

const NON_VOLATILE: u32 = 0x01;
const BOOT_SERVICE: u32 = 0x02;
const RUNTIME: u32 = 0x04;
const TIME_BASED_AUTHENTICATION: u32 = 0x20;

/// A variable's header starts with this.
const START: u16 = 0x55aa;
/// `VAR_ADDED`: the state of a variable that is whole.
const ADDED: u8 = 0x3f;
/// Bytes of `AUTHENTICATED_VARIABLE_HEADER`.
const HEADER: usize = 60;
/// Bytes of `VARIABLE_STORE_HEADER`.
const STORE_HEADER: usize = 28;

const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// The DER bytes of the first certificate in `text`; `name` is for the error.
pub fn certificate_from_pem(name: &str, text: &str) -> Result<Vec<u8>, FirmwareError> {
    let body: Option<String> = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
        .map(|(body, _)| body.split_whitespace().collect());
    body.and_then(|body| base64::engine::general_purpose::STANDARD.decode(body).ok())
        .ok_or_else(|| FirmwareError::Pem { name: name.to_owned() })
}

/// A copy of the variable store `template` with `keys` enrolled and Secure Boot on. [req->SF-2]
pub fn enrol(template: &[u8], keys: &PlatformKeys) -> Result<Vec<u8>, FirmwareError> {
    let mut image = template.to_vec();
    let (mut at, end) = free_range(template)?;
    let authenticated = NON_VOLATILE | BOOT_SERVICE | RUNTIME | TIME_BASED_AUTHENTICATION;
    let variables = [
        variable("PK", GLOBAL, authenticated, &signature_list(&keys.pk)),
        variable("KEK", GLOBAL, authenticated, &signature_list(&keys.kek)),
        variable("db", SECURITY, authenticated, &signature_list(&keys.db)),
        variable("SecureBootEnable", SWITCH, NON_VOLATILE | BOOT_SERVICE, &[1]),
    ];
    for bytes in variables {
        let stop = at + bytes.len();
        if stop > end {
            return Err(FirmwareError::Full { needed: bytes.len(), free: end - at });
        }
        image[at..stop].copy_from_slice(&bytes);
        at = stop.next_multiple_of(4);
    }
    Ok(image)
}

/// From the end of the last variable to the end of the store.
fn free_range(image: &[u8]) -> Result<(usize, usize), FirmwareError> {
    // A firmware volume header has its own length at offset 48; the store follows it.
    let volume_header = u16_at(image, 48).ok_or(FirmwareError::NoStore)?;
    let store = usize::from(volume_header);
    if image.get(store..store + 16) != Some(STORE.as_slice()) {
        return Err(FirmwareError::NoStore);
    }
    let size = u32_at(image, store + 16).ok_or(FirmwareError::NoStore)?;
    let end = store + size;
    if end > image.len() {
        return Err(FirmwareError::NoStore);
    }
    let mut at = store + STORE_HEADER;
    while u16_at(image, at) == Some(START) {
        let name = u32_at(image, at + 36).ok_or(FirmwareError::NoStore)?;
        let data = u32_at(image, at + 40).ok_or(FirmwareError::NoStore)?;
        at = (at + HEADER + name + data).next_multiple_of(4);
    }
    Ok((at.min(end), end))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize)
}

fn signature_list(certificate: &[u8]) -> Vec<u8> {
    let signature = 16 + certificate.len();
    let mut bytes = X509.to_vec();
    bytes.extend(length(28 + signature));
    bytes.extend(length(0));
    bytes.extend(length(signature));
    bytes.extend(OWNER);
    bytes.extend(certificate);
    bytes
}

fn variable(name: &str, vendor: [u8; 16], attributes: u32, data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let mut bytes = Vec::with_capacity(HEADER + name.len() + data.len());
    bytes.extend(START.to_le_bytes());
    bytes.extend([ADDED, 0]);
    bytes.extend(attributes.to_le_bytes());
    bytes.extend([0; 8]); // monotonic count: unused with time based authentication
    let stamped = attributes & TIME_BASED_AUTHENTICATION != 0;
    bytes.extend(if stamped { timestamp() } else { [0; 16] });
    bytes.extend([0; 4]); // public key index: unused with time based authentication
    bytes.extend(length(name.len()));
    bytes.extend(length(data.len()));
    bytes.extend(vendor);
    bytes.extend(name);
    bytes.extend(data);
    bytes
}

/// `EFI_TIME` 2000-01-01: older than any real update, so that a signed update of a key is accepted.
fn timestamp() -> [u8; 16] {
    let mut time = [0; 16];
    time[..2].copy_from_slice(&2000_u16.to_le_bytes());
    time[2] = 1;
    time[3] = 1;
    time
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a certificate is far below 4 GiB").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> PlatformKeys {
        PlatformKeys { pk: vec![1; 900], kek: vec![2; 901], db: vec![3; 903] }
    }

    /// A store of `size` bytes behind a volume header, empty as flash is.
    fn template(size: u32) -> Vec<u8> {
        let mut image = vec![0; 0x48];
        image[48] = 0x48;
        image.extend(STORE);
        image.extend(size.to_le_bytes());
        image.extend([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
        image.resize(0x48 + size as usize, 0xff);
        image
    }

    #[test]
    fn enrolled_variables_are_walked_to_the_end() {
        let image = enrol(&template(8192), &keys()).expect("8 KiB hold three certificates");
        let (end, _) = free_range(&image).expect("the store is whole");
        let one = |name: usize, data: usize| (HEADER + name + data).next_multiple_of(4);
        let lists = one(6, 44 + 900) + one(8, 44 + 901) + one(6, 44 + 903);
        assert_eq!(end, 0x48 + STORE_HEADER + lists + one(34, 1));
        assert_eq!(image[end..], template(8192)[end..], "what follows stays erased flash");
    }

    #[test]
    fn header_of_the_platform_key_is_what_edk2_reads() {
        let image = enrol(&template(8192), &keys()).expect("8 KiB hold three certificates");
        let pk = &image[0x48 + STORE_HEADER..];
        let mut header = vec![0xaa, 0x55, 0x3f, 0, 0x27, 0, 0, 0];
        header.extend([0; 8]);
        header.extend([0xd0, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.extend([0; 4]);
        header.extend([6, 0, 0, 0, 0xb0, 0x03, 0, 0]); // "PK\0" in UTF-16, 944 bytes of list
        header.extend(GLOBAL);
        header.extend([b'P', 0, b'K', 0, 0, 0]);
        assert_eq!(pk[..header.len()], header);
    }

    #[test]
    fn full_store_is_an_error() {
        assert_eq!(enrol(&template(1024), &keys()), Err(FirmwareError::Full { needed: 1010, free: 996 }));
    }

    #[test]
    fn foreign_template_is_an_error() {
        assert_eq!(enrol(&[0; 64], &keys()), Err(FirmwareError::NoStore));
        assert_eq!(enrol(&[], &keys()), Err(FirmwareError::NoStore));
    }

    #[test]
    fn certificate_is_read_from_pem() {
        let text = "x\n-----BEGIN CERTIFICATE-----\nAAEC\nAwQF\n-----END CERTIFICATE-----\n";
        assert_eq!(certificate_from_pem("db", text), Ok(vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(certificate_from_pem("db", "none"), Err(FirmwareError::Pem { name: "db".to_owned() }));
    }
}
