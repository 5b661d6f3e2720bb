//! Deleting a backup: refused for what must not go, then in an order that a crash cannot turn into an artifact without a manifest.

use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::naming::manifest_key;
use coffre_model::{Cancel, Code, Error, Result};

use crate::aim::aim;
use crate::catalogue::{Filter, RowState};
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
        BackupState::Verified if only_verified(engine, &backup)? => return Err(refuse("delete_last_verified")),
        _ if backup.pinned => return Err(refuse("delete_pinned")),
        _ => engine.catalogue.begin_delete(&backup.id, &lease)?,
    };
    let outcome = remove_copies(engine, &backup, &lease, cancel);
    let subject = Subject {
        kind: "backup",
        id: Some(&backup.id),
        name: backup.code.as_str(),
    };
    engine.record("backup.delete", subject, outcome.as_ref().err())?;
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

/// Whether no other backup of this source is verified, or none of what the source points to now.
fn only_verified(engine: &Engine, backup: &Backup) -> Result<bool> {
    let source = engine.catalogue.known_source_by_id(&backup.source_id)?;
    if backup.aim.as_deref() == Some(aim(&source).as_str()) && engine.catalogue.proofs(&source)? < 2 {
        return Ok(true);
    }
    let verified = Filter {
        source: Some(backup.source_id),
        state: Some(BackupState::Verified),
        ..Filter::default()
    };
    Ok(engine.catalogue.list(&verified, 1, 2)?.total < 2)
}
