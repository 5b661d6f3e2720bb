//! Restoring into a new place: read to the end first, then load, then compare, then settle. What exists is never touched.

use std::io::Write;
use std::path::PathBuf;

use coffre_model::backup::{Backup, CopyState};
use coffre_model::compression::Compression;
use coffre_model::database::{Database, DatabaseKind, DumpFormat, TableCount};
use coffre_model::error::from_io;
use coffre_model::manifest::Manifest;
use coffre_model::progress::{Observer, Step};
use coffre_model::restore::{CountComparison, Restore, RestoreMode, RestoreState, RestoreStep, StepState};
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Id, Result, Secret};

use crate::check::{as_mismatch, with_place};
use crate::context::{Engine, Subject};
use crate::decrypt;
use crate::foreign_file::ForeignFile;
use crate::lease::{Lease, Resource};
use crate::pipeline::Decryption;
use crate::pipeline::{Expect, ReadBack, read_back};
use crate::place::{self, Place};
use crate::stream::News;
use crate::verify::{check_copy, judge, lock, record};

/// What to bring back.
pub enum What {
    /// A backup of the catalogue.
    Backup(Box<Backup>),
    /// Any dump, also one made elsewhere, with the keys that may open it.
    File(PathBuf, Vec<Decryption>),
}

/// What to bring back, and where to.
pub struct Job {
    /// The backup or file.
    pub what: What,
    /// The new place: an address with its options; it has no row in the catalogue.
    pub target: Source,
    /// The password of the new place.
    pub password: Option<Secret>,
    /// Only look: read the backup to its end and say what would come.
    pub dry_run: bool,
}

/// The artifact, proved whole, with what is needed to read it a second time.
struct Proved<'a> {
    storage: Option<Place>,
    key: String,
    file: Option<ForeignFile>,
    bytes: ReadBack,
    decryption: &'a Decryption,
    compression: Compression,
    format: DumpFormat,
    kind: &'static dyn DatabaseKind,
    counts: Vec<TableCount>,
    stored_total: Option<u64>,
}

/// Restores, and answers what was done. The row of the restore keeps every step.
///
/// # Errors
/// `VERIFY_MISMATCH`, `DECRYPT_FAILED` before the target is touched; `REFUSED` for a target that holds anything; whatever the database
/// says while loading, after which the target is as before. The fact `restore` names the row.
pub fn restore(engine: &Engine, job: &Job, observer: &dyn Observer, cancel: &Cancel) -> Result<Restore> {
    let target_kind = engine.adapters.database(&job.target.parsed()?.scheme)?;
    target_kind.validate(&job.target)?;
    let id = Id::new();
    // The backup must not be deleted while it is read, and two restores must not meet in one target.
    let backup_lease = match &job.what {
        What::Backup(backup) => Some(lock(engine, backup, cancel)?),
        What::File(..) => None,
    };
    let resource = Resource::Restore(job.target.address.clone());
    let lease = Lease::acquire(&engine.catalogue, &resource, &id, engine.lease()?, cancel)?;
    let mut row = new_row(engine, job, id);
    engine.catalogue.begin_restore(&row, Some(&lease))?;
    let outcome = attempt(
        engine,
        job,
        target_kind,
        &mut row,
        (&lease, backup_lease.as_ref()),
        observer,
        cancel,
    );
    row.ended_at = Some((engine.now)().max(row.started_at));
    row.state = match &outcome {
        Ok(()) if job.dry_run => RestoreState::Planned,
        Ok(()) => RestoreState::Done,
        Err(error) if error.code() == Code::Interrupted => RestoreState::Interrupted,
        Err(_) => RestoreState::Failed,
    };
    let error = outcome.err().map(|e| e.or_with("restore", id.to_string()));
    row.error.clone_from(&error);
    engine.catalogue.update_restore(&row, None)?;
    let name = match &job.what {
        What::Backup(backup) => backup.code.to_string(),
        What::File(path, _) => path.display().to_string(),
    };
    let action = if job.dry_run { "restore.preview" } else { "restore.run" };
    engine.record(
        action,
        Subject {
            kind: "restore",
            id: Some(&id),
            name: &name,
        },
        error.as_ref(),
    )?;
    match error {
        None => Ok(row),
        Some(error) => Err(error),
    }
}

fn new_row(engine: &Engine, job: &Job, id: Id) -> Restore {
    let names: &[&str] = if job.dry_run {
        &["verify"]
    } else {
        &["verify", "prepare", "load", "compare", "settle"]
    };
    let pending = |name: &&str| RestoreStep {
        name: (*name).to_owned(),
        state: StepState::Pending,
        started_at: None,
        ended_at: None,
    };
    Restore {
        id,
        backup_id: match &job.what {
            What::Backup(backup) => Some(backup.id),
            What::File(..) => None,
        },
        file: match &job.what {
            What::Backup(_) => None,
            What::File(path, _) => Some(path.display().to_string()),
        },
        target: job.target.address.clone(),
        source_id: None,
        kept_until: None,
        kept_bytes: None,
        mode: if job.dry_run { RestoreMode::DryRun } else { RestoreMode::Into },
        state: if job.dry_run {
            RestoreState::Planned
        } else {
            RestoreState::Running
        },
        safety_backup_id: None,
        started_at: (engine.now)(),
        ended_at: None,
        steps: names.iter().map(pending).collect(),
        counts: Vec::new(),
        remarks: Vec::new(),
        error: None,
    }
}

/// Does one step, with its beginning and end in the catalogue.
fn step<T>(engine: &Engine, row: &mut Restore, name: &str, work: impl FnOnce(&mut Restore) -> Result<T>) -> Result<T> {
    let at = row.steps.iter().position(|s| s.name == name);
    if let Some(at) = at {
        row.steps[at].state = StepState::Running;
        row.steps[at].started_at = Some((engine.now)());
        engine.catalogue.update_restore(row, None)?;
    }
    let began = std::time::Instant::now();
    let outcome = work(row);
    tracing::info!(
        lap = name,
        ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        ok = outcome.is_ok(),
        "restore"
    );
    if let Some(at) = at {
        row.steps[at].state = if outcome.is_ok() { StepState::Done } else { StepState::Failed };
        row.steps[at].ended_at = Some((engine.now)());
        engine.catalogue.update_restore(row, None)?;
    }
    outcome
}

fn attempt(
    engine: &Engine,
    job: &Job,
    target_kind: &'static dyn DatabaseKind,
    row: &mut Restore,
    (lease, backup_lease): (&Lease, Option<&Lease>),
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let mut decryption = Decryption::None;
    let proved = step(engine, row, "verify", |row| match &job.what {
        What::Backup(backup) => {
            // As it is now that nobody else can change it.
            let backup = engine.catalogue.backup(&backup.id.to_string())?;
            prove_backup(engine, &backup, &mut decryption, row.id, backup_lease, observer, cancel)
        }
        What::File(path, keys) => prove_file(engine, path, keys, target_kind, &decryption, row.id, observer, cancel),
    })?;
    if !target_kind.formats().contains(&proved.format) {
        return Err(other_database(proved.format, proved.kind.name(), target_kind));
    }
    row.counts = compare(&proved.counts, None);
    if job.dry_run {
        return Ok(());
    }
    let runtime = engine.home.runtime_dir(&row.id)?;
    let access = engine.access(&job.target, job.password.clone(), runtime.path().to_owned(), cancel)?;
    let mut database = target_kind.open(&job.target, access)?;
    // Also what was only begun: a target is taken back whether preparing it, writing that down, or anything later failed.
    let loaded = step(engine, row, "prepare", |_| database.prepare_target())
        .and_then(|()| load_and_compare(engine, row, &proved, database.as_mut(), lease, observer, cancel));
    row.remarks = database.remarks();
    if let Err(error) = loaded {
        return Err(match database.discard_target() {
            Ok(()) => error,
            Err(left) => error
                .with("target", job.target.address.as_str())
                .with_also("target_left", &left),
        });
    }
    Ok(())
}

fn load_and_compare(
    engine: &Engine,
    row: &mut Restore,
    proved: &Proved<'_>,
    database: &mut dyn Database,
    lease: &Lease,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let id = row.id;
    step(engine, row, "load", |_| load(engine, proved, id, database, observer, cancel))?;
    step(engine, row, "compare", |row| {
        News::new(observer, Some(id), Step::Comparing, None, false);
        let after = database.counts()?;
        row.counts = compare(&proved.counts, Some(&after));
        let exact = proved.file.is_none();
        match row.counts.iter().find(|c| differs(c, exact)) {
            Some(wrong) => Err(Error::new(Code::VerifyMismatch, "restored_rows_differ")
                .with("table", wrong.table.as_str())
                .with("expected_rows", wrong.backup)
                .with("found_rows", wrong.after)),
            None => Ok(()),
        }
    })?;
    lease.check()?;
    step(engine, row, "settle", |_| database.settle_target())
}

/// For a backup of ours every table must be there with exactly its rows, and no other; of a file from elsewhere only the rows that its
/// format let us count are known.
fn differs(count: &CountComparison, exact: bool) -> bool {
    match (count.backup, count.after) {
        (Some(backup), Some(after)) => backup != after,
        (Some(_), None) => true,
        (None, Some(_)) => exact,
        (None, None) => false,
    }
}

/// Backup and target side by side, sorted by table. The target was empty before, so `before` is nothing everywhere.
fn compare(backup: &[TableCount], after: Option<&[TableCount]>) -> Vec<CountComparison> {
    let mut rows = std::collections::BTreeMap::<&str, CountComparison>::new();
    fn blank(table: &str) -> CountComparison {
        CountComparison {
            table: table.to_owned(),
            before: None,
            after: None,
            backup: None,
        }
    }
    for count in backup {
        rows.entry(&count.table).or_insert_with(|| blank(&count.table)).backup = Some(count.rows);
    }
    for count in after.unwrap_or_default() {
        rows.entry(&count.table).or_insert_with(|| blank(&count.table)).after = Some(count.rows);
    }
    rows.into_values().collect()
}

/// The second reading, into the database. The last bytes are handed over only after all hashes were found right again, so that
/// nothing can be committed that was changed between the two readings.
fn load(
    engine: &Engine,
    proved: &Proved<'_>,
    id: Id,
    database: &mut dyn Database,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let mut news = News::new(observer, Some(id), Step::Loading, proved.stored_total, false);
    let mut sink = database.load(proved.format)?;
    let expect = Expect {
        compression: proved.compression,
        decryption: proved.decryption,
        stored_bytes: Some(proved.bytes.stored_bytes),
        stored_sha256: Some(&proved.bytes.stored_sha256),
        raw_bytes: Some(proved.bytes.raw_bytes),
        raw_sha256: Some(&proved.bytes.raw_sha256),
    };
    let (reader, place) = match (&proved.file, &proved.storage) {
        (Some(file), _) => (file.reader()?, file.shown()),
        (None, Some(place)) => (place.storage.open(&proved.key)?, place.storage.place()),
        (None, None) => return Err(Error::internal("restore", "neither file nor copy")),
    };
    read_back(
        reader,
        &expect,
        true,
        cancel,
        engine.stall()?,
        &mut |n| news.tell(n),
        &mut |bytes| {
            sink.write_all(bytes)
                .map_err(|e| from_io(e, |e| Error::internal("load a dump", e)))
        },
    )
    .map_err(|e| with_place(e, || place))?;
    sink.finish()
}

/// Proves one copy of a backup, the best one first. A copy that turns out to be bad is recorded, and the next one is tried.
fn prove_backup<'a>(
    engine: &Engine,
    backup: &Backup,
    decryption: &'a mut Decryption,
    id: Id,
    lease: Option<&Lease>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Proved<'a>> {
    let manifest = engine.manifest(&backup.id)?;
    let mut copies: Vec<_> = backup
        .copies
        .iter()
        .filter(|c| !matches!(c.state, CopyState::Deleting | CopyState::Deleted))
        .collect();
    copies.sort_by_key(|c| c.state != CopyState::Verified);
    let Some(manifest) = manifest.filter(|_| !copies.is_empty()) else {
        return Err(Error::new(Code::Refused, "nothing_to_restore")
            .with("backup", backup.code.as_str())
            .with("state", backup.state.as_str()));
    };
    *decryption = decrypt::for_backup(engine, backup, Some(&manifest))?;
    let mut first = None;
    for copy in copies {
        match prove_copy(engine, backup, &manifest, copy, id, observer, cancel) {
            Ok(place) => return proved(engine, backup, manifest, copy.key.clone(), place, decryption),
            Err(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted) => return Err(error),
            Err(error) => {
                if let (Some(state), Some(lease)) = (judge(&error), lease) {
                    record(engine, backup, copy, state, Some(error.clone()), lease)?;
                }
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::internal("restore", "no copy")))
}

fn prove_copy(
    engine: &Engine,
    backup: &Backup,
    manifest: &Manifest,
    copy: &coffre_model::backup::Copy,
    id: Id,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Place> {
    let follow = Follow { observer, id };
    check_copy(engine, backup, Some(manifest), copy, &follow, cancel)?;
    let destination = engine.catalogue.known_destination(&copy.destination_id.to_string())?;
    place::open(engine, &destination, cancel)
}

/// Hands news of a verification on under the restore's id.
struct Follow<'a> {
    observer: &'a dyn Observer,
    id: Id,
}

impl Observer for Follow<'_> {
    fn progress(&self, progress: &coffre_model::progress::Progress) {
        self.observer.progress(&coffre_model::progress::Progress {
            id: Some(self.id),
            ..progress.clone()
        });
    }
}

fn proved<'a>(
    engine: &Engine,
    backup: &Backup,
    manifest: Manifest,
    key: String,
    place: Place,
    decryption: &'a Decryption,
) -> Result<Proved<'a>> {
    let missing = || {
        Error::new(Code::VerifyMismatch, "manifest_unreadable")
            .with("key", key.as_str())
            .with("cause", "no size or hash")
    };
    Ok(Proved {
        bytes: ReadBack {
            stored_bytes: backup.stored_bytes.ok_or_else(missing)?,
            stored_sha256: backup.sha256.clone().ok_or_else(missing)?,
            raw_bytes: backup.raw_bytes.ok_or_else(missing)?,
            raw_sha256: backup.raw_sha256.clone().ok_or_else(missing)?,
        },
        storage: Some(place),
        key,
        file: None,
        decryption,
        compression: backup.compression,
        format: manifest.format,
        kind: engine.adapters.database_named(&manifest.database)?,
        counts: manifest.table_counts,
        stored_total: backup.stored_bytes,
    })
}

#[allow(
    clippy::too_many_arguments,
    reason = "one restore's whole surroundings; a struct would only rename them"
)]
fn prove_file<'a>(
    engine: &Engine,
    path: &std::path::Path,
    keys: &[Decryption],
    kind: &'static dyn DatabaseKind,
    decryption: &'a Decryption,
    id: Id,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Proved<'a>> {
    let file = ForeignFile::open(path, keys)?;
    let format = engine.adapters.recognise(&file.head)?;
    if !kind.formats().contains(&format) {
        return Err(other_database(format, format.as_str(), kind));
    }
    let mut checker = engine.adapters.foreign_checker(kind, format);
    // The layers are off already: what the pipeline reads is the plain dump itself.
    let expect = Expect {
        compression: Compression::None,
        decryption,
        stored_bytes: None,
        stored_sha256: None,
        raw_bytes: None,
        raw_sha256: None,
    };
    let shown = || path.display().to_string();
    let mut news = News::new(observer, Some(id), Step::Verifying, None, false);
    let bytes = read_back(
        file.reader()?,
        &expect,
        false,
        cancel,
        engine.stall()?,
        &mut |n| news.tell(n),
        &mut |b| checker.feed(b),
    )
    .map_err(|e| with_place(as_mismatch(e).or_with("key", shown()), shown))?;
    let parsed = checker.finish().map_err(|e| as_mismatch(e).or_with("key", shown()))?;
    Ok(Proved {
        storage: None,
        key: String::new(),
        stored_total: Some(bytes.raw_bytes),
        compression: Compression::None,
        file: Some(file),
        bytes,
        decryption,
        format,
        kind,
        counts: parsed.counts,
    })
}

fn other_database(format: DumpFormat, from: &str, to: &dyn DatabaseKind) -> Error {
    Error::new(Code::Refused, "target_other_database")
        .with("format", format.as_str())
        .with("from", from)
        .with("to", to.name())
}
