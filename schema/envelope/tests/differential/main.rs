//! Second implementations: cose-rust (OpenSSL) for the structure, p384 for signatures, `openssl verify` for chains.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chains;
#[path = "../common/mod.rs"]
mod common;
mod seal;
mod signatures;
