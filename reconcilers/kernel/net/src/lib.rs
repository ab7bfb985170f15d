//! The doors to the network: namespaces, what is in them, and their firewalls.
//!
//! A thread goes into a network namespace ([`namespace::visit`]); what it opens or spawns there stays in it. Start reading at
//! [`namespace`].

pub mod firewall;
pub mod namespace;
pub mod netlink;
