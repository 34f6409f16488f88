//! Positions: `seq` numbers a chat's messages, `version` its changes, `epoch` the history both belong to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A message's place in its chat: 1, 2, 3 … without holes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = 17))]
pub struct Seq(pub u64);

/// A chat's change counter. A chat is made at version 0; every durable change takes the next one.
/// It is also where a client resumes from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = 42))]
pub struct Version(pub u64);

impl Version {
    /// The version that must follow this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl FromStr for Version {
    type Err = Invalid;

    /// Reads digits.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse() {
            Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(number)),
            _ => Err(Invalid::new("version", "must be one that the server gave")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which history a version belongs to. It changes when a database is restored or forked, so that a client's
/// position in the lost history is not taken for one in the new. On the wire: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[0-9a-f]{16}$", example = "00000000deadbeef"))]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match u64::from_str_radix(text, 16) {
            Ok(number) if text.len() == 16 => Ok(Self(number)),
            _ => Err(Invalid::new("epoch", "must be one that the server gave")),
        }
    }
}

impl TryFrom<String> for Epoch {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_digits_only() {
        assert_eq!("17".parse(), Ok(Version(17)));
        for bad in ["", "-1", "+1", "1.0", " 1", "99999999999999999999999"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_epoch_reads_what_it_writes() {
        for epoch in [Epoch(0), Epoch(0xdead_beef), Epoch(u64::MAX)] {
            assert_eq!(epoch.to_string().parse(), Ok(epoch));
        }
        for bad in ["", "0", "00000000deadbeeg", "+0000000deadbeef0"] {
            assert!(bad.parse::<Epoch>().is_err(), "{bad:?}");
        }
    }
}
