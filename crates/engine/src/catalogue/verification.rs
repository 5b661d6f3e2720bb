//! What a verification found, and what it makes of the backup.

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::Catalogue;
use super::backups::by_id;
use super::fault::Fault;
use super::row::{change, json, opt_json, opt_time, time_text};
use super::states::state_after;
use crate::lease::Lease;

/// What was found at one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyResult {
    /// The destination's id.
    pub destination_id: Id,
    /// `Verified`, `Missing` or `Corrupt`. A destination that did not answer tells nothing: leave it out.
    pub state: CopyState,
    /// When it was read to its end. Needed for `Verified`; for the others nothing, and the last time stays.
    pub verified_at: Option<DateTime<Utc>>,
    /// Why it is missing or corrupt.
    pub error: Option<Error>,
}

/// What the last verification of a copy came to, where one of its verifications failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// When it was.
    pub at: DateTime<Utc>,
    /// Why it failed; nothing where it is good again.
    pub error: Option<Error>,
}

/// Under what a reading is written down: the copy of a backup at a destination.
const READING: &str = "reading:";
/// For how long it is known that a copy is good again.
const KNOWN: TimeDelta = TimeDelta::days(30);

impl Catalogue {
    /// Writes what a verification of a copy came to: a failure, also one that says nothing of the copy (its destination did not answer, its key is
    /// not there), or that it is good after one. A copy that never failed leaves nothing.
    pub fn note_reading(&self, backup: &Id, destination: &Id, at: DateTime<Utc>, error: Option<&Error>) -> Result<()> {
        let name = format!("{READING}{backup}:{destination}");
        if error.is_none() && self.clockwork::<Reading>(&name)?.is_none() {
            return Ok(());
        }
        self.write(|c| {
            // Those of backups that are gone, and of what has been good for long.
            change(
                c,
                "DELETE FROM clockwork WHERE substr(name, 1, length(?1)) = ?1
                    AND ((json_extract(value, '$.error') IS NULL AND json_extract(value, '$.at') < ?2)
                         OR NOT EXISTS (SELECT 1 FROM copies WHERE backup_id = substr(name, length(?1) + 1, 36)
                                        AND state NOT IN ('deleting', 'deleted')))",
                params![READING, time_text(at - KNOWN)],
            )?;
            let reading = Reading {
                at,
                error: error.cloned(),
            };
            change(
                c,
                "INSERT INTO clockwork (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![name, json(&reading)?],
            )
            .map(drop)
        })
    }

    /// What is known of copies whose verification failed once: backup, destination, the last reading.
    pub fn readings(&self) -> Result<Vec<(Id, Id, Reading)>> {
        let known = self.clockworks::<Reading>(READING)?;
        let parsed = known.into_iter().map(|(name, reading)| {
            let (backup, destination) = name.split_once(':')?;
            Some((backup.parse().ok()?, destination.parse().ok()?, reading))
        });
        // A name that is none was not written by us, and says nothing.
        Ok(parsed.flatten().collect())
    }

    /// Writes what a verification found, copies and backup in one transaction, under the fence. What the backup is afterwards follows from
    /// its copies ([`state_after`]). Answers the backup as it is now.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`); `NOT_FOUND`; `REFUSED` for a backup that runs or goes away.
    pub fn record_verification(&self, backup_id: &Id, results: &[CopyResult], lease: &Lease) -> Result<Backup> {
        self.write(|c| {
            lease.fenced(c)?;
            apply(c, backup_id, results)?;
            by_id(c, &backup_id.to_string())
        })
    }
}

/// The order keeps every rule true at every step: good news of copies, then the backup, then bad news of copies.
pub(super) fn apply(connection: &Connection, backup_id: &Id, results: &[CopyResult]) -> Result<(), Fault> {
    let before = by_id(connection, &backup_id.to_string())?;
    if !matches!(
        before.state,
        BackupState::Stored | BackupState::Verified | BackupState::Failed
    ) {
        return Err(Fault::Ours(
            Error::new(Code::Refused, "backup_not_verifiable")
                .with("code", before.code.as_str())
                .with("state", before.state.as_str()),
        ));
    }
    let found = |destination: &Id| results.iter().rev().find(|result| result.destination_id == *destination);
    let after = state_after(
        before.state,
        before
            .copies
            .iter()
            .map(|copy| found(&copy.destination_id).map_or(copy.state, |result| result.state)),
    );
    let write = |result: &CopyResult| -> Result<(), Fault> {
        let changed = change(
            connection,
            "UPDATE copies SET state = ?3, verified_at = COALESCE(?4, verified_at), error = ?5
             WHERE backup_id = ?1 AND destination_id = ?2 AND state <> 'writing'",
            params![
                backup_id.to_string(),
                result.destination_id.to_string(),
                result.state.as_str(),
                opt_time(result.verified_at),
                opt_json(result.error.as_ref())?
            ],
        )?;
        if changed == 0 {
            return Err(Fault::Ours(Error::internal("verification", "there is no such copy")));
        }
        Ok(())
    };
    let (good, bad): (Vec<_>, Vec<_>) = results.iter().partition(|result| result.state == CopyState::Verified);
    good.into_iter().try_for_each(write)?;
    let error = match after {
        BackupState::Verified => None,
        BackupState::Stored => before.error,
        // Why it is not good any more: the first copy that says so.
        _ => results
            .iter()
            .find_map(|result| result.error.clone())
            .or(before.error)
            .or_else(|| Some(Error::new(Code::VerifyMismatch, "no_good_copy"))),
    };
    change(
        connection,
        "UPDATE backups SET state = ?2, error = ?3 WHERE id = ?1",
        params![backup_id.to_string(), after.as_str(), error.as_ref().map(json).transpose()?],
    )?;
    bad.into_iter().try_for_each(write)
}
