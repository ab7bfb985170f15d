//! What can go wrong in this room, and who must act.

use catenoid_core::RoomError;
use catenoid_kernel_net::{firewall, namespace, netlink};
use catenoid_schema::{manifest::MacAddress, name::Name, status::Blame};

use crate::NetworkNamespace;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespaces could not be read.
    #[error("failed to read the namespaces of the containers")]
    Observe(#[source] namespace::Error),
    /// The interfaces could not be read.
    #[error("failed to read the interfaces of a network namespace")]
    Links(#[source] netlink::Error),
    /// A firewall could not be read or replaced.
    #[error("failed to reach the firewall of `{place}`")]
    Firewall {
        /// The place that has the firewall.
        place: NetworkNamespace,
        /// What `nft` or the kernel answered.
        source: firewall::Error,
    },
    /// There is no firewall yet in a place that something was to be joined to.
    #[error("there is no firewall in `{place}` yet, so nothing is joined to it")]
    Unguarded {
        /// The place that has no firewall.
        place: NetworkNamespace,
    },
    /// The namespaces could not be made, removed or set.
    #[error("failed to set up the namespaces of `{container}`")]
    Namespaces {
        /// The container that they belong to.
        container: Name,
        /// What the kernel answered.
        source: namespace::Error,
    },
    /// The container has no whole pair of namespaces.
    #[error("`{container}` has no namespaces")]
    NoNamespaces {
        /// The container that has none.
        container: Name,
    },
    /// An interface could not be changed.
    #[error("failed to set up interface `{interface}`")]
    Interface {
        /// The interface, by its name.
        interface: String,
        /// What the kernel answered.
        source: netlink::Error,
    },
    /// A setting of an interface could not be written.
    #[error("failed to set up interface `{interface}`")]
    Setting {
        /// The interface, by its name.
        interface: String,
        /// What the kernel answered.
        source: namespace::Error,
    },
    /// The interface has gone since it was observed.
    #[error("there is no interface with the address {mac} in `{place}`")]
    Gone {
        /// The hardware address of the interface.
        mac: MacAddress,
        /// Where it was.
        place: NetworkNamespace,
    },
    /// The thread that did the work ended without an answer.
    #[error("the work on zones was cut short")]
    Cut(#[source] tokio::task::JoinError),
}

impl RoomError for Error {
    fn blame(&self) -> Blame {
        match self {
            // nft refuses rules that we wrote.
            Self::Firewall { source: firewall::Error::Refused { .. }, .. } => Blame::Us,
            Self::Firewall { source: firewall::Error::Run(_), .. } => Blame::Administrator,
            Self::Cut(_) => Blame::Us,
            Self::Observe(_)
            | Self::Links(_)
            | Self::Firewall { .. }
            | Self::Unguarded { .. }
            | Self::Namespaces { .. }
            | Self::NoNamespaces { .. }
            | Self::Interface { .. }
            | Self::Setting { .. }
            | Self::Gone { .. } => Blame::Nobody,
        }
    }
}
