//! The rules of `guests`.

use std::collections::BTreeMap;

use super::found::Found;
use crate::{guest::Guest, manifest::Manifest, name::Name, violation::Violation};

/// How far a manifest is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// As its author wrote it: guests may be named by version only.
    Authored,
    /// As it is signed: every guest has its digest.
    Signed,
}

pub(super) fn guests(manifest: &Manifest, stage: Stage, found: &mut Found) {
    for (name, guest) in &manifest.guests {
        if stage == Stage::Signed && guest.descriptor.is_none() {
            found.add(
                format!("guests.{name}.descriptor"),
                format!("`{}` was not resolved to a digest", guest.reference),
            );
        }
        if !manifest.containers.values().any(|c| c.guest == *name) {
            found.hint(
                format!("guests.{name}"),
                "no container is run from it",
                "remove it, or name it in a container's `guest`",
            );
        }
    }
}

/// What the guests of `manifest` need and their containers do not permit. `guests` are by their names in it.
#[must_use]
pub fn permissions<'a>(manifest: &Manifest, guests: impl Iterator<Item = (&'a Name, &'a Guest)>) -> Vec<Violation> {
    let guests: BTreeMap<&Name, &Guest> = guests.collect();
    let mut found = Found::default();
    for (name, container) in &manifest.containers {
        let needs = guests.get(&container.guest).map(|guest| &guest.needs);
        for need in needs.into_iter().flatten().filter(|need| !container.permits.contains(need)) {
            let need = need.name();
            found.hint(
                format!("containers.{name}.permits"),
                format!("its guest `{}` needs `{need}`, which is not permitted", container.guest),
                format!("`permits: [{need}]` gives it more of the kernel to attack; see docs/provision.md"),
            );
        }
    }
    found.0
}
