//! The firewall's rules, in the JSON form of nft (libnftables-json(5)), as nft itself lists them.
//!
//! Desired and observed rules go through the same normal form ([`Rules::normal`]), so that they compare by `==` and any
//! change by hand is drift. Every expression here is written as nft 1.0.6 lists it back; the test
//! `netns_rules_are_listed_as_they_were_set` holds it to that.

mod core_container;
mod expression;
mod normal;
mod root;

pub(crate) use core_container::core;
pub use normal::Rules;
pub(crate) use root::root;
