//! What the ledger lost while nobody looked: it may not hold which manifest was accepted last.

use catenoid_core::chain;
use catenoid_schema::{control::Event, status::Condition};

use super::ledger::LedgerContent;
use crate::record::{audit::Audit, condition::condition, event::NewEvent};

/// What the administrator is to do about a ledger that lost something.
const BRING: &str = "what was accepted last may be lost: apply the newest manifest again";
/// The kinds of events after which the ledger may not hold what was accepted last.
const LEDGER_WARNINGS: [&str; 2] = ["LedgerSlotCorrupt", "LedgerLost"];
/// The kind of the event that a manifest was accepted.
pub(super) const ACCEPTED: &str = "ManifestAccepted";
/// The kind of the event that the ledger was written again.
pub(super) const RESTORED: &str = "LedgerRestored";
/// Who brings the factory's manifest.
pub(super) const FACTORY: &str = "factory bundle";

/// What the ledger lost while the machine was off, if anything: found now, or before and not mended by anybody since,
/// which the audit log remembers.
pub(super) fn ledger_warning(held: &LedgerContent, audit: &Audit) -> Option<Condition> {
    let by_others = |event: &Event| event.kind == ACCEPTED && event.actor != FACTORY;
    let last = audit.find_last(|event| {
        LEDGER_WARNINGS.contains(&event.kind.as_str()) || event.kind == RESTORED || by_others(event)
    });
    if let Some(last) = last.filter(|last| LEDGER_WARNINGS.contains(&last.kind.as_str())) {
        return Some(condition(&last.kind, last.message));
    }
    let warn = |kind: &'static str, message: String| {
        audit.note(NewEvent::by_device(kind, None, message.clone()));
        condition(kind, message)
    };
    let corrupt: Vec<_> = held.corrupt.iter().map(|corrupt| chain(corrupt)).collect();
    if !corrupt.is_empty() && !held.entries.is_empty() {
        let found = warn("LedgerSlotCorrupt", format!("{}; {BRING}", corrupt.join("; ")));
        // While the machine was on, the copy knows which entry is the newest: the slot is written again.
        return (!held.copied).then_some(found);
    }
    let was_accepted = audit.find_last(by_others).is_some();
    (held.entries.is_empty() && (was_accepted || !corrupt.is_empty())).then(|| {
        let lost = if corrupt.is_empty() { "both slots of the ledger are gone".to_owned() } else { corrupt.join("; ") };
        warn("LedgerLost", format!("{lost}; the factory's manifest stands in; {BRING}"))
    })
}
