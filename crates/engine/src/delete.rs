//! Deleting a backup: refused for what must not go, then in an order that a crash cannot turn into an artifact without a manifest.

use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::journal::Author;
use coffre_model::naming::manifest_key;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::catalogue::RowState;
use crate::context::{Engine, Subject};
use crate::lease::Lease;
use crate::place;
use crate::verify::lock;

/// Deletes a backup with all its copies. The row stays as a record.
///
/// # Errors
/// `REFUSED` for a pinned backup, for one that is running, and for the last verified one of its source; `BUSY` while it is read;
/// what a destination says, then the backup stays `deleting` and the next start goes on.
pub fn delete(engine: &Engine, backup: &Backup, cancel: &Cancel) -> Result<Backup> {
    let lease = lock(engine, backup, cancel)?;
    let backup = engine.catalogue.backup(&backup.id.to_string())?;
    let refuse = |text: &'static str| {
        Error::new(Code::Refused, text)
            .with("backup", backup.code.as_str())
            .with("source", backup.source.as_str())
    };
    let backup = match backup.state {
        BackupState::Running => return Err(refuse("delete_running")),
        BackupState::Deleted => return Err(Error::new(Code::NotFound, "already_deleted").with("backup", backup.code.as_str())),
        _ => engine.catalogue.begin_delete_unless_last(&backup.id, &lease)?,
    };
    finish(engine, &backup, &lease, engine.author, cancel)
}

/// Deletes a backup that retention chose, for `author`, if it is due and nobody has taken it back meanwhile; nothing then. Every destination is asked
/// first: where one does not answer, nothing of the backup is touched.
///
/// # Errors
/// Those of [`delete`].
pub fn delete_chosen(engine: &Engine, id: &Id, author: Author, cancel: &Cancel) -> Result<Option<Backup>> {
    let backup = engine.catalogue.backup(&id.to_string())?;
    let lease = lock(engine, &backup, cancel)?;
    let backup = engine.catalogue.backup(&id.to_string())?;
    let is_due = backup.leaves_at.is_some_and(|at| at <= (engine.now)()) && !backup.pinned;
    if !is_due
        || matches!(
            backup.state,
            BackupState::Running | BackupState::Deleting | BackupState::Deleted
        )
    {
        return Ok(None);
    }
    for copy in backup.copies.iter().filter(|c| c.state != CopyState::Deleted) {
        place::open(
            engine,
            &engine.catalogue.known_destination(&copy.destination_id.to_string())?,
            cancel,
        )
        .map_err(|e| e.or_with("backup", backup.code.as_str()))?;
    }
    let backup = engine.catalogue.begin_delete_unless_last(&backup.id, &lease)?;
    finish(engine, &backup, &lease, author, cancel).map(Some)
}

fn finish(engine: &Engine, backup: &Backup, lease: &Lease, author: Author, cancel: &Cancel) -> Result<Backup> {
    let outcome = remove_copies(engine, backup, lease, cancel);
    let subject = Subject {
        kind: "backup",
        id: Some(&backup.id),
        name: backup.code.as_str(),
    };
    engine.record_by(author, "backup.delete", subject, outcome.as_ref().err())?;
    outcome?;
    engine.catalogue.backup(&backup.id.to_string())
}

/// Removes what is left of a backup that is being deleted, then closes its row. Idempotent.
pub fn remove_copies(engine: &Engine, backup: &Backup, lease: &Lease, cancel: &Cancel) -> Result<()> {
    for copy in engine
        .catalogue
        .copies(&backup.id)?
        .into_iter()
        .filter(|c| c.state != RowState::Shown(CopyState::Deleted))
    {
        let destination = engine.catalogue.known_destination(&copy.destination_id.to_string())?;
        let place = place::open(engine, &destination, cancel)?;
        // The artifact first: a manifest alone is a record of something gone, an artifact alone would look like a backup.
        place.storage.remove(&copy.key)?;
        place.storage.remove(&manifest_key(&copy.key))?;
        engine.catalogue.copy_deleted(&backup.id, &copy.destination_id, lease)?;
    }
    engine.catalogue.finish_delete(&backup.id, lease)
}
