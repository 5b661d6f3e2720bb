//! What is remembered of replacements of live data: previews and their confirmations, what is needed after a kill, what is kept.

use chrono::{DateTime, Utc};
use coffre_model::replace::Replacement;
use coffre_model::restore::Restore;
use coffre_model::{Code, Error, Id, Result};
use rusqlite::params;

use super::Catalogue;
use super::fault::Fault;
use super::restores::read;
use super::row::{all, change, json, one, opt_id, opt_time, time_text};
use crate::lease::Lease;

/// A preview that a replacement carries the word of.
pub struct Preview {
    /// The fingerprint of what was shown.
    pub fingerprint: String,
    /// When it was shown.
    pub shown_at: DateTime<Utc>,
}

impl Catalogue {
    /// Remembers what a preview saw: the row's id is its confirmation.
    pub fn remember_preview(&self, id: &Id, fingerprint: &str) -> Result<()> {
        self.write(|c| {
            change(
                c,
                "UPDATE restores SET fingerprint = ?2 WHERE id = ?1",
                params![id.to_string(), fingerprint],
            )
            .map(drop)
        })
    }

    /// The preview behind a confirmation, which is good for exactly this backup (or file) and source, and not used yet. Does not use it up.
    ///
    /// # Errors
    /// `REFUSED`: unknown, used, or shown of something else.
    pub fn preview(&self, confirmation: &Id, backup: Option<&Id>, file: Option<&str>, source: &Id) -> Result<Preview> {
        let found = self.read(|c| {
            one(
                c,
                "restores",
                "SELECT * FROM restores WHERE id = ?1 AND mode = 'dry_run'",
                [confirmation.to_string()],
                |row| Ok((read(c, row)?, row.opt_text("fingerprint")?, row.opt_time("used_at")?)),
            )
        })?;
        let Some((restore, Some(fingerprint), None)) = found else {
            return Err(Error::new(Code::Refused, "confirmation_old"));
        };
        if restore.backup_id.as_ref() != backup || restore.file.as_deref() != file || restore.source_id.as_ref() != Some(source) {
            return Err(Error::new(Code::Refused, "confirmation_other"));
        }
        Ok(Preview {
            fingerprint,
            shown_at: restore.ended_at.unwrap_or(restore.started_at),
        })
    }

    /// Uses a confirmation up.
    ///
    /// # Errors
    /// `REFUSED` where somebody else has meanwhile.
    pub fn use_preview(&self, confirmation: &Id, at: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            let used = change(
                c,
                "UPDATE restores SET used_at = ?2 WHERE id = ?1 AND used_at IS NULL",
                params![confirmation.to_string(), time_text(at)],
            )?;
            match used {
                0 => Err(Fault::Ours(Error::new(Code::Refused, "confirmation_old"))),
                _ => Ok(()),
            }
        })
    }

    /// Writes down what is needed to finish or take back a replacement: before the first thing is made, and again when it changes.
    /// From now on it counts as unsettled.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`).
    pub fn keep_replacement(&self, id: &Id, replacement: &Replacement, lease: &Lease) -> Result<()> {
        self.write(|c| {
            lease.fenced(c)?;
            change(
                c,
                "UPDATE restores SET replacement = ?2, unsettled = 1 WHERE id = ?1",
                params![id.to_string(), json(replacement)?],
            )
            .map(drop)
        })
    }

    /// What was written down of a replacement.
    pub fn replacement(&self, id: &Id) -> Result<Option<Replacement>> {
        self.read(|c| {
            one(
                c,
                "restores",
                "SELECT replacement FROM restores WHERE id = ?1",
                [id.to_string()],
                |row| row.opt_json("replacement"),
            )
            .map(Option::flatten)
        })
    }

    /// It is known how a replacement (or its undo) ended: the row as it stands, in one transaction with that.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`).
    pub fn settle_replacement(&self, restore: &Restore, lease: &Lease) -> Result<()> {
        self.write(|c| {
            lease.fenced(c)?;
            super::restores::write(c, restore)?;
            change(c, "UPDATE restores SET unsettled = 0 WHERE id = ?1", [restore.id.to_string()]).map(drop)
        })
    }

    /// Something is begun whose end must be looked at if it is cut off (an undo).
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`).
    pub fn unsettle_replacement(&self, restore: &Restore, lease: &Lease) -> Result<()> {
        self.write(|c| {
            lease.fenced(c)?;
            super::restores::write(c, restore)?;
            change(c, "UPDATE restores SET unsettled = 1 WHERE id = ?1", [restore.id.to_string()]).map(drop)
        })
    }

    /// Replacements of which it is not known how they ended, oldest first. Some of them may be at work now.
    pub fn unsettled_replacements(&self) -> Result<Vec<Restore>> {
        self.read(|c| {
            all(
                c,
                "restores",
                "SELECT * FROM restores WHERE unsettled = 1 ORDER BY started_at, id",
                [],
                |row| read(c, row),
            )
        })
    }

    /// Replacements whose old data is kept, those first that are kept the shortest; of one source, or of all.
    pub fn kept_replacements(&self, source: Option<&Id>) -> Result<Vec<Restore>> {
        self.read(|c| {
            all(
                c,
                "restores",
                "SELECT * FROM restores WHERE kept_until IS NOT NULL AND (?1 IS NULL OR source_id = ?1) ORDER BY kept_until, id",
                [opt_id(source)],
                |row| read(c, row),
            )
        })
    }

    /// The newest replacement of a source that can still be taken back.
    pub fn last_undoable(&self, source: &Id) -> Result<Option<Restore>> {
        self.read(|c| {
            one(
                c,
                "restores",
                "SELECT * FROM restores WHERE source_id = ?1 AND state = 'done' AND mode = 'replace' ORDER BY started_at DESC, id DESC LIMIT 1",
                [source.to_string()],
                |row| read(c, row),
            )
        })
    }

    /// Writes how long what is kept stays, and how large it is.
    pub fn keep_until(&self, id: &Id, until: Option<DateTime<Utc>>, bytes: Option<u64>) -> Result<()> {
        self.write(|c| {
            change(
                c,
                "UPDATE restores SET kept_until = ?2, kept_bytes = ?3 WHERE id = ?1",
                params![id.to_string(), opt_time(until), super::row::opt_number(bytes)?],
            )
            .map(drop)
        })
    }
}
