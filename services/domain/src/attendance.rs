//! Who comes when no gateway had them, and who goes when no other has them, as gateways tell couriers. JSON; unknown fields
//! are ignored.

use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// Somebody is online from now on, or is not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// Who.
    pub user_id: UserId,
    /// Whether they have a connection now.
    pub online: bool,
}
