//! Taking a replacement back; finishing what was cut off; removing what was kept long enough.

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::progress::{Observer, Step};
use coffre_model::replace::{ReplaceWay, Replacement, Standing};
use coffre_model::restore::{Restore, RestoreMode, RestoreState, RestoreStep, StepState};
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::context::Engine;
use crate::lease::{Lease, Resource};
use crate::replace::{Job, Live, Safety, keep, live, record, replace};
use crate::restore::What;
use crate::stream::News;

/// Takes a replacement back: what was live before is live again, and what was live until now is kept in its place.
///
/// # Errors
/// `REFUSED` for a restore that replaced nothing, was taken back already, or whose old data is no longer kept. After any error the live
/// data is what it was.
pub fn undo(
    engine: &Engine,
    id: &Id,
    safety: impl FnOnce(&Source) -> Result<Safety>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Restore> {
    let row = engine.catalogue.restore(&id.to_string())?;
    let refused = |text: &'static str| {
        Error::new(Code::Refused, text)
            .with("restore", id.to_string())
            .with("state", row.state.as_str())
    };
    if row.mode != RestoreMode::Replace {
        return Err(refused("undo_not_a_replacement"));
    }
    if row.state != RestoreState::Done {
        return Err(refused("undo_state"));
    }
    let source = source_of(engine, &row)?;
    let plan = engine.catalogue.replacement(id)?.ok_or_else(|| refused("undo_gone"))?;
    if plan.way == ReplaceWay::Within {
        return undo_within(engine, row, source, safety, observer, cancel);
    }
    if !plan.existed {
        return Err(refused("undo_nothing_before"));
    }
    if row.kept_until.is_none() {
        return Err(refused("undo_gone"));
    }
    let (lease, mut row) = hold(engine, id, cancel)?;
    let _source = Lease::acquire(&engine.catalogue, &Resource::Source(source.id), id, engine.lease()?, cancel)?;
    if row.state != RestoreState::Done {
        return Err(refused("undo_state"));
    }
    row.steps.push(RestoreStep {
        name: "undo".to_owned(),
        state: StepState::Running,
        started_at: Some((engine.now)()),
        ended_at: None,
    });
    News::new(observer, Some(*id), Step::Swapping, None, false);
    let mut live = live(engine, &source, id, cancel)?;
    engine.catalogue.unsettle_replacement(&row, &lease)?;
    let undone = live.replace.undo(&plan);
    let error = match undone {
        Ok(()) => None,
        // An answer that was lost: only a look tells.
        Err(error) => match live.replace.is_undone(&plan) {
            Ok(true) => None,
            Ok(false) => Some((error, true)),
            Err(also) => Some((error.with_also("target_left", &also), false)),
        },
    };
    let now = (engine.now)();
    if let Some(last) = row.steps.last_mut() {
        last.state = if error.is_none() { StepState::Done } else { StepState::Failed };
        last.ended_at = Some(now);
    }
    match error {
        None => {
            undone_now(engine, &mut live, &mut row, &plan)?;
            engine.catalogue.settle_replacement(&row, &lease)?;
            record(engine, &row, "restore.undo", None)?;
            Ok(row)
        }
        Some((error, settled)) => {
            let error = error.or_with("restore", id.to_string());
            if settled {
                engine.catalogue.settle_replacement(&row, &lease)?;
            }
            record(engine, &row, "restore.undo", Some(&error))?;
            Err(error)
        }
    }
}

fn undone_now(engine: &Engine, live: &mut Live, row: &mut Restore, plan: &Replacement) -> Result<()> {
    row.state = RestoreState::Undone;
    row.remarks.extend(live.replace.remarks());
    row.kept_bytes = live.replace.kept_bytes(plan)?;
    row.kept_until = match row.kept_bytes {
        Some(_) => Some((engine.now)() + TimeDelta::days(engine.undo_keep_days()?.max(1))),
        None => None,
    };
    Ok(())
}

/// Where nothing could be kept beside it, the safety backup is the way back: it replaces in turn, with all the same checks.
fn undo_within(
    engine: &Engine,
    row: Restore,
    source: Source,
    safety: impl FnOnce(&Source) -> Result<Safety>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Restore> {
    let id = row.id;
    let backup = row
        .safety_backup_id
        .ok_or_else(|| Error::new(Code::Refused, "undo_nothing_before").with("restore", id.to_string()))?;
    let backup = engine.catalogue.backup(&backup.to_string())?;
    let safety = safety(&source)?;
    let back = replace(
        engine,
        &Job {
            what: What::Backup(Box::new(backup)),
            source,
            safety,
            confirmation: None,
            rows_may_differ: true,
        },
        observer,
        cancel,
    )?;
    let mut row = engine.catalogue.restore(&id.to_string())?;
    row.state = RestoreState::Undone;
    row.steps.push(RestoreStep {
        name: "undo".to_owned(),
        state: StepState::Done,
        started_at: Some(back.started_at),
        ended_at: back.ended_at,
    });
    engine.catalogue.update_restore(&row, None)?;
    record(engine, &row, "restore.undo", None)?;
    Ok(row)
}

/// Finishes or takes back what was cut off, and removes what was kept long enough. Called at every start; cheap where there is nothing. What
/// cannot be reached now is answered, and asked again at the next start.
///
/// # Errors
/// The catalogue's own, and a cancellation.
pub fn settle(engine: &Engine, cancel: &Cancel) -> Result<Vec<Error>> {
    let mut left = Vec::new();
    for row in engine.catalogue.unsettled_replacements()? {
        keep_for_later(settle_one(engine, &row.id, cancel), &row.id, &mut left)?;
    }
    let now = (engine.now)();
    for row in engine.catalogue.kept_replacements(None)? {
        if row.kept_until.is_none_or(|until| until > now) {
            break;
        }
        if let Some(longer) = keep_longer(engine, &row, now)? {
            left.push(longer);
            continue;
        }
        keep_for_later(forget(engine, &row.id, cancel).map(drop), &row.id, &mut left)?;
    }
    Ok(left)
}

/// What was recorded within the last hours says nothing of the clock: they may all have passed since it jumped.
const SETTLED: TimeDelta = TimeDelta::hours(12);
/// A day without a line in the journal is nothing to wonder about.
const A_DAY: TimeDelta = TimeDelta::days(1);
/// How long after a doubt a second one is believed: a computer that is seldom used goes through days without a line.
const BELIEVED: TimeDelta = TimeDelta::days(90);

/// Under which name the clockwork remembers when the clock was last doubted for what this restore keeps.
fn doubted(id: &Id) -> String {
    format!("kept_doubted:{id}")
}

/// What is kept does not go because a clock says so that may be wrong: where nothing was recorded for longer than a day, it stays for its time once more,
/// from now on. Only when that is over as well, it goes. The answer says so, once.
fn keep_longer(engine: &Engine, row: &Restore, now: DateTime<Utc>) -> Result<Option<Error>> {
    let catalogue = &engine.catalogue;
    let doubted = doubted(&row.id);
    let before = catalogue.last_recorded(now - SETTLED)?;
    if before.is_some_and(|before| now - before <= A_DAY) {
        return Ok(None);
    }
    let known: Option<DateTime<Utc>> = catalogue.clockwork(&doubted)?;
    if known.is_some_and(|then| then <= now && now - then <= BELIEVED) {
        return Ok(None);
    }
    let until = now + TimeDelta::days(engine.undo_keep_days()?.max(1));
    // Somebody else's start may have done it at this moment: the same, twice.
    catalogue.set_clockwork(&doubted, Some(&now))?;
    catalogue.keep_until(&row.id, Some(until), row.kept_bytes)?;
    let error = Error::new(Code::Refused, "kept_longer")
        .with("restore", row.id.to_string())
        .with("seen_at", before.unwrap_or(row.started_at).to_rfc3339())
        .with("now_at", now.to_rfc3339())
        .with("until_at", until.to_rfc3339());
    Ok(Some(error))
}

/// What cannot be reached now is no reason to stop; what is at work, here or elsewhere, is nothing to tell.
fn keep_for_later(outcome: Result<()>, id: &Id, left: &mut Vec<Error>) -> Result<()> {
    match outcome {
        Err(error) if matches!(error.code(), Code::Cancelled | Code::CatalogueCorrupt) => return Err(error),
        Err(error) if error.code() != Code::Busy => left.push(error.or_with("restore", id.to_string())),
        _ => {}
    }
    Ok(())
}

fn source_of(engine: &Engine, row: &Restore) -> Result<Source> {
    let id = row
        .source_id
        .ok_or_else(|| Error::internal("settle a replacement", "it has no source"))?;
    Ok(Source {
        address: row.target.clone(),
        ..engine.catalogue.known_source(&id.to_string())?
    })
}

/// The lease on a restore's target, and the row as it is now that nobody else can change it.
fn hold(engine: &Engine, id: &Id, cancel: &Cancel) -> Result<(Lease, Restore)> {
    let row = engine.catalogue.restore(&id.to_string())?;
    let resource = Resource::Restore(row.target);
    let lease = Lease::acquire(&engine.catalogue, &resource, id, engine.lease()?, cancel)?;
    Ok((lease, engine.catalogue.restore(&id.to_string())?))
}

fn settle_one(engine: &Engine, id: &Id, cancel: &Cancel) -> Result<()> {
    let (lease, mut row) = hold(engine, id, cancel)?;
    let source = source_of(engine, &row)?;
    let Some(plan) = engine.catalogue.replacement(id)? else {
        return engine.catalogue.settle_replacement(&row, &lease);
    };
    let mut live = live(engine, &source, &Id::new(), cancel)?;
    let now = (engine.now)().max(row.started_at);
    if row.state == RestoreState::Done {
        // An undo was cut off.
        let undone = live.replace.is_undone(&plan)?;
        end_steps(&mut row, undone, now);
        if undone {
            undone_now(engine, &mut live, &mut row, &plan)?;
        }
        engine.catalogue.settle_replacement(&row, &lease)?;
        let error = (!undone).then(|| cut_off(&row));
        return record(engine, &row, "restore.undo", error.as_ref());
    }
    let standing = live.replace.recover(&plan)?;
    row.remarks.extend(live.replace.remarks());
    row.ended_at = Some(now);
    end_steps(&mut row, standing == Standing::After, now);
    let error = match standing {
        Standing::After => {
            row.state = RestoreState::Done;
            row.error = None;
            row.remarks.push(Error::new(Code::Interrupted, "replace_finished_later"));
            keep(engine, &mut live, &mut row, &plan);
            None
        }
        Standing::Before => {
            if row.state == RestoreState::Running {
                row.state = RestoreState::Interrupted;
            }
            let error = cut_off(&row);
            if row.state == RestoreState::Interrupted {
                row.error = Some(error.clone());
            }
            Some(error)
        }
    };
    engine.catalogue.settle_replacement(&row, &lease)?;
    record(engine, &row, "restore.settle", error.as_ref())
}

fn cut_off(row: &Restore) -> Error {
    Error::new(Code::Interrupted, "replace_taken_back").with("restore", row.id.to_string())
}

fn end_steps(row: &mut Restore, well: bool, now: DateTime<Utc>) {
    // An earlier start may have put the row to rest without being able to look.
    for step in row
        .steps
        .iter_mut()
        .filter(|s| matches!(s.state, StepState::Running | StepState::Failed))
    {
        step.state = if well { StepState::Done } else { StepState::Failed };
        step.ended_at = Some(now);
    }
}

/// Removes what is kept for an undo before its time.
///
/// # Errors
/// `REFUSED` where nothing is kept; what connecting can bring.
pub fn forget(engine: &Engine, id: &Id, cancel: &Cancel) -> Result<Restore> {
    let (lease, mut row) = hold(engine, id, cancel)?;
    let (Some(plan), Some(_)) = (engine.catalogue.replacement(id)?, row.kept_until) else {
        return Err(Error::new(Code::Refused, "undo_gone").with("restore", id.to_string()));
    };
    let source = source_of(engine, &row)?;
    live(engine, &source, &Id::new(), cancel)?.replace.forget(&plan)?;
    row.kept_until = None;
    row.kept_bytes = None;
    engine.catalogue.set_clockwork::<DateTime<Utc>>(&doubted(id), None)?;
    engine.catalogue.settle_replacement(&row, &lease)?;
    record(engine, &row, "restore.forget", None)?;
    Ok(row)
}
