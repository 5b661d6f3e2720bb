//! A source: a database to protect, and how to reach it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::backup::words;
use crate::error::{Code, Error, Result};
use crate::id::Id;

words! {
    /// How much TLS a connection must have.
    Tls {
        /// Never.
        Disable = "disable",
        /// If the server offers it; its certificate is not checked.
        Prefer = "prefer",
        /// Always; its certificate is not checked.
        Require = "require",
        /// Always, with a trusted certificate for this very host.
        VerifyFull = "verify-full",
    }
}

/// What a person can choose about a source beyond its address. Adapters refuse what they cannot honour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct SourceOptions {
    /// `custom` or `plain` (PostgreSQL).
    pub format: Option<String>,
    /// How much TLS.
    pub tls: Option<Tls>,
    /// A folder searched first for this source's tools.
    pub tool_path: Option<String>,
    /// Only tables that match one of these globs (`schema.table`).
    pub include: Vec<String>,
    /// No table that matches one of these globs.
    pub exclude: Vec<String>,
    /// Leave owners out of the dump.
    pub no_owner: bool,
    /// Leave privileges (GRANT) out of the dump.
    pub no_privileges: bool,
    /// Leave large objects out of the dump.
    pub no_large_objects: bool,
}

/// A database to protect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Source {
    /// Identity.
    pub id: Id,
    /// The name a person gave it. Data: shown, compared, never interpreted.
    pub name: String,
    /// The canonical address, without a password.
    pub address: String,
    /// Choices.
    pub options: SourceOptions,
    /// Whether a password is kept in the secret store under this source's id.
    pub has_secret: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

impl Source {
    /// The parsed address.
    pub fn parsed(&self) -> Result<Address> {
        Address::parse(&self.address)
    }

    /// Which database the address points to, without how it is reached: the canonical address without user and options. Two texts may
    /// mean one database (`localhost` and `127.0.0.1`); the same text never means two as far as an address can tell.
    pub fn database_address(&self) -> String {
        match self.parsed() {
            Ok(address) => Address {
                user: None,
                query: std::collections::BTreeMap::new(),
                ..address
            }
            .to_string(),
            // Nothing that was ever backed up; whatever it is, it is no other database's address.
            Err(_) => self.address.clone(),
        }
    }
}

/// The longest name in bytes that a source, destination, plan or key may have.
pub const NAME_MAX: usize = 1024;

/// Checks a name: anything but nothing, NUL and more than [`NAME_MAX`] bytes.
///
/// # Errors
/// `USAGE`.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.trim().is_empty() {
        return Err(Error::new(Code::Usage, "name_empty"));
    }
    if name.contains('\0') {
        return Err(Error::new(Code::Usage, "name_nul"));
    }
    if name.len() > NAME_MAX {
        return Err(Error::new(Code::Usage, "name_long").with("max", NAME_MAX));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> String {
        Source {
            id: Id::new(),
            name: "shop".into(),
            address: address.into(),
            options: SourceOptions::default(),
            has_secret: false,
            created_at: DateTime::UNIX_EPOCH,
        }
        .database_address()
    }

    #[test]
    fn another_user_reaches_the_same_database_and_another_place_is_another() {
        let shop = at("postgres://joe@db.example:5433/shop");
        assert_eq!(shop, "postgres://db.example:5433/shop");
        assert_eq!(shop, at("postgres://anna@db.example:5433/shop"));
        assert_eq!(shop, at("postgres://db.example:5433/shop?application_name=x"));
        for other in [
            "postgres://joe@db.example:5434/shop",
            "postgres://joe@db.example:5433/shop2",
            "postgres://joe@db2.example:5433/shop",
            "postgres://joe@db.example/shop",
            "postgres:///shop?host=/run/postgresql",
            "sqlite:///srv/shop.db",
            "",
        ] {
            assert_ne!(shop, at(other), "{other}");
        }
        assert_ne!(at("sqlite:///srv/shop.db"), at("sqlite:///srv/shop.db2"));
    }
}
