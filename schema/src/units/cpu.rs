//! A share of processors.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    quantity::{UnitError, quantity, unit_error, whole},
    read::text_or_number,
};

/// A share of processors in thousandths. Written as processors: `0.5`, `2`; three decimals at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u32);

impl Cpu {
    /// `thousandths` of one processor.
    #[must_use]
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// Thousandths of one processor.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl std::str::FromStr for Cpu {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || unit_error(text, "a number of processors such as `0.5` (three decimals at most)");
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let short = (1..=3).contains(&decimals.len()) && decimals.bytes().all(|b| b.is_ascii_digit());
        let units = whole(units).filter(|_| short).ok_or_else(error)?;
        let thousandths: u64 = format!("{decimals:0<3}").parse().map_err(|_| error())?;
        let total = units.checked_mul(1000).and_then(|t| t.checked_add(thousandths)).ok_or_else(error)?;
        u32::try_from(total).map(Self).map_err(|_| error())
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:03}", self.0 % 1000);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / 1000),
            decimals => write!(f, "{}.{decimals}", self.0 / 1000),
        }
    }
}

quantity!(
    Cpu,
    u32,
    ["string", "number"],
    "^(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?$",
    "Processors this may use at once, with three decimals at most.",
    "0.5",
    "minimum": 0.01,
    "maximum": 99999.999
);
