//! Encryption keys. The catalogue knows a key's name, kind and public part; what opens a backup lies in the secret store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::id::Id;

words! {
    /// What kind of key.
    KeyKind {
        /// An age X25519 pair: the public part encrypts, the identity decrypts.
        Recipient = "recipient",
        /// A passphrase (age's scrypt).
        Passphrase = "passphrase",
    }
}

/// A key that backups can be encrypted with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Key {
    /// Identity; the secret store keeps the secret part under it.
    pub id: Id,
    /// The name a person gave it.
    pub name: String,
    /// What kind.
    pub kind: KeyKind,
    /// `age1…` for a pair; nothing for a passphrase.
    pub recipient: Option<String>,
    /// When it was made or imported.
    pub created_at: DateTime<Utc>,
    /// When it was last exported, that is: when a person last held a copy of their own.
    pub exported_at: Option<DateTime<Utc>>,
}
