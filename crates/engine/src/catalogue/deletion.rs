//! Deleting a backup: announced, carried out at the destinations by others, then recorded. The row stays.

use coffre_model::backup::{Backup, BackupState};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, params};

use super::Catalogue;
use super::backups::by_id;
use super::fault::Fault;
use super::names::{listed, some_names};
use super::row::{change, count};
use crate::aim::aim;
use crate::lease::Lease;

impl Catalogue {
    /// Announces a deletion: the backup and its copies become `deleting`. Called again for one that an interrupted deletion left
    /// behind, it goes on with it. Answers the backup as it is now.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`); `NOT_FOUND`, also for one that is deleted; `REFUSED` for one that runs, or that others build on.
    pub fn begin_delete(&self, backup_id: &Id, lease: &Lease) -> Result<Backup> {
        self.write(|c| announce(c, backup_id, lease))
    }

    /// Likewise, unless it is the last proof of its source: no other verified one, or none of what the source points to now. Asked and
    /// announced at once, so that two deletions at the same time cannot each count on what the other takes.
    ///
    /// # Errors
    /// Those of [`Catalogue::begin_delete`]; `REFUSED` (`delete_last_verified`, `delete_pinned`).
    pub fn begin_delete_unless_last(&self, backup_id: &Id, lease: &Lease) -> Result<Backup> {
        self.write(|c| {
            let backup = by_id(c, &backup_id.to_string())?;
            let refuse = |text| {
                let error = Error::new(Code::Refused, text).with("backup", backup.code.as_str());
                Err(Fault::Ours(error.with("source", backup.source.as_str())))
            };
            if backup.state == BackupState::Verified && is_last_proof(c, &backup)? {
                return refuse("delete_last_verified");
            }
            if backup.pinned {
                return refuse("delete_pinned");
            }
            announce(c, backup_id, lease)
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

/// Whether no other backup of its source is verified, or none of what the source points to now.
fn is_last_proof(connection: &Connection, backup: &Backup) -> Result<bool, Fault> {
    let source = super::sources::by_id(connection, &backup.source_id.to_string())?;
    let here = aim(&source);
    if backup.aim.as_deref() == Some(here.as_str()) {
        let others = count(
            connection,
            "SELECT COUNT(*) FROM backups WHERE source_id = ?1 AND aim = ?2 AND +state = 'verified' AND id <> ?3",
            params![backup.source_id.to_string(), here, backup.id.to_string()],
        )?;
        if others == 0 {
            return Ok(true);
        }
    }
    let others = count(
        connection,
        "SELECT COUNT(*) FROM backups WHERE source_id = ?1 AND +state = 'verified' AND id <> ?2",
        params![backup.source_id.to_string(), backup.id.to_string()],
    )?;
    Ok(others == 0)
}

fn announce(c: &Connection, backup_id: &Id, lease: &Lease) -> Result<Backup, Fault> {
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
