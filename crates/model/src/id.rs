//! Identities: UUIDv7 for everything, and the readable code of a backup.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A UUIDv7: unique, and sorted by the time of its making.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[cfg_attr(feature = "typescript", ts(type = "string"))]
pub struct Id(Uuid);

impl Id {
    /// A fresh identity. The clock is read inside, as the format demands.
    #[allow(clippy::new_without_default, reason = "an id is made on purpose, never by default")]
    pub fn new() -> Self {
        Id(Uuid::now_v7())
    }

    /// Eight hexadecimal digits of the random tail: short, for names of folders.
    pub fn short(&self) -> String {
        let hex = self.0.simple().to_string();
        hex[24..].to_owned()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        // Only the usual form with hyphens: other spellings of one id would make two names for one thing.
        if text.len() != 36 {
            return Err(());
        }
        Uuid::try_parse(text).map(Id).map_err(|_| ())
    }
}

/// The readable name of a backup: `BKP-20260205211302-IWD8` (UTC time of its start, four random letters or digits).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[cfg_attr(feature = "typescript", ts(type = "string"))]
pub struct BackupCode(String);

impl BackupCode {
    /// The code for a backup that starts at `at`; the four characters come from `id`'s random part.
    pub fn new(at: DateTime<Utc>, id: &Id) -> Self {
        // No 0, 1, I or O: codes are read aloud and typed at three in the morning.
        const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        let random = id.0.as_u128();
        let tail: String = (0..4)
            .map(|i| char::from(ALPHABET[((random >> (i * 5)) & 31) as usize]))
            .collect();
        BackupCode(format!("BKP-{}-{tail}", at.format("%Y%m%d%H%M%S")))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a code back, if it has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("BKP-")?;
        let (digits, tail) = rest.split_once('-')?;
        (digits.len() == 14
            && digits.bytes().all(|b| b.is_ascii_digit())
            && tail.len() == 4
            && tail.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
        .then(|| BackupCode(text.to_owned()))
    }
}

impl fmt::Display for BackupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_nothing_else_does() {
        let code = BackupCode::new("2026-02-05T21:13:02Z".parse().unwrap(), &Id::new());
        assert!(code.as_str().starts_with("BKP-20260205211302-"));
        assert_eq!(BackupCode::parse(code.as_str()), Some(code));
        for wrong in [
            "",
            "BKP-",
            "BKP-2026-IWD8",
            "BKP-20260205211302-iwd8",
            "../BKP-20260205211302-IWD8",
        ] {
            assert_eq!(BackupCode::parse(wrong), None);
        }
    }
}
