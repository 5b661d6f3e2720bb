//! What a verification found, and what it makes of the backup.

use chrono::{DateTime, Utc};
use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, params};

use super::Catalogue;
use super::backups::by_id;
use super::fault::Fault;
use super::row::{change, json, opt_json, opt_time};
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

impl Catalogue {
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
