//! Settings as they were set; defaults and checks are the model's, overrides from the environment the shell's.

use coffre_model::Result;

use super::Catalogue;
use super::row::{all, change, one};

impl Catalogue {
    /// The value that somebody set, or nothing.
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        self.read(|c| {
            one(c, "settings", "SELECT value FROM settings WHERE key = ?1", [key], |row| {
                row.text("value")
            })
        })
    }

    /// Every value that somebody set, by key.
    pub fn settings(&self) -> Result<Vec<(String, String)>> {
        self.read(|c| {
            all(c, "settings", "SELECT key, value FROM settings ORDER BY key", [], |row| {
                Ok((row.text("key")?, row.text("value")?))
            })
        })
    }

    /// Sets a value. The caller has checked it.
    pub fn set_setting(&self, key: &str, value: &str) -> Result<()> {
        self.write(|c| {
            change(
                c,
                "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key, value],
            )?;
            Ok(())
        })
    }

    /// Back to the default.
    pub fn unset_setting(&self, key: &str) -> Result<()> {
        self.write(|c| {
            change(c, "DELETE FROM settings WHERE key = ?1", [key])?;
            Ok(())
        })
    }
}
