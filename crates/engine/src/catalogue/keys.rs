//! Encryption keys: what is public about them.

use chrono::{DateTime, Utc};
use coffre_model::key::{Key, KeyKind};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, params};

use super::Catalogue;
use super::fault::Fault;
use super::names::{KEY, listed, some_names};
use super::row::{Reading, all, change, count, one, opt_time, time_text};

impl Catalogue {
    /// Adds a key.
    ///
    /// # Errors
    /// `REFUSED` (`name_taken`), `USAGE` for a name that cannot be one.
    pub fn add_key(&self, key: &Key) -> Result<()> {
        self.write(|c| {
            KEY.must_be_free(c, &key.name, &key.id)?;
            change(
                c,
                "INSERT INTO keys (id, name, kind, recipient, created_at, exported_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    key.id.to_string(),
                    key.name,
                    key.kind.as_str(),
                    key.recipient,
                    time_text(key.created_at),
                    opt_time(key.exported_at)
                ],
            )?;
            Ok(())
        })
    }

    /// The key with this exact name, or this id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn key(&self, name_or_id: &str) -> Result<Key> {
        self.read(|c| by_id(c, &KEY.resolve(c, name_or_id)?))
    }

    /// The key that opens a backup, whatever it is called now; nothing for a backup that is not encrypted.
    ///
    /// # Errors
    /// `NOT_FOUND` with the name that the backup gives, where this catalogue never had that key.
    pub fn key_of(&self, backup_id: &Id) -> Result<Option<Key>> {
        self.read(|c| {
            let found = one(
                c,
                "backups",
                "SELECT b.key_id, b.encryption, k.id AS by_recipient FROM backups b
                 LEFT JOIN manifests m ON m.backup_id = b.id
                 LEFT JOIN keys k ON k.recipient = json_extract(m.json, '$.recipient')
                 WHERE b.id = ?1 ORDER BY k.removed_at IS NOT NULL, k.id LIMIT 1",
                [backup_id.to_string()],
                |row| {
                    Ok((
                        row.opt_text("key_id")?.or(row.opt_text("by_recipient")?),
                        row.opt_text("encryption")?,
                    ))
                },
            )?;
            match found {
                None => Err(super::backups::absent(&backup_id.to_string())),
                // Known from a manifest alone, a key is found by what it encrypts to, or else (a passphrase) by its name.
                Some((Some(key), _)) => by_id(c, &key).map(Some),
                Some((None, Some(name))) => by_id(c, &KEY.resolve(c, &name)?).map(Some),
                Some((None, None)) => Ok(None),
            }
        })
    }

    /// Every key, by name.
    pub fn keys(&self) -> Result<Vec<Key>> {
        self.read(|c| {
            all(
                c,
                "keys",
                "SELECT * FROM keys WHERE removed_at IS NULL ORDER BY name",
                [],
                read,
            )
        })
    }

    /// Writes a key's name and when it was exported; what it encrypts with never changes.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REFUSED` (`name_taken`), `USAGE`.
    pub fn update_key(&self, key: &Key) -> Result<()> {
        self.write(|c| {
            KEY.must_live(c, &key.id)?;
            KEY.must_be_free(c, &key.name, &key.id)?;
            change(
                c,
                "UPDATE keys SET name = ?2, exported_at = ?3 WHERE id = ?1",
                params![key.id.to_string(), key.name, opt_time(key.exported_at)],
            )?;
            Ok(())
        })
    }

    /// Removes a key from the lists.
    ///
    /// # Errors
    /// `NOT_FOUND`; `REFUSED` while a plan uses it, naming the plans, or while a backup exists that only it opens, with their number.
    pub fn remove_key(&self, id: &Id, at: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            KEY.must_live(c, id)?;
            let plans = some_names(
                c,
                "SELECT name FROM plans WHERE key_id = ?1 AND removed_at IS NULL ORDER BY name",
                id,
            )?;
            if !plans.is_empty() {
                return Err(Fault::Ours(
                    Error::new(Code::Refused, "key_has_plans").with("plans", listed(&plans)),
                ));
            }
            let backups = count(
                c,
                "SELECT COUNT(*) FROM backups b WHERE b.key_id = ?1 AND b.state <> 'deleted' AND EXISTS (SELECT 1 FROM copies
                    WHERE backup_id = b.id AND state <> 'deleted')",
                [id.to_string()],
            )?;
            if backups > 0 {
                return Err(Fault::Ours(
                    Error::new(Code::Refused, "key_has_backups").with("backups", backups),
                ));
            }
            KEY.mark_removed(c, id, at)
        })
    }
}

fn by_id(connection: &Connection, id: &str) -> Result<Key, Fault> {
    one(connection, "keys", "SELECT * FROM keys WHERE id = ?1", [id], read)?.ok_or_else(|| KEY.absent(id))
}

fn read(row: &Reading<'_, '_>) -> Result<Key, Fault> {
    Ok(Key {
        id: row.id("id")?,
        name: row.text("name")?,
        kind: row.word("kind", KeyKind::parse)?,
        recipient: row.opt_text("recipient")?,
        created_at: row.time("created_at")?,
        exported_at: row.opt_time("exported_at")?,
    })
}
