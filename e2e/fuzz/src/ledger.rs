//! The ledger: whatever its two slots hold, the agent starts, believes nothing but what was signed, and accepts the next
//! manifest, which it still holds after the next start.
//!
//! The first byte says which slots have the checksum that belongs to them; the rest is halved by the two bytes after it.

use std::fs;

use catenoid_agent::testing::ledger_slot;

use crate::fixture::{FIXTURE, folder};

pub(crate) fn start_on_any(bytes: &[u8]) {
    let Some(([sealed, high, low], rest)) = bytes.split_first_chunk() else { return };
    let (a, b) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
    let data = folder();
    let ledger = data.path().join("ledger");
    fs::create_dir(&ledger).expect("the folder is new");
    for (slot, bytes, bit) in [("a", a, 1), ("b", b, 2)] {
        let bytes = if sealed & bit == 0 { bytes.to_vec() } else { ledger_slot(bytes) };
        if !bytes.is_empty() {
            fs::write(ledger.join(slot), bytes).expect("the folder can be written to");
        }
    }
    let agent = FIXTURE.agent(data.path());
    let before = agent.accepted();
    for blob in [&FIXTURE.descriptor, &FIXTURE.image] {
        agent.push(blob).expect("there is room");
    }
    // Refused if the slots hold a floor above it: those who can write there can hold the device where it is.
    let accepted = agent.accept(&FIXTURE.manifests[1]).ok();
    drop(agent);
    assert_eq!(FIXTURE.agent(data.path()).accepted(), accepted.or(before), "what was accepted is held");
}
