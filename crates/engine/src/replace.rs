//! Replacing live data, and taking that back. In this order, each step a row: look → verify the backup to its end → safety backup of what is live,
//! verified → load beside it → compare → swap → check. What was live is kept for an undo.
//!
//! Killed at any point, `undo::settle` at the next start finishes or takes back: what is needed for it is written down before the first thing is
//! made.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use coffre_model::backup::{BackupState, Trigger};
use coffre_model::compression::Compression;
use coffre_model::database::{DatabaseKind, TableCount};
use coffre_model::destination::Destination;
use coffre_model::impact::{BackupSide, Impact, impact};
use coffre_model::key::Key;
use coffre_model::progress::{Observer, Step};
use coffre_model::replace::{LiveLook, Replace, ReplaceWay, Replacement, Standing};
use coffre_model::restore::{CountComparison, Restore, RestoreMode, RestoreState};
use coffre_model::settings::UNDO_KEEP_DAYS;
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Id, Result};
use sha2::{Digest, Sha256};

use crate::aim::{aim, hex};
use crate::backup::{self, back_up};
use crate::context::{Engine, Subject};
use crate::home::RuntimeDir;
use crate::lease::{Lease, Resource};
use crate::pipeline::Decryption;
use crate::proof::{Follow, Proved, assert_same, compare, load_into, prove};
use crate::restore::{What, begin_row, not_ours, step};
use crate::stream::News;
use crate::verify::lock;

/// How long a preview may lie before what it showed counts as old.
const PREVIEW_LIFE: TimeDelta = TimeDelta::minutes(15);

/// What to bring back, in place of what.
pub struct Job {
    /// The backup or file.
    pub what: What,
    /// The source whose live data goes.
    pub source: Source,
    /// How the safety backup is made.
    pub safety: Safety,
    /// The word of the preview that a person saw; nothing where the preview was shown and answered in one go.
    pub confirmation: Option<Id>,
    /// Rows may have come or gone since the preview (an application that keeps writing): only another database, or another schema, is a reason to refuse.
    pub rows_may_differ: bool,
}

/// How the safety backup is made.
#[derive(Clone)]
pub struct Safety {
    /// At least one.
    pub destinations: Vec<Destination>,
    /// Compression.
    pub compression: Compression,
    /// Encryption.
    pub key: Option<Key>,
}

/// Live data, ready to be looked at and replaced.
pub(crate) struct Live {
    pub(crate) replace: Box<dyn Replace>,
    kind: &'static dyn DatabaseKind,
    _runtime: RuntimeDir,
}

pub(crate) fn live(engine: &Engine, source: &Source, id: &Id, cancel: &Cancel) -> Result<Live> {
    let kind = engine.adapters.database(&source.parsed()?.scheme)?;
    kind.validate(source)?;
    let runtime = engine.home.runtime_dir(id)?;
    let access = engine.access(source, None, runtime.path().to_owned(), cancel)?;
    Ok(Live {
        replace: kind.replace(source, access)?,
        kind,
        _runtime: runtime,
    })
}

/// What a look saw, as a text to compare: which database and what it is made of, then how many rows. Two parts, so that rows alone may
/// differ where a person allows it.
fn fingerprint(look: &LiveLook) -> String {
    let mut made_of = Sha256::new();
    let mut rows = Sha256::new();
    made_of.update(format!("{}\0{}\0", look.exists, look.identity));
    let mut counts = look.counts.clone();
    counts.sort();
    for count in &counts {
        made_of.update(format!("{}\0", count.table));
        rows.update(format!("{}\0{}\0", count.table, count.rows));
    }
    let mut shapes = look.shapes.clone().unwrap_or_default();
    shapes.sort();
    for shape in &shapes {
        made_of.update(format!("{}\0", shape.table));
        for column in &shape.columns {
            made_of.update(format!("{}\0{}\0", column.name, column.definition));
        }
    }
    for newest in &look.newest {
        rows.update(format!("{}\0{}\0", newest.table, newest.value));
    }
    format!("{}:{}", hex(&made_of.finalize()), hex(&rows.finalize()))
}

/// Proves the backup, looks at the live data, and says what replacing it would mean. Changes nothing. The answered row is remembered: its id
/// is the confirmation.
///
/// # Errors
/// Those of proving the backup and of connecting. What forbids a replacement stands in the impact.
pub fn preview(
    engine: &Engine,
    what: &What,
    source: &Source,
    estimated_ms: Option<u64>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Restore, Impact)> {
    not_ours(engine, source)?;
    let id = Id::new();
    let backup_lease = match what {
        What::Backup(backup) => Some(lock(engine, backup, cancel)?),
        What::File(..) => None,
    };
    let mut row = begin_row(engine, what, &source.address, RestoreMode::DryRun, &["look", "verify"], id);
    row.source_id = Some(source.id);
    engine.catalogue.begin_restore(&row, None)?;
    let outcome = (|| {
        let mut live = live(engine, source, &id, cancel)?;
        let look = step(engine, &mut row, "look", |_| {
            News::new(observer, Some(id), Step::Preparing, None, false);
            live.replace.look()
        })?;
        let mut decryption = Decryption::None;
        let proved = step(engine, &mut row, "verify", |_| {
            prove(
                engine,
                what,
                live.kind,
                &mut decryption,
                id,
                backup_lease.as_ref(),
                observer,
                cancel,
            )
        })?;
        let side = BackupSide {
            counts: &proved.counts,
            shapes: proved.shapes.as_deref(),
            bytes: Some(proved.bytes.raw_bytes),
            version: proved.server_version.clone(),
        };
        let mut impact = impact(&source.name, &look, &side, estimated_ms);
        if let (Some(space), Some(needed), true) = (impact.space, impact.backup_bytes, look.exists)
            && space.free < needed
        {
            impact.refusals.push(
                Error::new(Code::DestFull, "replace_no_room")
                    .with("needed_bytes", needed)
                    .with("free_bytes", space.free),
            );
        }
        if let What::Backup(backup) = what
            && backup.aim.as_ref().is_some_and(|then| *then != aim(source))
        {
            let remark = Error::new(Code::Refused, "replace_other_database").with("source", source.name.as_str());
            impact.remarks.push(remark);
        }
        row.counts.clone_from(&impact.counts);
        if impact.refusals.is_empty() {
            engine.catalogue.remember_preview(&id, &fingerprint(&look))?;
            impact.confirmation = Some(id);
            // From when it is shown: reading a large backup to its end may have taken longer than that.
            impact.expires_at = Some((engine.now)() + PREVIEW_LIFE);
        }
        Ok(impact)
    })();
    finish_preview(engine, row, outcome)
}

/// Writes how a preview ended, and the line of the journal.
fn finish_preview(engine: &Engine, mut row: Restore, outcome: Result<Impact>) -> Result<(Restore, Impact)> {
    row.ended_at = Some((engine.now)().max(row.started_at));
    // It has no state of its own for being cut off.
    if outcome.is_err() {
        row.state = RestoreState::Failed;
    }
    let outcome = outcome.map_err(|e| e.or_with("restore", row.id.to_string()));
    row.error = outcome.as_ref().err().cloned();
    engine.catalogue.update_restore(&row, None)?;
    record(engine, &row, "restore.preview", outcome.as_ref().err())?;
    outcome.map(|impact| (row, impact))
}

pub(crate) fn record(engine: &Engine, row: &Restore, action: &str, error: Option<&Error>) -> Result<()> {
    let name = match row.source_id {
        Some(id) => engine.catalogue.known_source(&id.to_string())?.name,
        None => row.target.clone(),
    };
    engine.record(
        action,
        Subject {
            kind: "restore",
            id: Some(&row.id),
            name: &name,
        },
        error,
    )
}

/// Replaces, and answers what was done. The row keeps every step.
///
/// # Errors
/// `REFUSED` for what forbids it, for a preview that is old or no longer true, and where the safety backup failed; `VERIFY_MISMATCH`,
/// `DECRYPT_FAILED` before anything is touched. After every error the live data is what it was, but for `replace_unsettled`, which says so.
pub fn replace(engine: &Engine, job: &Job, observer: &dyn Observer, cancel: &Cancel) -> Result<Restore> {
    not_ours(engine, &job.source)?;
    let id = Id::new();
    let backup_lease = match &job.what {
        What::Backup(backup) => Some(lock(engine, backup, cancel)?),
        What::File(..) => None,
    };
    let resource = Resource::Restore(job.source.address.clone());
    let lease = Lease::acquire(&engine.catalogue, &resource, &id, engine.lease()?, cancel)?;
    let preview = shown_preview(engine, job)?;
    let steps = ["look", "verify", "safety", "prepare", "load", "compare", "swap", "check"];
    let mut row = begin_row(engine, &job.what, &job.source.address, RestoreMode::Replace, &steps, id);
    row.source_id = Some(job.source.id);
    engine.catalogue.begin_restore(&row, Some(&lease))?;
    let outcome = attempt(
        engine,
        job,
        preview.as_deref(),
        &mut row,
        (&lease, backup_lease.as_ref()),
        observer,
        cancel,
    );
    row.ended_at = Some((engine.now)().max(row.started_at));
    match outcome {
        Ok(()) => {
            row.state = RestoreState::Done;
            row.error = None;
            engine.catalogue.settle_replacement(&row, &lease)?;
            record(engine, &row, "restore.replace", None)?;
            Ok(row)
        }
        Err(failure) => {
            // Where another process has taken over, that is why, whatever was noticed of it first.
            let error = match lease.check() {
                Err(lost) if lost.code() == Code::Interrupted => lost,
                _ => failure.error,
            };
            let error = error.or_with("restore", id.to_string());
            row.state = if error.code() == Code::Interrupted || !failure.settled {
                RestoreState::Interrupted
            } else {
                RestoreState::Failed
            };
            row.error = Some(error.clone());
            let written = match failure.settled {
                true => engine.catalogue.settle_replacement(&row, &lease),
                false => engine.catalogue.update_restore(&row, None),
            };
            let kept = written.and_then(|()| record(engine, &row, "restore.replace", Some(&error)));
            Err(match kept {
                Ok(()) => error,
                Err(also) if also.text() == error.text() => error,
                Err(also) => error.with_also("not_recorded", &also),
            })
        }
    }
}

/// The fingerprint of the preview that the job carries. It is used up only once the live data turned out to be what it showed: a person who is told that
/// rows have come or gone may go on with the same word.
fn shown_preview(engine: &Engine, job: &Job) -> Result<Option<String>> {
    let Some(confirmation) = &job.confirmation else {
        return Ok(None);
    };
    let (backup, file) = match &job.what {
        What::Backup(backup) => (Some(&backup.id), None),
        What::File(path, _) => (None, Some(path.display().to_string())),
    };
    let preview = engine
        .catalogue
        .preview(confirmation, backup, file.as_deref(), &job.source.id)?;
    let now = (engine.now)();
    // A clock that was set back makes nothing younger.
    if now > preview.shown_at + PREVIEW_LIFE || now < preview.shown_at - TimeDelta::minutes(1) {
        return Err(Error::new(Code::Refused, "confirmation_old"));
    }
    Ok(Some(preview.fingerprint))
}

/// Why a replacement did not happen, and whether everything is known to be as before.
struct Failure {
    error: Error,
    settled: bool,
}

impl From<Error> for Failure {
    /// Before anything was made.
    fn from(error: Error) -> Self {
        Failure { error, settled: true }
    }
}

fn attempt(
    engine: &Engine,
    job: &Job,
    preview: Option<&str>,
    row: &mut Restore,
    (lease, backup_lease): (&Lease, Option<&Lease>),
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let id = row.id;
    let mut live = live(engine, &job.source, &id, cancel)?;
    let look = step(engine, row, "look", |row| {
        News::new(observer, Some(id), Step::Preparing, None, false);
        let look = live.replace.look()?;
        if let Some(refusal) = look.refusals.first() {
            return Err(refusal.clone());
        }
        // Kept also when it is refused now: beside the preview it says what is new.
        row.counts = impact(&job.source.name, &look, &BackupSide::default(), None).counts;
        unchanged(&look, preview, job.rows_may_differ)?;
        if let Some(confirmation) = &job.confirmation {
            engine.catalogue.use_preview(confirmation, (engine.now)())?;
        }
        Ok(look)
    })?;
    let mut decryption = Decryption::None;
    let proved = step(engine, row, "verify", |_| {
        prove(
            engine,
            &job.what,
            live.kind,
            &mut decryption,
            id,
            backup_lease,
            observer,
            cancel,
        )
    })?;
    let surroundings = Surroundings {
        engine,
        id,
        observer,
        cancel,
    };
    let before = look.counts.clone();
    row.counts = with_before(&before, compare(&proved.counts, None));
    step(engine, row, "safety", |row| match look.exists {
        true => safety(engine, job, row, observer, cancel),
        // Nothing is there that could be lost.
        false => Ok(()),
    })?;
    // From here on no backup of this source begins: it would be ended by the swap, or be of neither.
    let _source = Lease::acquire(
        &engine.catalogue,
        &Resource::Source(job.source.id),
        &id,
        engine.lease()?,
        cancel,
    )?;
    let mut plan = live.replace.plan(&id)?;
    // Verifying and the safety backup took their time: what was looked at, and what is safe, must be what is replaced.
    if plan.identity != look.identity {
        return Err(Error::new(Code::Refused, "replace_target_changed").into());
    }
    engine.catalogue.keep_replacement(&id, &plan, lease)?;
    let swapped = beside(&surroundings, row, &proved, &before, &mut live, &mut plan, lease);
    row.remarks = live.replace.remarks();
    match swapped {
        Ok(()) => {}
        Err(NotSwapped::Before(error)) => {
            return Err(match live.replace.discard(&plan) {
                Ok(()) => Failure { error, settled: true },
                Err(left) => Failure {
                    error: error
                        .with("target", job.source.address.as_str())
                        .with_also("target_left", &left),
                    settled: false,
                },
            });
        }
        Err(NotSwapped::Unknown(error)) => {
            // The moment itself failed: only a look tells which of the two it is.
            match live.replace.recover(&plan) {
                Ok(Standing::After) => row.remarks.push(error),
                Ok(Standing::Before) => {
                    row.remarks.extend(live.replace.remarks());
                    return Err(Failure { error, settled: true });
                }
                Err(left) => {
                    let error = Error::new(Code::Interrupted, "replace_unsettled")
                        .with("source", job.source.name.as_str())
                        .with("cause", error.text())
                        .with_also("target_left", &left);
                    return Err(Failure { error, settled: false });
                }
            }
        }
    }
    // The live data is the backup now: what still fails is a remark, and no reason to call it failed.
    let checked = step(engine, row, "check", |row| check(&surroundings, &mut live, &job.source, row));
    if let Err(error) = checked {
        row.remarks.push(error);
    }
    row.remarks.extend(live.replace.remarks());
    keep(engine, &mut live, row, &plan);
    Ok(())
}

/// Compares what is there now with what a person was shown.
fn unchanged(look: &LiveLook, preview: Option<&str>, rows_may_differ: bool) -> Result<()> {
    let Some(shown) = preview else { return Ok(()) };
    let now = fingerprint(look);
    let made_of = |fingerprint: &str| fingerprint.split(':').next().map(str::to_owned);
    if made_of(&now) != made_of(shown) {
        return Err(Error::new(Code::Refused, "replace_target_changed"));
    }
    if now != shown && !rows_may_differ {
        return Err(Error::new(Code::Refused, "replace_rows_changed"));
    }
    Ok(())
}

/// The copy of what is live, read back to its end. Without it nothing goes on.
fn safety(engine: &Engine, job: &Job, row: &mut Restore, observer: &dyn Observer, cancel: &Cancel) -> Result<()> {
    let id = row.id;
    let follow = Follow { observer, id };
    let made = back_up(
        engine,
        &backup::Job {
            source: job.source.clone(),
            plan: None,
            destinations: job.safety.destinations.clone(),
            trigger: Trigger::Safety,
            compression: job.safety.compression,
            key: job.safety.key.clone(),
            note: String::new(),
            pinned: false,
        },
        &follow,
        cancel,
    );
    match made {
        Ok(backup) if backup.state == BackupState::Verified => {
            row.safety_backup_id = Some(backup.id);
            Ok(())
        }
        Ok(backup) => Err(Error::new(Code::Refused, "safety_failed")
            .with("source", job.source.name.as_str())
            .with("cause", backup.state.as_str())),
        Err(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted | Code::Busy) => Err(error),
        Err(error) => Err(Error::new(Code::Refused, "safety_failed")
            .with("source", job.source.name.as_str())
            .with("cause", error.code().as_str())
            .with_also("because", &error)),
    }
}

/// The same with the rows that were live before; tables that vanish are in it too.
fn with_before(before: &[TableCount], counts: Vec<CountComparison>) -> Vec<CountComparison> {
    let mut all: BTreeMap<String, CountComparison> = counts.into_iter().map(|c| (c.table.clone(), c)).collect();
    for count in before {
        let row = all.entry(count.table.clone()).or_insert_with(|| CountComparison {
            table: count.table.clone(),
            before: None,
            after: None,
            backup: None,
        });
        row.before = Some(count.rows);
    }
    all.into_values().collect()
}

/// What the steps of one replacement share.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    engine: &'a Engine,
    id: Id,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

/// How far a swap that failed got.
enum NotSwapped {
    /// It was not begun.
    Before(Error),
    /// It was.
    Unknown(Error),
}

impl From<Error> for NotSwapped {
    fn from(error: Error) -> Self {
        NotSwapped::Before(error)
    }
}

fn beside(
    surroundings: &Surroundings<'_>,
    row: &mut Restore,
    proved: &Proved<'_>,
    before: &[TableCount],
    live: &mut Live,
    plan: &mut Replacement,
    lease: &Lease,
) -> Result<(), NotSwapped> {
    let Surroundings {
        engine,
        id,
        observer,
        cancel,
    } = *surroundings;
    step(engine, row, "prepare", |_| {
        live.replace.prepare(plan)?;
        engine.catalogue.keep_replacement(&id, plan, lease)
    })?;
    step(engine, row, "load", |_| {
        let sink = live.replace.load(plan, proved.format)?;
        load_into(engine, proved, id, sink, observer, cancel)
    })?;
    step(engine, row, "compare", |row| {
        News::new(observer, Some(id), Step::Comparing, None, false);
        let after = live.replace.counts(plan)?;
        let left = live.replace.left_alone();
        let ours = |counts: &[TableCount]| -> Vec<TableCount> {
            let theirs = |c: &&TableCount| !left.iter().any(|begin| c.table.starts_with(begin));
            counts.iter().filter(theirs).cloned().collect()
        };
        let before = &ours(before);
        let counts = compare(&ours(&proved.counts), Some(&ours(&after)));
        let same = assert_same(&counts, proved);
        row.counts = with_before(before, counts);
        same
    })?;
    cancel.check()?;
    lease.check()?;
    step(engine, row, "swap", |_| {
        News::new(observer, Some(id), Step::Swapping, None, false);
        let swapped = live.replace.swap(plan);
        let kept = engine.catalogue.keep_replacement(&id, plan, lease);
        swapped.and(kept)
    })
    .map_err(NotSwapped::Unknown)
}

/// Looks at the live data once more, as anybody would: it answers, and holds the tables that were loaded.
fn check(surroundings: &Surroundings<'_>, live: &mut Live, source: &Source, row: &Restore) -> Result<()> {
    News::new(surroundings.observer, Some(surroundings.id), Step::Comparing, None, false);
    let tables = live.replace.tables()?;
    let missing = row.counts.iter().find(|c| c.after.is_some() && !tables.contains(&c.table));
    match missing {
        Some(missing) => Err(Error::new(Code::VerifyMismatch, "replaced_table_missing")
            .with("source", source.name.as_str())
            .with("table", missing.table.as_str())),
        None => Ok(()),
    }
}

/// Sets how long what was live is kept. Zero days: it goes at once.
pub(crate) fn keep(engine: &Engine, live: &mut Live, row: &mut Restore, plan: &Replacement) {
    if plan.way != ReplaceWay::Swap || !plan.existed {
        return;
    }
    let kept = (|| {
        let days = engine.undo_keep_days()?;
        if days == 0 {
            live.replace.forget(plan)?;
            return Ok(());
        }
        row.kept_bytes = live.replace.kept_bytes(plan)?;
        row.kept_until = row.kept_bytes.map(|_| (engine.now)() + TimeDelta::days(days));
        Ok(())
    })();
    if let Err(error) = kept {
        let error: Error = error;
        // It is there all the same, and asked for again when its time is over.
        row.kept_until.get_or_insert((engine.now)() + TimeDelta::days(UNDO_KEEP_DAYS));
        row.remarks.push(error);
    }
}
