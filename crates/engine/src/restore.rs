//! Restoring into a new place: read to the end first, then load, then compare, then settle. What exists is never touched.

use std::path::PathBuf;

use coffre_model::backup::Backup;
use coffre_model::database::{Database, DatabaseKind};
use coffre_model::progress::Observer;
use coffre_model::restore::{Restore, RestoreMode, RestoreState, RestoreStep, StepState};
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Id, Result, Secret};

use crate::context::{Engine, Subject};
use crate::lease::{Lease, Resource};
use crate::pipeline::Decryption;
use crate::proof::{Proved, compare, count_and_compare, load, prove};
use crate::verify::lock;

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

/// Restores, and answers what was done. The row of the restore keeps every step.
///
/// # Errors
/// `VERIFY_MISMATCH`, `DECRYPT_FAILED` before the target is touched; `REFUSED` for a target that holds anything; whatever the database
/// says while loading, after which the target is as before. The fact `restore` names the row.
pub fn restore(engine: &Engine, job: &Job, observer: &dyn Observer, cancel: &Cancel) -> Result<Restore> {
    let target_kind = engine.adapters.database(&job.target.parsed()?.scheme)?;
    target_kind.validate(&job.target)?;
    not_ours(engine, &job.target)?;
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

/// Makes sure that what is to be written is no file of Coffre's own.
pub(crate) fn not_ours(engine: &Engine, target: &Source) -> Result<()> {
    let address = target.parsed()?;
    let path = std::path::Path::new(&address.path);
    // Elsewhere the path is the name of a database.
    match address.host.as_deref().unwrap_or_default().is_empty() && path.is_absolute() {
        true => engine.home.refuse_inside(path),
        false => Ok(()),
    }
}

fn new_row(engine: &Engine, job: &Job, id: Id) -> Restore {
    let (mode, names): (_, &[&str]) = if job.dry_run {
        (RestoreMode::DryRun, &["verify"])
    } else {
        (RestoreMode::Into, &["verify", "prepare", "load", "compare", "settle"])
    };
    begin_row(engine, &job.what, &job.target.address, mode, names, id)
}

/// The row of a restore that begins now, with its steps.
pub(crate) fn begin_row(engine: &Engine, what: &What, target: &str, mode: RestoreMode, steps: &[&str], id: Id) -> Restore {
    let pending = |name: &&str| RestoreStep {
        name: (*name).to_owned(),
        state: StepState::Pending,
        started_at: None,
        ended_at: None,
    };
    Restore {
        id,
        backup_id: match what {
            What::Backup(backup) => Some(backup.id),
            What::File(..) => None,
        },
        file: match what {
            What::Backup(_) => None,
            What::File(path, _) => Some(path.display().to_string()),
        },
        target: target.to_owned(),
        source_id: None,
        kept_until: None,
        kept_bytes: None,
        mode,
        state: match mode {
            RestoreMode::DryRun => RestoreState::Planned,
            RestoreMode::Into | RestoreMode::Replace => RestoreState::Running,
        },
        safety_backup_id: None,
        started_at: (engine.now)(),
        ended_at: None,
        steps: steps.iter().map(pending).collect(),
        counts: Vec::new(),
        remarks: Vec::new(),
        error: None,
    }
}

/// Does one step, with its beginning and end in the catalogue.
pub(crate) fn step<T>(engine: &Engine, row: &mut Restore, name: &str, work: impl FnOnce(&mut Restore) -> Result<T>) -> Result<T> {
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
    let proved = step(engine, row, "verify", |row| {
        prove(
            engine,
            &job.what,
            target_kind,
            &mut decryption,
            row.id,
            backup_lease,
            observer,
            cancel,
        )
    })?;
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
        count_and_compare(proved, id, database, &mut row.counts, observer)
    })?;
    lease.check()?;
    step(engine, row, "settle", |_| database.settle_target())
}
