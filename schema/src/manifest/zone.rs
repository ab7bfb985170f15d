//! A zone: a network segment with its interfaces, addresses and permitted flows.

use std::fmt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    name::Name,
    units::{self, Whole},
};

/// A network segment. Either it has physical interfaces, which the core container gets (an uplink), or a subnet, which
/// is a bridge that containers sit on behind the core container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zone {
    /// Physical interfaces. They move into the core container.
    #[serde(default)]
    #[schemars(extend("uniqueItems" = true))]
    pub interfaces: Vec<Interface>,
    /// How the physical interfaces get their addresses.
    #[serde(default, deserialize_with = "units::word")]
    pub address: Addressing,
    /// The segment's own networks, one IPv4 and one IPv6 at most; the first host address of each is the core container's.
    #[serde(default, deserialize_with = "subnets")]
    #[schemars(schema_with = "subnets_schema")]
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
    #[serde(default, deserialize_with = "ports")]
    #[schemars(extend("uniqueItems" = true))]
    pub tcp: Vec<Port>,
    /// Destination ports over UDP.
    #[serde(default, deserialize_with = "ports")]
    #[schemars(extend("uniqueItems" = true))]
    pub udp: Vec<Port>,
}

/// The destination of flows to the core container itself; no zone can have this name.
pub const CORE: &str = "core";

/// A port, 1 to 65535.
pub type Port = std::num::NonZeroU16;

impl Whole for Port {
    const EXPECTED: &'static str = "a port: a whole number from 1 to 65535, such as `443`; of a range, write each port";

    fn from_u64(number: u64) -> Option<Self> {
        u16::try_from(number).ok().and_then(Self::new)
    }
}

/// How a port is read where it is part of another type.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct PortNumber(#[serde(deserialize_with = "units::number")] pub(super) Port);

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Port>, D::Error> {
    Ok(Vec::deserialize(deserializer)?.into_iter().map(|PortNumber(port)| port).collect())
}

/// Why a text is not a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a subnet such as `10.20.0.0/24` or `fd20::/64`, without leading zeros")]
pub(super) struct SubnetError(String);

/// The network that `text` is for every reader: an octet with a leading zero is octal to some, and IPv4 within IPv6 has two
/// families.
fn subnet(text: &str) -> Result<IpNet, SubnetError> {
    let error = || SubnetError(text.chars().take(60).collect());
    let net: IpNet = text.parse().map_err(|_| error())?;
    let (_, length) = text.rsplit_once('/').ok_or_else(error)?;
    let written = !text.contains('.') && length == net.prefix_len().to_string();
    if written || text == net.to_string() { Ok(net) } else { Err(error()) }
}

fn subnets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Written(IpNet);
    impl<'de> Deserialize<'de> for Written {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            subnet(&units::text_or_number(deserializer)?).map(Self).map_err(de::Error::custom)
        }
    }
    if deserializer.is_human_readable() {
        Ok(Vec::deserialize(deserializer)?.into_iter().map(|Written(net)| net).collect())
    } else {
        Vec::deserialize(deserializer)
    }
}

/// Networks as [`subnet`] reads them, as large as the rules take them.
fn subnets_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let v4 = format!("{octet}(\\.{octet}){{3}}/([89]|1[0-9]|2[0-8])");
    let group = "[0-9a-fA-F]{1,4}";
    // `::` stands behind none to seven groups, and what follows it fills the eight up at most.
    let short = (0..=7).map(|before| match (before, 7 - before) {
        (0, after) => format!(":((:{group}){{1,{after}}}|:)"),
        (_, 0) => format!("({group}:){{7}}:"),
        (_, after) => format!("({group}:){{{before}}}((:{group}){{1,{after}}}|:)"),
    });
    let v6: Vec<_> = short.chain([format!("({group}:){{7}}{group}")]).collect();
    let pattern = format!("^({v4}|({})/(4[89]|[5-9][0-9]|10[0-9]|11[0-2]))$", v6.join("|"));
    schemars::json_schema!({
        "type": "array", "maxItems": 2, "default": [],
        "items": {"type": "string", "pattern": pattern, "examples": ["10.20.0.0/24", "fd20::/64"]}
    })
}

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
            "type": "string", "pattern": "^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$", "not": {"const": "00:00:00:00:00:00"},
            "description": "The Ethernet hardware address of an interface, lower case.", "examples": ["52:54:00:12:34:56"]
        })
    }
}
