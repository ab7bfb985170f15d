//! Room: each container's namespaces, the network segments between the containers, and the firewall.
//!
//! ```text
//!   root namespace (no address, no process that opens a network socket)
//!     cz-plant   a bridge for each zone with a subnet ── cv-…  outer ends, one for each member
//!     table bridge catenoid   who a frame is from, and whom it may reach
//!     table inet catenoid     which connections may be opened through a bridge
//!        │
//!   web's namespaces          core0's namespaces
//!     plant0 (cv-…)             plant0 (cv-…, gateway address)   uplink0 (a physical interface)
//!                               table inet catenoid: what is forwarded between zones and let in
//! ```
//!
//! Owns the pair of a user and a network namespace of each container, which outlives the container's processes; the
//! bridges and pairs of virtual interfaces; the addresses in them; the place of physical interfaces; and every table
//! called `catenoid`. Needs `/proc`, `nft` and the modules `bridge`, `br_netfilter`, `veth`, `nf_tables`, `nf_conntrack`.
//! Gives the containers their namespaces to enter (`setns` into `user`, then `net`).
//!
//! **Who enforces what.** The tables in the root namespace are out of every container's reach, the core container's
//! included: whatever it does, no service can send under another's address, nor open a connection to the core container
//! that no flow permits, and no frame leaves a zone by another way than the core container. The table in the core
//! container's namespace says what it forwards between zones and from the uplink, and that nothing of a zone comes or goes
//! by another interface. The system call filter keeps it from that one, too. But it is the router: what it does with packets
//! that it was sent cannot be enforced from outside. A changed table is drift that the next pass heals. See
//! `docs/decisions/0007-two-firewalls.md`.
//!
//! **The uplink's network goes first.** The core container has no address in a subnet that overlaps a network of one of
//! its uplinks, as long as it does. See `docs/decisions/0018-the-uplinks-network-goes-first.md`.
//!
//! **It fails closed.** A port is switched on only when the tables are there; frames of IP pass a bridge only with a mark
//! that the rules of the IP layer set, so that a kernel which does not hand frames to them (no `br_netfilter`) passes
//! nothing; a port that the tables do not know passes nothing.
//!
//! Start reading at [`desired()`]. The pure half is always there; the half with effects needs the feature `kernel`.

#[cfg(feature = "kernel")]
mod apply;
mod desired;
#[cfg(feature = "kernel")]
mod error;
mod model;
pub mod name;
#[cfg(feature = "kernel")]
mod observe;
mod overlap;
mod plan;
mod rules;
mod segments;
mod settings;
mod status;
mod step;

#[cfg(feature = "kernel")]
pub use apply::Zones;
pub use desired::{Desired, Joint, Uplink, desired};
#[cfg(feature = "kernel")]
pub use error::Error;
pub use model::{
    ADVERTISED_MOST, Advertised, Bridge, BridgePort, Inner, Namespaces, NetworkNamespace, Observed, ObservedInterface,
};
pub use plan::ZonesPlanner;
pub use rules::Rules;
pub use settings::{Differing, Of, SETTINGS, Setting};
pub use step::Step;
