//! What a container may do beyond what every process may.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The capabilities that can be granted. Each one is held in the container's own user namespace only; those that reach
/// past it, or widen what a user namespace exposes of the kernel (SYS_ADMIN, SYS_MODULE, SYS_PTRACE, BPF, ...), are not
/// here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "capabilities(7) describes each")]
pub enum Capability {
    Chown,
    DacOverride,
    DacReadSearch,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    NetBindService,
    NetAdmin,
    NetRaw,
    SysChroot,
    SysNice,
    Setfcap,
}

impl Capability {
    /// The number that the kernel gives it (`linux/capability.h`).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Chown => 0,
            Self::DacOverride => 1,
            Self::DacReadSearch => 2,
            Self::Fowner => 3,
            Self::Fsetid => 4,
            Self::Kill => 5,
            Self::Setgid => 6,
            Self::Setuid => 7,
            Self::Setpcap => 8,
            Self::NetBindService => 10,
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysChroot => 18,
            Self::SysNice => 23,
            Self::Setfcap => 31,
        }
    }
}
