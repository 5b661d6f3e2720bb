//! Deleting a backup: announced, carried out at the destinations by others, then recorded. The row stays.

use coffre_model::backup::{Backup, BackupState};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, params};

use super::Catalogue;
use super::backups::by_id;
use super::fault::Fault;
use super::names::{listed, some_names};
use super::row::{change, count};
use crate::lease::Lease;

impl Catalogue {
    /// Announces a deletion: the backup and its copies become `deleting`. Called again for one that an interrupted deletion left
    /// behind, it goes on with it. Answers the backup as it is now.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`); `NOT_FOUND`, also for one that is deleted; `REFUSED` for one that runs, or that others build on.
    pub fn begin_delete(&self, backup_id: &Id, lease: &Lease) -> Result<Backup> {
        self.write(|c| {
            lease.fenced(c)?;
            let backup = by_id(c, &backup_id.to_string())?;
            match backup.state {
                BackupState::Deleted => return Err(super::backups::absent(backup.code.as_str())),
                BackupState::Running => {
                    return Err(Fault::Ours(
                        Error::new(Code::Refused, "run_not_over").with("run", backup_id.to_string()),
                    ));
                }
                _ => {}
            }
            let dependents = some_names(
                c,
                "SELECT code FROM backups WHERE base_id = ?1 AND state NOT IN ('deleted', 'deleting', 'skipped', 'missed') ORDER BY code",
                backup_id,
            )?;
            if !dependents.is_empty() {
                return Err(Fault::Ours(
                    Error::new(Code::Refused, "backup_is_base")
                        .with("code", backup.code.as_str())
                        .with("dependents", listed(&dependents)),
                ));
            }
            change(
                c,
                "UPDATE backups SET state = 'deleting', resource = ?2, fence = ?3 WHERE id = ?1",
                params![backup_id.to_string(), lease.resource(), lease.fence()],
            )?;
            change(
                c,
                "UPDATE copies SET state = 'deleting' WHERE backup_id = ?1 AND state <> 'deleted'",
                [backup_id.to_string()],
            )?;
            by_id(c, &backup_id.to_string())
        })
    }

    /// Records that one copy is gone from its destination.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`).
    pub fn copy_deleted(&self, backup_id: &Id, destination_id: &Id, lease: &Lease) -> Result<()> {
        self.write(|c| {
            lease.fenced(c)?;
            change(
                c,
                "UPDATE copies SET state = 'deleted' WHERE backup_id = ?1 AND destination_id = ?2 AND state = 'deleting'",
                params![backup_id.to_string(), destination_id.to_string()],
            )?;
            Ok(())
        })
    }

    /// Records that a backup is gone: `deleted`, without manifest and counts.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`); `REFUSED` while a copy is not recorded as deleted.
    pub fn finish_delete(&self, backup_id: &Id, lease: &Lease) -> Result<()> {
        self.write(|c| {
            lease.fenced(c)?;
            forget(c, backup_id)
        })
    }
}

fn forget(connection: &Connection, backup_id: &Id) -> Result<(), Fault> {
    let id = backup_id.to_string();
    let left = count(
        connection,
        "SELECT COUNT(*) FROM copies WHERE backup_id = ?1 AND state <> 'deleted'",
        [&id],
    )?;
    if left > 0 {
        return Err(Fault::Ours(Error::new(Code::Refused, "copies_left").with("copies", left)));
    }
    change(connection, "UPDATE backups SET state = 'deleted' WHERE id = ?1", [&id])?;
    change(connection, "DELETE FROM manifests WHERE backup_id = ?1", [&id])?;
    change(connection, "DELETE FROM table_counts WHERE backup_id = ?1", [&id])?;
    Ok(())
}
