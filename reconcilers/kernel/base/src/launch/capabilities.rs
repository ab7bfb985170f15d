//! Capabilities, by their numbers.

#![allow(unsafe_code, reason = "`prctl` as `rustix` and `nix` do not offer it")]

use std::io;

use super::Error;

/// Takes every capability from the bounding set that is not `granted`, also those that this program has no name for.
///
/// # Errors
/// [`Error::Set`].
pub fn bound_capabilities(granted: &[u8]) -> Result<(), Error> {
    // A capability set has 64 bits (capabilities(7)); the first number the kernel does not know ends them.
    for number in (0..64u8).filter(|number| !granted.contains(number)) {
        // SAFETY: a prctl without pointers.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            _ if dropped == 0 => {}
            Some(libc::EINVAL) => return Ok(()),
            _ => return Err(Error::Set { what: "the bounding set", source: error }),
        }
    }
    Ok(())
}

/// Lets the next change from root to another user keep the permitted capabilities.
///
/// # Errors
/// [`Error::Capabilities`].
pub fn keep_capabilities() -> Result<(), Error> {
    caps::securebits::set_keepcaps(true).map_err(|source| Error::Capabilities { set: "kept", source })
}

/// Holds exactly `granted`. What a program that is executed gets of it is decided by `inheritance`.
///
/// # Errors
/// [`Error::NoCapability`], [`Error::Capabilities`].
pub fn set_capabilities(granted: &[u8], inheritance: CapabilityInheritance) -> Result<(), Error> {
    use caps::CapSet;
    let granted = granted.iter().map(|n| capability(*n)).collect::<Result<caps::CapsHashSet, _>>()?;
    let inherited =
        if inheritance == CapabilityInheritance::Program { granted.clone() } else { caps::CapsHashSet::new() };
    let apply = |set, name, value: &caps::CapsHashSet| {
        caps::set(None, set, value).map_err(|source| Error::Capabilities { set: name, source })
    };
    caps::clear(None, CapSet::Ambient).map_err(|source| Error::Capabilities { set: "ambient", source })?;
    // Effective first: it must stay within the permitted ones. Raising it again follows.
    apply(CapSet::Effective, "effective", &granted)?;
    apply(CapSet::Inheritable, "inheritable", &inherited)?;
    apply(CapSet::Permitted, "permitted", &granted)?;
    apply(CapSet::Ambient, "ambient", &inherited)
}

/// How an executed program comes to its capabilities (capabilities(7), "Transformation of capabilities during execve").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilityInheritance {
    /// Root gets what the bounding set holds.
    Root,
    /// Any other user gets what is ambient.
    Program,
}

fn capability(number: u8) -> Result<caps::Capability, Error> {
    caps::all().into_iter().find(|c| c.index() == number).ok_or(Error::NoCapability { number })
}
