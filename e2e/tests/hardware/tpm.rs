//! A TPM: the commands whose bytes are ours (`catenoid_e2e::tpm`) against tss-esapi, on one swtpm.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;

use catenoid_e2e::chance::Chance;
use catenoid_e2e::tpm::{INDEX, ask, define, number_in, write};
use catenoid_e2e::tpm_log::STATE;
use tss_esapi::attributes::NvIndexAttributes;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::NvPublic;
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::{Context, Result};

use crate::{Ended, enter_own_namespaces, until};

/// Numbers that are written by one and read by the other, and back, beside the least and the most.
const NUMBERS: usize = 4;
/// Any port, and the next one: nobody else is in the network namespace. The library asks on the first and controls swtpm on
/// the second.
const PORT: u16 = 2321;

/// What tss-esapi finds or changes in the TPM whose state is in `folder`, as its owner.
fn by_library<T>(folder: &Path, work: impl FnOnce(&mut Context) -> Result<T>) -> T {
    let swtpm = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate", "dir=."])
        .args(["--server", &format!("type=tcp,port={PORT}"), "--ctrl", &format!("type=tcp,port={}", PORT + 1)])
        .current_dir(folder)
        .spawn()
        .expect("swtpm is installed");
    let _swtpm = Ended(swtpm);
    until("swtpm listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).ok());
    let library: TctiNameConf = format!("swtpm:host=127.0.0.1,port={PORT}").parse().unwrap();
    Context::new(library).unwrap().execute_with_session(Some(AuthSession::Password), work).unwrap()
}

fn index(context: &mut Context) -> Result<NvIndexHandle> {
    let index = TpmHandle::NvIndex(NvIndexTpmHandle::new(INDEX)?);
    context.execute_without_session(|context| context.tr_from_tpm_public(index)).map(NvIndexHandle::from)
}

fn public(context: &mut Context) -> Result<NvPublic> {
    let index = index(context)?;
    context.execute_without_session(|context| context.nv_read_public(index)).map(|(public, _)| public)
}

fn number(context: &mut Context) -> Result<u64> {
    let index = index(context)?;
    let bytes = context.nv_read(NvAuth::Owner, index, 8, 0)?;
    Ok(u64::from_be_bytes(bytes.value().try_into().expect("eight bytes were asked for")))
}

fn by_our_bytes(folder: &Path, command: &[u8]) {
    let answer = ask(folder, command).unwrap();
    assert_eq!(answer[6..10], [0; 4], "the TPM refuses: {answer:02x?}");
}

#[test]
fn netns_a_number_in_a_tpm_is_to_tss_esapi_what_it_is_to_us() {
    enter_own_namespaces();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    by_our_bytes(folder, &define());
    let attributes = NvIndexAttributes::builder().with_owner_write(true).with_owner_read(true);
    let expected = NvPublic::builder()
        .with_nv_index(NvIndexTpmHandle::new(INDEX).unwrap())
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes.build().unwrap())
        .with_data_area_size(8)
        .build()
        .unwrap();
    assert_eq!(by_library(folder, public), expected);
    assert_eq!(ours(folder), None, "nothing was written");

    let mut chance = Chance::new("numbers in a TPM");
    let numbers = [0, u64::MAX].into_iter().chain(std::iter::repeat_with(|| chance.below(u64::MAX)).take(NUMBERS));
    for written in numbers {
        by_our_bytes(folder, &write(written));
        assert_eq!(by_library(folder, number), written);
        let back = written.rotate_left(8) ^ 1;
        by_library(folder, |context| {
            let index = index(context)?;
            context.nv_write(NvAuth::Owner, index, back.to_be_bytes().to_vec().try_into()?, 0)
        });
        assert_eq!(ours(folder), Some(back));
    }

    // The place as the library makes it is the one that our bytes ask for.
    by_library(folder, |context| {
        let index = index(context)?;
        context.nv_undefine_space(Provision::Owner, index)?;
        context.nv_define_space(Provision::Owner, None, expected)
    });
    assert_eq!(ours(folder), None, "it is another one");
    by_our_bytes(folder, &write(7));
    assert_eq!((ours(folder), by_library(folder, number)), (Some(7), 7));
}

fn ours(folder: &Path) -> Option<u64> {
    number_in(folder, &fs::read(folder.join(STATE)).unwrap()).unwrap()
}
