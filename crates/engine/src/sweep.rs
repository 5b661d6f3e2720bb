//! Putting the dead to rest: runs whose process is gone. Called at every start, before anything else is done on this home.

use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::manifest::Manifest;
use coffre_model::naming::manifest_key;
use coffre_model::progress::Silent;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::catalogue::DeadRun;
use crate::context::{Engine, Subject};
use crate::delete::remove_copies;
use crate::lease::Lease;
use crate::place;
use crate::verify::{check_copy, manifest_beside};

/// What the sweep did, for whoever wants to tell.
#[derive(Default)]
pub struct Swept {
    /// Runs that are `interrupted` now.
    pub interrupted: Vec<Backup>,
    /// Runs that had reached their manifest: read back to the end and taken on as `verified`.
    pub adopted: Vec<Backup>,
    /// What could not be cleaned now (a destination does not answer); tried again at the next start.
    pub left: Vec<Error>,
}

/// Looks for runs in a live state without a live lease and ends them: a run whose manifest was written is verified to its end and
/// adopted, every other one loses its partials and becomes `interrupted`. Deletions that were cut off go on.
///
/// # Errors
/// Only the catalogue's own. A destination that does not answer leaves its leftovers for the next start.
pub fn sweep(engine: &Engine, cancel: &Cancel) -> Result<Swept> {
    let mut swept = Swept::default();
    engine.catalogue.interrupt_dead_restores(&engine.home, (engine.now)())?;
    for dead in engine.catalogue.dead_runs(&engine.home)? {
        let resource = match dead.backup.state {
            BackupState::Deleting => format!("backup:{}", dead.backup.id),
            _ => format!("source:{}", dead.backup.source_id),
        };
        // Another process that starts at this moment sweeps the same run: one of the two is enough.
        let lease = match Lease::acquire(&engine.catalogue, &engine.home, &resource, &Id::new(), engine.lease()?, cancel) {
            Ok(lease) => lease,
            Err(error) if error.code() == Code::Busy => continue,
            Err(error) => return Err(error),
        };
        // Between the look and the lease another sweep may have ended it.
        if engine.catalogue.backup(&dead.backup.id.to_string())?.state != dead.backup.state {
            continue;
        }
        if dead.backup.state == BackupState::Deleting {
            if let Err(error) = remove_copies(engine, &dead.backup, cancel) {
                swept.left.push(error);
            }
            continue;
        }
        match settle(engine, &dead, &lease, cancel, &mut swept.left) {
            Ok(Some(adopted)) => swept.adopted.push(adopted),
            Ok(None) => swept.interrupted.push(engine.catalogue.backup(&dead.backup.id.to_string())?),
            Err(error) => return Err(error),
        }
    }
    Ok(swept)
}

fn settle(engine: &Engine, dead: &DeadRun, lease: &Lease, cancel: &Cancel, left: &mut Vec<Error>) -> Result<Option<Backup>> {
    if let Some((manifest, copies)) = whole(engine, dead, cancel, left)? {
        let mut backup = manifest.backup.clone();
        backup.note.clone_from(&dead.backup.note);
        backup.pinned = dead.backup.pinned;
        for copy in &mut backup.copies {
            if !copies.contains(&copy.destination_id) && copy.state == CopyState::Verified {
                copy.state = CopyState::Missing;
                copy.error = Some(Error::new(Code::Interrupted, "interrupted"));
            }
        }
        let manifest = Manifest { backup, ..manifest };
        let text = serde_json::to_string(&manifest).map_err(|e| Error::internal("write a manifest", e))?;
        clean(engine, dead, &copies, cancel, left);
        engine.catalogue.finish_run(&manifest.backup, Some(&text), &manifest.table_counts, lease)?;
        let subject = Subject { kind: "backup", id: Some(&dead.backup.id), name: dead.backup.code.as_str() };
        engine.record("backup.adopt", subject, None)?;
        return Ok(Some(manifest.backup));
    }
    clean(engine, dead, &[], cancel, left);
    let error = Error::new(Code::Interrupted, "interrupted").with("backup", dead.backup.id.to_string());
    engine.catalogue.interrupt_run(&dead.backup.id, (engine.now)(), &error, lease)?;
    let subject = Subject { kind: "backup", id: Some(&dead.backup.id), name: dead.backup.code.as_str() };
    engine.record("backup.run", subject, Some(&error))?;
    Ok(None)
}

/// The manifest of a dead run, with the destinations where artifact and manifest lie and read back to their end.
fn whole(engine: &Engine, dead: &DeadRun, cancel: &Cancel, left: &mut Vec<Error>) -> Result<Option<(Manifest, Vec<Id>)>> {
    let mut found: Option<(Manifest, Vec<Id>)> = None;
    for copy in &dead.backup.copies {
        let outcome = (|| {
            let destination = engine.catalogue.destination_by_id(&copy.destination_id)?;
            let place = place::open(engine, &destination, cancel)?;
            if place.storage.stat(&manifest_key(&copy.key))?.is_none() {
                return Ok(None);
            }
            let manifest = manifest_beside(place.storage.as_ref(), copy)?;
            if manifest.backup.id != dead.backup.id {
                return Ok(None);
            }
            check_copy(engine, &manifest.backup, Some(&manifest), copy, &Silent, cancel)?;
            Ok(Some(manifest))
        })();
        match outcome {
            Ok(Some(manifest)) => found.get_or_insert_with(|| (manifest, Vec::new())).1.push(copy.destination_id),
            Ok(None) => {}
            Err(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted) => return Err(error),
            Err(error) => left.push(error),
        }
    }
    Ok(found)
}

/// Removes what a dead run left, but at the destinations in `keep`.
fn clean(engine: &Engine, dead: &DeadRun, keep: &[Id], cancel: &Cancel, left: &mut Vec<Error>) {
    for copy in dead.backup.copies.iter().filter(|c| !keep.contains(&c.destination_id)) {
        let outcome = (|| {
            let destination = engine.catalogue.destination_by_id(&copy.destination_id)?;
            let place = place::open(engine, &destination, cancel)?;
            place.storage.remove_partial(&copy.key)?;
            place.storage.remove_partial(&manifest_key(&copy.key))?;
            place.storage.remove(&copy.key)?;
            place.storage.remove(&manifest_key(&copy.key))
        })();
        if let Err(error) = outcome
            && error.code() != Code::DestUnreachable
        {
            left.push(error);
        }
    }
}
