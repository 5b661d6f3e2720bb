//! Making a backup: dump → compress → encrypt → hash → destinations → read back → manifest → catalogue.
//!
//! The order is the safety: nothing has a final name before the dump was read to its end without an error, nothing has a manifest
//! before it was read back from where it lies, and nothing is green before its manifest is there.

use chrono::{DateTime, Utc};
use coffre_model::backup::{Backup, BackupState, BackupType, Copy, CopyState, Kind, Trigger};
use coffre_model::compression::Compression;
use coffre_model::database::{DatabaseKind, DumpFacts, DumpFormat};
use coffre_model::destination::Destination;
use coffre_model::journal::Author;
use coffre_model::key::Key;
use coffre_model::manifest::{self, Manifest, Part};
use coffre_model::naming::{artifact_key, manifest_key};
use coffre_model::plan::Plan;
use coffre_model::progress::{Observer, Step};
use coffre_model::source::Source;
use coffre_model::{BackupCode, Cancel, Code, Error, Id, Result};

use crate::aim::aim;
use crate::check::{Expected, read_and_check};
use crate::context::{Engine, Subject};
use crate::decrypt;
use crate::hooks;
use crate::lease::{Lease, Resource};
use crate::pipeline::{StoreOptions, store};
use crate::place::{self, Place};
use crate::recovery_sheet;
use crate::sentinel;
use crate::stream::{News, put_small};
use crate::sweep::clean_leftovers;

/// What to back up, where to, and how.
pub struct Job {
    /// The source.
    pub source: Source,
    /// The plan, if one asks for it.
    pub plan: Option<Plan>,
    /// At least one.
    pub destinations: Vec<Destination>,
    /// What started it.
    pub trigger: Trigger,
    /// Compression.
    pub compression: Compression,
    /// Encryption.
    pub key: Option<Key>,
    /// A person's remark.
    pub note: String,
    /// Never to be removed by retention.
    pub pinned: bool,
}

/// Makes one backup and answers it. With several destinations it is `verified` when at least one copy is; the others carry their
/// errors, and the flag `copies_missing` says so.
///
/// # Errors
/// `BUSY` (nothing was recorded) where this source is being backed up already; else whatever went wrong, which is also in the
/// catalogue's row, with the facts `backup` and `code`.
pub fn back_up(engine: &Engine, job: &Job, observer: &dyn Observer, cancel: &Cancel) -> Result<Backup> {
    let kind = engine.adapters.database(&job.source.parsed()?.scheme)?;
    let id = Id::new();
    let lease = Lease::acquire(
        &engine.catalogue,
        &Resource::Source(job.source.id),
        &id,
        engine.lease()?,
        cancel,
    )?;
    let started_at = (engine.now)();
    let mut backup = new_run(job, id, started_at);
    let format = kind.dump_format(&job.source);
    let key = artifact_key(
        &job.source.name,
        &job.source.id,
        started_at,
        &backup.code,
        format,
        job.compression,
        job.key.is_some(),
    );
    let keys: Vec<(Id, String)> = job.destinations.iter().map(|d| (d.id, key.clone())).collect();
    engine.catalogue.begin_run(&backup, &keys, &lease)?;

    let outcome = hooks::before(engine, job, &backup, cancel)
        .and_then(|remark| attempt(engine, job, kind, &key, &mut backup, remark, &lease, observer, cancel));
    let end = end_time(engine, started_at);
    match outcome {
        Ok(manifest) => {
            let text = serde_json::to_string(&manifest).map_err(|e| Error::internal("write a manifest", e))?;
            let done = engine
                .catalogue
                .finish_run(&manifest.backup, Some(&text), &manifest.table_counts, &lease)?;
            let subject = Subject {
                kind: "backup",
                id: Some(&id),
                name: backup.code.as_str(),
            };
            engine.record_by(
                author(engine, job),
                "backup.run",
                subject,
                done.copies.iter().find_map(|c| c.error.as_ref()),
            )?;
            // What becomes of it stands with the run; the backup is as good without it.
            hooks::after(engine, job, &done, cancel)?;
            Ok(done)
        }
        Err(error) => {
            let error = error
                .or_with("backup", id.to_string())
                .or_with("backup_code", backup.code.as_str());
            // A lost lease means that somebody else has already put this run to rest: there is nothing of ours left to write.
            if error.code() == Code::Interrupted {
                return Err(error);
            }
            backup.state = if error.code() == Code::Cancelled {
                BackupState::Cancelled
            } else {
                BackupState::Failed
            };
            backup.ended_at = Some(end.0);
            backup.duration_ms = Some(end.1);
            backup.error = Some(error.clone());
            // The copies stay on record as being written until what lies at their keys is gone.
            backup.copies.clear();
            let subject = Subject {
                kind: "backup",
                id: Some(&id),
                name: backup.code.as_str(),
            };
            let kept = engine
                .catalogue
                .finish_run(&backup, None, &[], &lease)
                .and_then(|_| engine.record_by(author(engine, job), "backup.run", subject, Some(&error)))
                .and_then(|()| clean_leftovers(engine, Some(&id), &Cancel::new()));
            let after = hooks::after(engine, job, &backup, cancel);
            let error = match after {
                Ok(_) => error,
                Err(also) => error.with_also("not_recorded", &also),
            };
            // Why the run failed is what a person needs; what could not even be written down comes after it.
            Err(match kept {
                Ok(left) => match left.first() {
                    Some(left) => error.with_also("left_behind", left),
                    None => error,
                },
                Err(also) => error.with_also("not_recorded", &also),
            })
        }
    }
}

/// Who made it, for the journal: nobody pressed a button where a schedule did it.
fn author(engine: &Engine, job: &Job) -> Author {
    made_by(engine, job.trigger)
}

/// The same, by what started it.
pub fn made_by(engine: &Engine, trigger: Trigger) -> Author {
    match trigger {
        Trigger::Scheduled | Trigger::CatchUp => Author::Schedule,
        _ => engine.author,
    }
}

fn end_time(engine: &Engine, started_at: DateTime<Utc>) -> (DateTime<Utc>, u64) {
    // The wall clock may have been set back meanwhile; an end before the beginning would confuse everything that sorts by it.
    let end = (engine.now)().max(started_at);
    let ms = (end - started_at).num_milliseconds().max(0);
    (end, ms.unsigned_abs())
}

fn new_run(job: &Job, id: Id, started_at: DateTime<Utc>) -> Backup {
    Backup {
        id,
        code: BackupCode::new(started_at, &id),
        source: job.source.name.clone(),
        source_id: job.source.id,
        aim: Some(aim(&job.source)),
        plan: job.plan.as_ref().map(|p| p.name.clone()),
        plan_id: job.plan.as_ref().map(|p| p.id),
        trigger: job.trigger,
        backup_type: job.plan.as_ref().map_or(BackupType::Manual, Plan::backup_type),
        kind: Kind::Full,
        base_id: None,
        state: BackupState::Running,
        started_at,
        ended_at: None,
        duration_ms: None,
        raw_bytes: None,
        stored_bytes: None,
        sha256: None,
        raw_sha256: None,
        compression: job.compression,
        encryption: job.key.as_ref().map(|k| k.name.clone()),
        tables: None,
        rows: None,
        tool: None,
        server_version: None,
        flags: Vec::new(),
        error: None,
        note: job.note.clone(),
        pinned: job.pinned,
        leaves_at: None,
        acknowledged_at: None,
        copies: Vec::new(),
    }
}

/// Waits for one of the `max_parallel_runs` places. The lease of the place is held for as long as the answer lives.
fn wait_for_place(engine: &Engine, id: &Id, observer: &dyn Observer, cancel: &Cancel) -> Result<Lease> {
    let mut news: Option<News<'_>> = None;
    loop {
        match Lease::acquire_slot(&engine.catalogue, engine.max_parallel_runs()?, id, engine.lease()?, cancel) {
            Err(error) if error.code() == Code::Busy => {}
            other => return other,
        }
        news.get_or_insert_with(|| News::new(observer, Some(*id), Step::Waiting, None, false))
            .tell(0);
        for _ in 0..5 {
            cancel.check()?;
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// What was given its final name in this run and has no manifest yet; taken away again if the run fails.
#[derive(Default)]
struct Written(Vec<(usize, String)>);

#[allow(
    clippy::too_many_arguments,
    reason = "one run's whole surroundings; a struct would only rename them"
)]
fn attempt(
    engine: &Engine,
    job: &Job,
    kind: &'static dyn DatabaseKind,
    key: &str,
    backup: &mut Backup,
    remark: Option<Error>,
    lease: &Lease,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Manifest> {
    let mut clock = Laps::start();
    let _place = wait_for_place(engine, &backup.id, observer, cancel)?;
    News::new(observer, Some(backup.id), Step::Preparing, None, false);
    let runtime = engine.home.runtime_dir(&backup.id)?;
    let access = engine.access(&job.source, None, runtime.path().to_owned(), cancel)?;
    let mut database = kind.open(&job.source, access)?;
    let probe = database.probe()?;
    backup.tool = Some(probe.tool.clone());
    backup.server_version = Some(probe.server_version.clone());
    engine.catalogue.update_run(backup, lease)?;
    let encryption = match &job.key {
        Some(key) => decrypt::encryption(engine, key)?,
        None => crate::pipeline::Encryption::None,
    };

    let mut copies: Vec<Copy> = job.destinations.iter().map(|d| new_copy(d, key)).collect();
    let mut places: Vec<Option<Place>> = Vec::new();
    let mut uploads = Vec::new();
    for (copy, destination) in copies.iter_mut().zip(&job.destinations) {
        let opened = place::open_to_write(engine, destination, cancel).and_then(|p| {
            uploads.push((destination.id, p.storage.begin(key)?));
            Ok(p)
        });
        places.push(keep(copy, opened, destination));
    }
    first_error_if_all_lost(&copies)?;

    clock.lap("prepared");
    let mut dump = database.dump()?;
    let options = StoreOptions {
        compression: job.compression,
        encryption,
        cancel: cancel.clone(),
        threads: 0,
        stall: engine.stall()?,
        places: places.iter().flatten().map(|p| p.storage.place()).collect(),
    };
    let mut news = News::new(observer, Some(backup.id), Step::Dumping, probe.estimated_bytes, true);
    let stored = store(&mut *dump, uploads, &options, &mut |raw, _stored| news.tell(raw))?;
    clock.lap("dumped");
    News::new(observer, Some(backup.id), Step::Counting, None, false);
    let mut facts = dump.finish()?;
    facts.remarks.extend(remark);
    clock.lap("counted");
    drop(database);
    cancel.check()?;

    backup.raw_bytes = Some(stored.raw_bytes);
    backup.stored_bytes = Some(stored.stored_bytes);
    backup.raw_sha256 = Some(stored.raw_sha256.clone());
    backup.sha256 = Some(stored.stored_sha256.clone());
    backup.tables = Some(facts.counts.len() as u64);
    backup.rows = Some(facts.counts.iter().map(|c| c.rows).sum());

    let mut written = Written::default();
    let outcome = (|| {
        for (destination_id, upload) in stored.uploads {
            let at = index_of(&copies, &destination_id);
            lease.check()?;
            let committed = upload.and_then(|upload| {
                let bytes = upload.commit()?;
                written.0.push((at, key.to_owned()));
                if bytes != stored.stored_bytes {
                    return Err(Error::new(Code::UploadIncomplete, "upload_incomplete")
                        .with("expected_bytes", stored.stored_bytes)
                        .with("found_bytes", bytes));
                }
                Ok(())
            });
            keep(&mut copies[at], committed, &job.destinations[at]);
        }
        first_error_if_all_lost(&copies)?;
        clock.lap("committed");
        verify_copies(engine, job, kind, backup, &facts, &places, &mut copies, observer, cancel)?;
        clock.lap("verified");
        let end = end_time(engine, backup.started_at);
        backup.ended_at = Some(end.0);
        backup.duration_ms = Some(end.1);
        facts.remarks.extend(sentinel::flag(engine, backup, &facts.counts)?);
        backup.state = BackupState::Verified;
        if copies.iter().any(|c| c.state != CopyState::Verified) {
            backup.flags.push("copies_missing".to_owned());
        }
        News::new(observer, Some(backup.id), Step::Finishing, None, false);
        write_manifests(
            job,
            kind,
            key,
            backup,
            &facts,
            &places,
            copies.clone(),
            lease,
            cancel,
            &mut written,
        )
    })();
    if outcome.is_ok() {
        // Copies that did not read back well, beside ones that did. (After a failure everything goes: `clean_leftovers`.)
        take_back(&places, &written)?;
    }
    outcome
}

/// How long each part of a run took, for the log and the bench.
struct Laps(std::time::Instant);

impl Laps {
    fn start() -> Self {
        Laps(std::time::Instant::now())
    }

    fn lap(&mut self, name: &'static str) {
        let ms = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(lap = name, ms, "backup");
        self.0 = std::time::Instant::now();
    }
}

fn new_copy(destination: &Destination, key: &str) -> Copy {
    Copy {
        destination: destination.name.clone(),
        destination_id: destination.id,
        key: key.to_owned(),
        state: CopyState::Stored,
        stored_bytes: 0,
        sha256: None,
        verified_at: None,
        error: None,
    }
}

fn index_of(copies: &[Copy], destination: &Id) -> usize {
    copies.iter().position(|c| c.destination_id == *destination).unwrap_or(0)
}

/// Keeps what went well; what did not is recorded with its copy, so that the other destinations go on.
fn keep<T>(copy: &mut Copy, outcome: Result<T>, destination: &Destination) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            copy.state = CopyState::Missing;
            copy.error = Some(error.or_with("destination", destination.name.as_str()));
            None
        }
    }
}

fn first_error_if_all_lost(copies: &[Copy]) -> Result<()> {
    match copies.iter().find_map(|c| c.error.clone()) {
        Some(error) if copies.iter().all(|c| c.error.is_some()) => Err(error),
        _ => Ok(()),
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "one run's whole surroundings; a struct would only rename them"
)]
fn verify_copies(
    engine: &Engine,
    job: &Job,
    kind: &'static dyn DatabaseKind,
    backup: &Backup,
    facts: &DumpFacts,
    places: &[Option<Place>],
    copies: &mut [Copy],
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let decryption = match &job.key {
        Some(key) => decrypt::decryption(engine, key)?,
        None => crate::pipeline::Decryption::None,
    };
    let expected = Expected {
        stored_bytes: backup.stored_bytes,
        stored_sha256: backup.sha256.as_deref(),
        raw_bytes: backup.raw_bytes,
        raw_sha256: backup.raw_sha256.as_deref(),
        counts: Some(&facts.counts),
        compression: backup.compression,
        decryption: &decryption,
        kind,
        format: kind.dump_format(&job.source),
    };
    for (at, copy) in copies.iter_mut().enumerate() {
        let (Some(place), None) = (&places[at], &copy.error) else {
            continue;
        };
        let mut news = News::new(observer, Some(backup.id), Step::Verifying, backup.stored_bytes, false);
        let read = read_and_check(
            place.storage.as_ref(),
            &copy.key,
            &expected,
            engine.stall()?,
            cancel,
            &mut |n| news.tell(n),
        );
        match read {
            Ok(_) => {
                copy.state = CopyState::Verified;
                copy.verified_at = Some((engine.now)());
                copy.stored_bytes = backup.stored_bytes.unwrap_or_default();
                copy.sha256.clone_from(&backup.sha256);
            }
            Err(error) if error.code() == Code::Cancelled || error.code() == Code::Interrupted => return Err(error),
            // Not there at all right after it was written: what was acknowledged was never stored.
            Err(error) if error.code() == Code::NotFound => {
                let error = Error::new(Code::VerifyMismatch, "not_stored")
                    .with("place", place.storage.place())
                    .with("key", error.detail("key"));
                keep::<()>(copy, Err(error), &job.destinations[at]);
            }
            Err(error) => {
                keep::<()>(copy, Err(error), &job.destinations[at]);
            }
        }
    }
    first_error_if_all_lost(copies)
}

#[allow(
    clippy::too_many_arguments,
    reason = "one run's whole surroundings; a struct would only rename them"
)]
fn write_manifests(
    job: &Job,
    kind: &'static dyn DatabaseKind,
    key: &str,
    backup: &Backup,
    facts: &DumpFacts,
    places: &[Option<Place>],
    copies: Vec<Copy>,
    lease: &Lease,
    cancel: &Cancel,
    written: &mut Written,
) -> Result<Manifest> {
    let mut manifest = new_manifest(job, kind, key, backup, facts, copies)?;
    let mut kept = 0;
    for (at, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        if manifest.backup.copies[at].state != CopyState::Verified {
            continue;
        }
        cancel.check()?;
        lease.check()?;
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::internal("write a manifest", e))?;
        match put_small(place.storage.as_ref(), &manifest_key(key), &text) {
            Ok(()) => {
                kept += 1;
                written.0.retain(|(index, _)| *index != at);
            }
            Err(error) => {
                keep::<()>(&mut manifest.backup.copies[at], Err(error), &job.destinations[at]);
            }
        }
    }
    if kept == 0 {
        first_error_if_all_lost(&manifest.backup.copies)?;
    }
    Ok(manifest)
}

fn new_manifest(
    job: &Job,
    kind: &'static dyn DatabaseKind,
    key: &str,
    backup: &Backup,
    facts: &DumpFacts,
    copies: Vec<Copy>,
) -> Result<Manifest> {
    let format: DumpFormat = kind.dump_format(&job.source);
    let mut manifest = Manifest {
        schema: manifest::SCHEMA,
        coffre_version: env!("CARGO_PKG_VERSION").to_owned(),
        backup: Backup {
            copies,
            ..backup.clone()
        },
        artifact: key.rsplit('/').next().unwrap_or(key).to_owned(),
        database: kind.name().to_owned(),
        format,
        scope: facts.scope.clone(),
        table_counts: facts.counts.clone(),
        parts: vec![Part {
            name: "database".to_owned(),
            format,
            raw_bytes: backup.raw_bytes.unwrap_or_default(),
            raw_sha256: backup.raw_sha256.clone().unwrap_or_default(),
        }],
        recipient: job.key.as_ref().and_then(|k| k.recipient.clone()),
        remarks: facts.remarks.clone(),
        recovery: Vec::new(),
    };
    manifest.recovery = recovery_sheet::commands(&manifest, &kind.stock_load(format));
    Ok(manifest)
}

/// Removes what has a final name and no manifest.
fn take_back(places: &[Option<Place>], written: &Written) -> Result<()> {
    let mut first = Ok(());
    for (at, key) in &written.0 {
        if let Some(place) = &places[*at] {
            let removed = place.storage.remove(key).map(drop);
            if first.is_ok() {
                first = removed;
            }
        }
    }
    first
}
