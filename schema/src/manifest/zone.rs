//! A zone: a network segment with its interfaces, addresses and permitted flows.

use std::fmt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Name;

/// A network segment. Either it has physical interfaces, which the core container gets (an uplink), or a subnet, which
/// is a bridge that containers sit on behind the core container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zone {
    /// Physical interfaces. They move into the core container.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// How the physical interfaces get their addresses.
    #[serde(default)]
    pub address: Addressing,
    /// The segment's own networks, one IPv4 and one IPv6 at most; the first host address of each is the core container's.
    #[serde(default)]
    #[schemars(with = "Vec<String>", length(max = 2))]
    pub subnet: Vec<IpNet>,
    /// What may leave this zone. Everything else is denied.
    #[serde(default)]
    pub flows: Vec<Flow>,
}

/// A physical interface, by what does not change when it is plugged elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// Its hardware address.
    pub mac: MacAddress,
}

/// How the physical interfaces of a zone get their addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Addressing {
    /// Not at all, or by the zone's subnet.
    #[default]
    None,
    /// The core container asks a DHCP server (and takes router advertisements).
    Dhcp,
}

/// What may leave a zone, towards one destination. A connection's answers always pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// The zone it goes to, or `core` for the core container itself.
    pub to: Name,
    /// Destination ports over TCP.
    #[serde(default)]
    pub tcp: Vec<Port>,
    /// Destination ports over UDP.
    #[serde(default)]
    pub udp: Vec<Port>,
}

/// The destination of flows to the core container itself; no zone can have this name.
pub const CORE: &str = "core";

/// A port, 1 to 65535.
pub type Port = std::num::NonZeroU16;

/// An Ethernet hardware address, `52:54:00:12:34:56`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// Why a text is not a [`MacAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address such as `52:54:00:12:34:56`")]
pub struct MacAddressError(String);

impl MacAddress {
    /// From its six bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Its six bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl std::str::FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let error = || MacAddressError(text.chars().take(40).collect());
        let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b':');
        if text.len() != 17 || !lower {
            return Err(error());
        }
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacAddressError;

    fn try_from(text: String) -> Result<Self, MacAddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(value: MacAddress) -> String {
        value.to_string()
    }
}

impl JsonSchema for MacAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MacAddress".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$", "description": "An Ethernet hardware address, lower case."
        })
    }
}
