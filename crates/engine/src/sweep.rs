//! Putting the dead to rest: runs whose process is gone. Called at every start, before anything else is done on this home.

use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::manifest::Manifest;
use coffre_model::naming::manifest_key;
use coffre_model::progress::Silent;
use coffre_model::restore::Restore;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::catalogue::{DeadRun, KnownCopy};
use crate::context::{Engine, Subject};
use crate::delete::remove_copies;
use crate::lease::{Lease, Resource};
use crate::place::{self, Place};
use crate::scheduler;
use crate::undo::settle;
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
/// adopted, every other one becomes `interrupted` and loses what it left. Deletions that were cut off go on. Cheap where nothing died.
///
/// # Errors
/// Only the catalogue's own, and a cancellation. A destination that does not answer keeps its leftovers on record for the next start.
pub fn sweep(engine: &Engine, cancel: &Cancel) -> Result<Swept> {
    let mut swept = Swept::default();
    let end_servers = &mut |runtime: &std::path::Path| {
        let mut kinds = engine.adapters.databases().iter();
        kinds.try_for_each(|kind| kind.sweep_throw_away(runtime))
    };
    // What cannot be removed now is told, and must keep nobody from working.
    if let Err(error) = engine.home.sweep_after(end_servers) {
        swept.left.push(error);
    }
    for dead in engine.catalogue.dead_drills()? {
        if engine.catalogue.interrupt_drill(&dead.id, (engine.now)())? {
            let error = Error::new(Code::Interrupted, "drill_interrupted").with("drill", dead.id.to_string());
            let backup = engine.catalogue.backup(&dead.backup_id.to_string())?;
            let subject = Subject {
                kind: "drill",
                id: Some(&dead.id),
                name: backup.code.as_str(),
            };
            engine.record("drill.run", subject, Some(&error))?;
        }
    }
    // What was cut off over live data is known to be before or after when its row is put to rest below.
    swept.left.extend(settle(engine, cancel)?);
    for dead in engine.catalogue.dead_restores()? {
        // A folder that does not answer now keeps the file; that is told, and must not keep the dead restore alive.
        if let Err(error) = sweep_target(engine, &dead) {
            swept.left.push(error.or_with("restore", dead.id.to_string()));
        }
        if engine.catalogue.interrupt_restore(&dead.id, (engine.now)())? {
            let error = Error::new(Code::Interrupted, "restore_interrupted").with("restore", dead.id.to_string());
            engine.record(
                "restore.run",
                Subject {
                    kind: "restore",
                    id: Some(&dead.id),
                    name: &dead.target,
                },
                Some(&error),
            )?;
        }
    }
    for dead in engine.catalogue.dead_runs()? {
        let resource = match dead.backup.state {
            BackupState::Deleting => Resource::Backup(dead.backup.id),
            _ => Resource::Source(dead.backup.source_id),
        };
        // Another process that starts at this moment sweeps the same run: one of the two is enough.
        let lease = match Lease::acquire(&engine.catalogue, &resource, &Id::new(), engine.lease()?, cancel) {
            Ok(lease) => lease,
            Err(error) if error.code() == Code::Busy => continue,
            Err(error) => return Err(error),
        };
        // Between the look and the lease another sweep may have ended it.
        if engine.catalogue.backup(&dead.backup.id.to_string())?.state != dead.backup.state {
            continue;
        }
        if dead.backup.state == BackupState::Deleting {
            if let Err(error) = remove_copies(engine, &dead.backup, &lease, cancel) {
                swept.left.push(error);
            }
            continue;
        }
        match adopt(engine, &dead, &lease, cancel, &mut swept.left)? {
            Some(adopted) => swept.adopted.push(adopted),
            None => swept.interrupted.extend(interrupt(engine, &dead.backup)?),
        }
    }
    // After their runs: a slot is what its run was.
    scheduler::settle_dead(engine)?;
    swept.left.extend(clean_leftovers(engine, None, cancel)?);
    Ok(swept)
}

/// Takes back what a dead restore left beside its target.
fn sweep_target(engine: &Engine, dead: &Restore) -> Result<()> {
    let target = Source {
        id: dead.id,
        name: dead.target.clone(),
        address: dead.target.clone(),
        options: SourceOptions::default(),
        has_secret: false,
        created_at: dead.started_at,
    };
    engine.adapters.database(&target.parsed()?.scheme)?.sweep_target(&target)
}

fn interrupt(engine: &Engine, run: &Backup) -> Result<Option<Backup>> {
    if !engine.catalogue.interrupt_run(&run.id, (engine.now)())? {
        return Ok(None);
    }
    let backup = engine.catalogue.backup(&run.id.to_string())?;
    let subject = Subject {
        kind: "backup",
        id: Some(&run.id),
        name: run.code.as_str(),
    };
    engine.record("backup.run", subject, backup.error.as_ref())?;
    Ok(Some(backup))
}

/// Takes a dead run on as `verified` if, at one destination at least, its manifest lies beside an artifact that reads to its end.
fn adopt(engine: &Engine, dead: &DeadRun, lease: &Lease, cancel: &Cancel, left: &mut Vec<Error>) -> Result<Option<Backup>> {
    let Some((manifest, whole)) = whole(engine, dead, cancel, left)? else {
        return Ok(None);
    };
    let mut backup = manifest.backup.clone();
    // What is at the other destinations is not known to be whole: it stays on record as unfinished, and is cleaned.
    backup.copies.retain(|c| whole.contains(&c.destination_id));
    for copy in &mut backup.copies {
        copy.state = CopyState::Verified;
        copy.verified_at = Some((engine.now)());
        copy.error = None;
    }
    if whole.len() < dead.copies.len() && !backup.flags.iter().any(|f| f == "copies_missing") {
        backup.flags.push("copies_missing".to_owned());
    }
    let manifest = Manifest { backup, ..manifest };
    let text = serde_json::to_string(&manifest).map_err(|e| Error::internal("write a manifest", e))?;
    let adopted = engine
        .catalogue
        .finish_run(&manifest.backup, Some(&text), &manifest.table_counts, lease)?;
    let subject = Subject {
        kind: "backup",
        id: Some(&adopted.id),
        name: adopted.code.as_str(),
    };
    engine.record("backup.adopt", subject, None)?;
    Ok(Some(adopted))
}

/// The manifest of a dead run, with the destinations where it lies beside a whole artifact.
fn whole(engine: &Engine, dead: &DeadRun, cancel: &Cancel, left: &mut Vec<Error>) -> Result<Option<(Manifest, Vec<Id>)>> {
    let mut found: Option<(Manifest, Vec<Id>)> = None;
    for copy in &dead.copies {
        match whole_at(engine, &dead.backup, copy, cancel) {
            Ok(Some(manifest)) => found
                .get_or_insert_with(|| (manifest, Vec::new()))
                .1
                .push(copy.destination_id),
            Ok(None) => {}
            Err(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted) => return Err(error),
            Err(error) => left.push(error),
        }
    }
    Ok(found)
}

fn whole_at(engine: &Engine, run: &Backup, known: &KnownCopy, cancel: &Cancel) -> Result<Option<Manifest>> {
    let place = open(engine, known, cancel)?;
    let there = place.storage.stat(&manifest_key(&known.key));
    if unreachable(&there) || there?.is_none() {
        return Ok(None);
    }
    let manifest = manifest_beside(place.storage.as_ref(), &known.key)?;
    let copy = manifest
        .backup
        .copies
        .iter()
        .find(|c| c.destination_id == known.destination_id)
        .cloned();
    let (Some(copy), true) = (copy, manifest.backup.id == run.id) else {
        return Ok(None);
    };
    check_copy(engine, &manifest.backup, Some(&manifest), &copy, &Silent, cancel)?;
    Ok(Some(manifest))
}

fn open(engine: &Engine, known: &KnownCopy, cancel: &Cancel) -> Result<Place> {
    place::open(
        engine,
        &engine.catalogue.known_destination(&known.destination_id.to_string())?,
        cancel,
    )
}

/// A folder that was never made holds nothing of ours: no reason to keep anything on record.
fn unreachable<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(|e| e.code() == Code::DestUnreachable)
}

/// Removes what runs that are over left at their destinations (of one run, or of all), and answers what could not be removed now: that
/// stays on record and is tried again at the next start.
///
/// # Errors
/// The catalogue's own.
pub fn clean_leftovers(engine: &Engine, only: Option<&Id>, cancel: &Cancel) -> Result<Vec<Error>> {
    let mut left = Vec::new();
    for leftover in engine.catalogue.leftovers()? {
        if only.is_some_and(|id| *id != leftover.backup_id) {
            continue;
        }
        let known = engine.catalogue.known_destination(&leftover.destination_id.to_string())?;
        let outcome = place::open(engine, &known, cancel).and_then(|place| {
            let storage = place.storage.as_ref();
            storage.remove_partial(&leftover.key)?;
            storage.remove_partial(&manifest_key(&leftover.key))?;
            // The artifact before its manifest, so that there is never an artifact without one longer than there was.
            storage.remove(&leftover.key)?;
            storage.remove(&manifest_key(&leftover.key)).map(drop)
        });
        match outcome {
            Ok(()) => engine
                .catalogue
                .drop_copy(&leftover.backup_id, &leftover.destination_id, None)?,
            // Never used: the folder was not made yet.
            Err(error) if error.code() == Code::DestUnreachable && known.identity.is_none() => {
                engine
                    .catalogue
                    .drop_copy(&leftover.backup_id, &leftover.destination_id, None)?;
            }
            Err(error) => left.push(error),
        }
    }
    Ok(left)
}
