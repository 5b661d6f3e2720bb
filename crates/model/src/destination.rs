//! A destination: a place that holds backups.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Result;
use crate::id::Id;

/// The name of the file at a destination's root that says which destination it is.
pub const IDENTITY_FILE: &str = "coffre-destination.json";

/// A place that holds backups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Destination {
    /// Identity; also written into [`IDENTITY_FILE`] there.
    pub id: Id,
    /// The name a person gave it.
    pub name: String,
    /// The canonical address, without a secret.
    pub address: String,
    /// Whether a secret is kept for it.
    pub has_secret: bool,
    /// What the identity file said when this destination was first used. From then on its absence, or another id, stops everything.
    /// It differs from `id` where a folder with backups from another home was added.
    pub identity: Option<Id>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

impl Destination {
    /// The parsed address.
    pub fn parsed(&self) -> Result<Address> {
        Address::parse(&self.address)
    }
}

/// The content of [`IDENTITY_FILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Format of this file.
    pub schema: u32,
    /// The destination's id.
    pub id: Id,
    /// When it was first used.
    pub created_at: DateTime<Utc>,
}
