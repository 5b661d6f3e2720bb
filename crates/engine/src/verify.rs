//! Verifying copies again: what was green must stay true.

use coffre_model::backup::{Backup, BackupState, Copy, CopyState};
use coffre_model::database::Parsed;
use coffre_model::destination::Destination;
use coffre_model::manifest::Manifest;
use coffre_model::naming::manifest_key;
use coffre_model::progress::{Observer, Step};
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::Serialize;

use crate::catalogue::CopyResult;
use crate::check::{Expected, not_found, read_and_check, size_differs};
use crate::context::{Engine, Subject};
use crate::decrypt;
use crate::lease::{Lease, Resource};
use crate::place;
use crate::stream::{News, read_small};

/// The outcome for one copy.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The destination's name.
    pub copy: String,
    /// How deep the check went: `structure` (read, decrypted, decompressed and parsed to the end).
    pub level: &'static str,
    /// Whether it is what it must be.
    pub ok: bool,
    /// Why not.
    pub error: Option<Error>,
}

/// Verifies every copy of a backup (or the one at `only`), records what was found, and answers the backup as it stands then.
/// A destination that cannot be reached says nothing about its copy: its state stays, the check says why.
///
/// # Errors
/// `BUSY` while something else works on this backup; `NOT_FOUND` for a copy that does not exist; `REFUSED` for a backup that has
/// nothing to verify. Damage is not an error of this function: it is in the checks.
pub fn verify(
    engine: &Engine,
    backup: &Backup,
    only: Option<&str>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Backup, Vec<Check>)> {
    let lease = lock(engine, backup, cancel)?;
    let backup = engine.catalogue.backup(&backup.id.to_string())?;
    let gone = |c: &Copy| matches!(c.state, CopyState::Deleted | CopyState::Deleting);
    let copies: Vec<&Copy> = backup
        .copies
        .iter()
        .filter(|c| !gone(c) && only.is_none_or(|name| c.destination == name || c.destination_id.to_string() == name))
        .collect();
    if copies.is_empty() {
        return Err(match only {
            Some(name) => Error::new(Code::NotFound, "copy_unknown")
                .with("destination", name)
                .with("backup", backup.code.as_str()),
            None => Error::new(Code::Refused, "nothing_to_verify")
                .with("backup", backup.code.as_str())
                .with("state", backup.state.as_str()),
        });
    }
    let manifest = engine.manifest(&backup.id)?;
    let mut checks = Vec::new();
    for copy in copies {
        cancel.check()?;
        let outcome = check_copy(engine, &backup, manifest.as_ref(), copy, observer, cancel);
        let (state, error) = match &outcome {
            Ok(_) => (Some(CopyState::Verified), None),
            Err(error) => (judge(error), Some(error.clone())),
        };
        if let Err(error) = outcome
            && matches!(error.code(), Code::Cancelled | Code::Interrupted)
        {
            return Err(error);
        }
        lease.check()?;
        if let Some(state) = state {
            record(engine, &backup, copy, state, error.clone(), &lease)?;
        }
        note(engine, &backup, copy, error.as_ref())?;
        let subject = Subject {
            kind: "backup",
            id: Some(&backup.id),
            name: backup.code.as_str(),
        };
        engine.record("backup.verify", subject, error.as_ref())?;
        checks.push(Check {
            copy: copy.destination.clone(),
            level: "structure",
            ok: error.is_none(),
            error,
        });
    }
    Ok((engine.catalogue.backup(&backup.id.to_string())?, checks))
}

/// The lease of everything that reads or removes one backup's copies.
pub fn lock(engine: &Engine, backup: &Backup, cancel: &Cancel) -> Result<Lease> {
    Lease::acquire(
        &engine.catalogue,
        &Resource::Backup(backup.id),
        &Id::new(),
        engine.lease()?,
        cancel,
    )
    .map_err(|e| e.with("backup", backup.code.as_str()))
}

/// Writes down what a reading found of one copy.
pub fn record(
    engine: &Engine,
    backup: &Backup,
    copy: &Copy,
    state: CopyState,
    error: Option<Error>,
    lease: &Lease,
) -> Result<()> {
    let verified_at = (state == CopyState::Verified).then(|| (engine.now)());
    let result = CopyResult {
        destination_id: copy.destination_id,
        state,
        verified_at,
        error,
    };
    engine.catalogue.record_verification(&backup.id, &[result], lease).map(drop)
}

/// Writes down what a verification came to, for whoever is told of it. What could not even be tried says nothing.
fn note(engine: &Engine, backup: &Backup, copy: &Copy, error: Option<&Error>) -> Result<()> {
    let untried = |error: &Error| matches!(error.code(), Code::Busy | Code::Usage | Code::Refused);
    if error.is_some_and(untried) {
        return Ok(());
    }
    engine
        .catalogue
        .note_reading(&backup.id, &copy.destination_id, (engine.now)(), error)
}

/// What an error says about the copy; nothing where it only says that the place or the key could not be had.
pub fn judge(error: &Error) -> Option<CopyState> {
    match error.code() {
        Code::NotFound => Some(CopyState::Missing),
        Code::VerifyMismatch | Code::ArchiveUnsafe => Some(CopyState::Corrupt),
        // The hash of the stored bytes is looked at first: where it is right, only the key can be wrong.
        _ => None,
    }
}

/// Asks a destination whether the copies that protection rests on are still there: the newest verified backup of each source, and where
/// that one is gone, the next. Reads no copy, so nothing becomes green by it; what is gone or has another size is recorded, and answered.
///
/// # Errors
/// Why the destination cannot be asked: then nothing is known, and nothing recorded.
pub fn look_for_lost(engine: &Engine, destination: &Destination, cancel: &Cancel) -> Result<Vec<(Backup, Error)>> {
    let place = place::open(engine, destination, cancel)?;
    let mut lost = Vec::new();
    for source in engine.catalogue.sources()? {
        // Where it was never backed up since it points elsewhere, the old ones are the last there is.
        while let Some(newest) = match engine.catalogue.latest_proof(&source)? {
            Some(proof) => Some(proof),
            None => engine.catalogue.latest(&source.id, true)?,
        } {
            cancel.check()?;
            let Some((backup, error)) = lost_copy(engine, &newest, &place, cancel)? else {
                break;
            };
            let judged = backup.state;
            lost.push((backup, error));
            // Another copy of it is good: it is still the newest.
            if judged == BackupState::Verified {
                break;
            }
        }
    }
    Ok(lost)
}

/// Looks at one backup's copy at one place; answers the backup as it is afterwards where that copy was lost.
fn lost_copy(engine: &Engine, backup: &Backup, place: &place::Place, cancel: &Cancel) -> Result<Option<(Backup, Error)>> {
    let of_place = |backup: &Backup| {
        let verified = |c: &&Copy| c.destination_id == place.destination.id && c.state == CopyState::Verified;
        backup.copies.iter().find(verified).cloned()
    };
    let look = |copy: &Copy| match place.storage.stat(&copy.key)? {
        None => Ok(Some(not_found(place.storage.as_ref(), &copy.key))),
        Some(about) if about.bytes != copy.stored_bytes => Ok(Some(size_differs(
            place.storage.as_ref(),
            &copy.key,
            copy.stored_bytes,
            about.bytes,
        ))),
        Some(_) => Ok::<_, Error>(None),
    };
    let Some(copy) = of_place(backup) else { return Ok(None) };
    if look(&copy)?.is_none() {
        return Ok(None);
    }
    // Asked again under its lease: whoever is deleting it makes it vanish rightly.
    let lease = match lock(engine, backup, cancel) {
        Ok(lease) => lease,
        Err(error) if error.code() == Code::Busy => return Ok(None),
        Err(error) => return Err(error),
    };
    let backup = engine.catalogue.backup(&backup.id.to_string())?;
    let Some(copy) = of_place(&backup) else { return Ok(None) };
    let (Some(error), BackupState::Verified) = (look(&copy)?, backup.state) else {
        return Ok(None);
    };
    let state = judge(&error).unwrap_or(CopyState::Missing);
    record(engine, &backup, &copy, state, Some(error.clone()), &lease)?;
    note(engine, &backup, &copy, Some(&error))?;
    let subject = Subject {
        kind: "backup",
        id: Some(&backup.id),
        name: backup.code.as_str(),
    };
    engine.record("backup.verify", subject, Some(&error))?;
    Ok(Some((engine.catalogue.backup(&backup.id.to_string())?, error)))
}

/// Reads one copy and its manifest to the end.
pub fn check_copy(
    engine: &Engine,
    backup: &Backup,
    manifest: Option<&Manifest>,
    copy: &Copy,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Parsed> {
    let destination = engine.catalogue.known_destination(&copy.destination_id.to_string())?;
    let place = place::open(engine, &destination, cancel)?;
    let storage = place.storage.as_ref();
    if storage.stat(&copy.key)?.is_none() {
        return Err(not_found(storage, &copy.key));
    }
    let beside = manifest_beside(storage, &copy.key)?;
    let edited = manifest.map_or(Ok(false), |known| differs(known, &beside))?;
    if edited || beside.backup.id != backup.id || beside.backup.sha256 != backup.sha256 {
        return Err(Error::new(Code::VerifyMismatch, "manifest_other")
            .with("key", manifest_key(&copy.key))
            .with("place", storage.place()));
    }
    let manifest = manifest.unwrap_or(&beside);
    let decryption = decrypt::for_backup(engine, backup, Some(manifest))?;
    let expected = expected(engine, backup, manifest, &decryption)?;
    let mut news = News::new(observer, Some(backup.id), Step::Verifying, backup.stored_bytes, false);
    read_and_check(storage, &copy.key, &expected, engine.stall()?, cancel, &mut |n| news.tell(n))
}

/// Whether a manifest at a destination says anything else than the one that the catalogue keeps: counts, sizes, the recovery commands, …
/// Each destination's manifest knows only of the copies that were there when it was written.
fn differs(known: &Manifest, beside: &Manifest) -> Result<bool> {
    let told = |manifest: &Manifest| -> Result<serde_json::Value> {
        let mut value = serde_json::to_value(manifest).map_err(|e| Error::internal("read a manifest", e))?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("copies");
            fields.remove("flags");
        }
        Ok(value)
    };
    Ok(told(known)? != told(beside)?)
}

/// What a backup's artifact must turn out to be, from its manifest.
pub fn expected<'a>(
    engine: &Engine,
    backup: &'a Backup,
    manifest: &'a Manifest,
    decryption: &'a crate::pipeline::Decryption,
) -> Result<Expected<'a>> {
    Ok(Expected {
        stored_bytes: backup.stored_bytes,
        stored_sha256: backup.sha256.as_deref(),
        raw_bytes: backup.raw_bytes,
        raw_sha256: backup.raw_sha256.as_deref(),
        counts: Some(&manifest.table_counts),
        compression: backup.compression,
        decryption,
        kind: engine.adapters.database_named(&manifest.database)?,
        format: manifest.format,
    })
}

/// The manifest that lies beside a copy.
///
/// # Errors
/// `VERIFY_MISMATCH` where it is missing or cannot be read: an artifact without a manifest is not a backup.
pub fn manifest_beside(storage: &dyn coffre_model::storage::Storage, artifact: &str) -> Result<Manifest> {
    let key = manifest_key(artifact);
    let bytes = read_small(storage, &key)?.ok_or_else(|| {
        Error::new(Code::VerifyMismatch, "manifest_missing")
            .with("key", key.as_str())
            .with("place", storage.place())
    })?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(Code::VerifyMismatch, "manifest_unreadable")
            .with("key", key.as_str())
            .with("place", storage.place())
            .with("cause", e.to_string())
    })
}
