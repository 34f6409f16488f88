//! Secrets of one launcher folder: drawn once, kept with mode 0600.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::home::{Home, make_folder, read_json, write_json};

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) jwt: String,
    pub(crate) postgres: String,
    /// Signs links to files; folders of an earlier release have none.
    #[serde(default = "random_hex")]
    pub(crate) link: String,
    /// What gateways know each other by; folders of an earlier release have none.
    #[serde(default = "random_hex")]
    pub(crate) peer: String,
}

impl Secrets {
    /// The secrets of this folder, drawn at first use: tokens can be made before the first `up`.
    pub(crate) fn of(home: &Home) -> Result<Self> {
        let file = home.file("secrets.json");
        if let Some(kept) = read_json(&file)? {
            return Ok(kept);
        }
        make_folder(home.root())?;
        let fresh = Self {
            jwt: random_hex(),
            postgres: random_hex(),
            link: random_hex(),
            peer: random_hex(),
        };
        write_json(&file, &fresh)?;
        Ok(fresh)
    }
}

/// 256 random bits.
fn random_hex() -> String {
    let (high, low) = (rand::random::<u128>(), rand::random::<u128>());
    format!("{high:032x}{low:032x}")
}
