//! How everything stands that channels are told of, from the catalogue. The one judgement of what a run means is [`meaning`]; the window's
//! own notifications ask it too.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_engine::catalogue::{Delivery, Reading, Whose};
use coffre_model::backup::{Backup, BackupState, Copy, CopyState};
use coffre_model::channel::DeliveryState;
use coffre_model::drill::{Drill, DrillState};
use coffre_model::journal::Entry;
use coffre_model::notice::{About, Event, Level, Named, Occurrence, Standing, What};
use coffre_model::plan::Plan;
use coffre_model::protection::{FRESH, ProtectionCause, ProtectionState};
use coffre_model::slot::{Slot, SlotState};
use coffre_model::source::Source;
use coffre_model::{Code, Error, Id, Result};
use serde_json::{Value, json};

use super::sayable;
use crate::Coffre;
use crate::drills::verdict;
use crate::window::protection::{Around, Protection, protection};

/// So long a slot may be due before one that was missed is told: until then it may still be caught up.
const CAUGHT_UP_WITHIN: TimeDelta = TimeDelta::hours(1);
/// After so many tries a message that is still tried says that its channel does not work.
const TRIES_THAT_TELL: u32 = 3;

/// The first copy that should be there and is not.
pub(crate) fn not_good(backup: &Backup) -> Option<&Copy> {
    let bad = |copy: &&Copy| matches!(copy.state, CopyState::Missing | CopyState::Corrupt);
    backup.copies.iter().find(bad)
}

/// What the state of a run means, and whether all its copies are good. Nothing for what a person did on purpose, and for what is not known
/// any more. The one judgement, whoever tells of it.
pub(crate) fn meaning(state: BackupState, whole: bool) -> Option<(Level, What)> {
    match state {
        BackupState::Verified if whole => Some((Level::Good, What::BackupVerified)),
        BackupState::Verified => Some((Level::Warning, What::BackupIncomplete)),
        BackupState::Stored => Some((Level::Warning, What::BackupStored)),
        BackupState::Failed | BackupState::Interrupted => Some((Level::Bad, What::BackupFailed)),
        BackupState::Missed => Some((Level::Bad, What::BackupMissed)),
        BackupState::Running | BackupState::Cancelled | BackupState::Skipped | BackupState::Deleting | BackupState::Deleted => {
            None
        }
    }
}

/// Everything that stands, and what a summary needs.
pub(super) struct Look {
    pub(super) standings: Vec<Standing>,
    pub(super) protections: Vec<(Source, Protection)>,
}

fn named(id: Id, name: &str) -> Option<Named> {
    Some(Named {
        id,
        name: name.to_owned(),
    })
}

pub(super) fn look(coffre: &Coffre) -> Result<Look> {
    let catalogue = &coffre.engine.catalogue;
    let around = Around::as_recorded(coffre)?;
    let now = (coffre.engine.now)();
    let sources = coffre.sources()?;
    let runs = catalogue.last_runs()?;
    let (bad_slots, open_slots) = (catalogue.last_bad_slots()?, catalogue.open_slots()?);
    let mut standings = Vec::new();
    for plan in &around.plans {
        let run = runs.iter().find(|run| run.plan_id == Some(plan.id));
        let open = open_slots.iter().rev().find(|slot| slot.plan_id == plan.id);
        standings.extend(of_plan(plan, run, bad_slots.get(&plan.id), open, now));
        let hold = catalogue.retention_hold(&plan.id)?;
        standings.push(of_retention(plan, hold, now));
    }
    for run in runs.iter().filter(|run| run.plan_id.is_none()) {
        standings.extend(of_run(run.source_id, run));
    }
    let mut protections = Vec::new();
    for source in sources {
        let protection = protection(coffre, &source, &around)?;
        standings.extend(of_protection(&source, &protection, now));
        protections.push((source, protection));
    }
    // After the protection that rests on it: what says why is never the older of the two.
    let drills = of_drills(coffre)?;
    // A rehearsal that found the last run's copies bad says that this run is no good any more.
    for standing in standings.iter_mut().filter(|standing| standing.about == About::Backup) {
        let run = standing.event.backup.as_ref().map(|backup| backup.id);
        let same = |drill: &&Standing| run.is_some() && drill.event.backup.as_ref().map(|backup| backup.id) == run;
        let topics: Vec<String> = drills.iter().filter(same).map(Standing::topic).collect();
        standing.said_by.extend(topics);
    }
    standings.extend(drills);
    standings.extend(of_verifications(coffre)?);
    standings.extend(of_channels(coffre)?);
    Ok(Look { standings, protections })
}

/// Of one run. `id`: under which it is remembered.
fn of_run(id: Id, run: &Backup) -> Option<Standing> {
    let (level, what) = meaning(run.state, not_good(run).is_none())?;
    let mut event = Event::new(what, run.ended_at.unwrap_or(run.started_at), level);
    event.source = named(run.source_id, &run.source);
    event.plan = run.plan_id.and_then(|id| named(id, run.plan.as_deref().unwrap_or_default()));
    event.backup = named(run.id, run.code.as_str());
    let copy = not_good(run);
    event.error = match level {
        Level::Good => None,
        _ => run.error.as_ref().or_else(|| copy?.error.as_ref()).map(sayable),
    };
    let mut fact = |name: &str, value: Value| drop(event.facts.insert(name.to_owned(), value));
    fact("destination", json!(copy.map(|copy| copy.destination.as_str())));
    fact("rows", json!(run.rows));
    fact("stored_bytes", json!(run.stored_bytes));
    fact("duration_ms", json!(run.duration_ms));
    Some(Standing {
        about: About::Backup,
        id,
        level,
        fact: run.id.to_string(),
        retrying: false,
        event,
        recovery: Some(What::BackupRecovered),
        success: true,
        // Where its copies were read again and found bad, that says it.
        said_by: vec![About::Verification.topic(&run.id)],
    })
}

/// Of a plan: its last run, or a slot after that for which there is none.
fn of_plan(plan: &Plan, run: Option<&Backup>, bad: Option<&Slot>, open: Option<&Slot>, now: DateTime<Utc>) -> Option<Standing> {
    let tried = open.filter(|slot| slot.state == SlotState::Due && slot.tries > 0 && slot.reason.is_some());
    // A person has to unlock it: nobody waits with that.
    let retrying = tried.is_some_and(|slot| {
        slot.reason
            .as_ref()
            .is_none_or(|reason| reason.code() != Code::SecretUnavailable)
    });
    let slot = match tried {
        // Its run has a row of its own, or never got that far.
        Some(slot) if slot.backup_id.is_none() => Some(slot),
        Some(_) => None,
        None => {
            let may_come = open.is_some_and(|slot| slot.state == SlotState::Running || now - slot.seen_at < CAUGHT_UP_WITHIN);
            bad.filter(|slot| slot.state == SlotState::Failed || !may_come)
        }
    };
    let newer = |slot: &&Slot| {
        let own = slot.backup_id.is_some_and(|id| run.is_some_and(|run| run.id == id));
        !own && run.is_none_or(|run| slot.at > run.started_at)
    };
    if let Some(slot) = slot.filter(newer) {
        let what = match slot.state {
            SlotState::Missed => What::BackupMissed,
            _ => What::BackupFailed,
        };
        let mut event = Event::new(what, slot.ended_at.unwrap_or(slot.seen_at), Level::Bad);
        event.source = named(plan.source_id, &plan.source);
        event.plan = named(plan.id, &plan.name);
        event.error = slot.reason.as_ref().map(sayable);
        event.facts.insert("slot_at".to_owned(), json!(slot.at));
        return Some(Standing {
            about: About::Backup,
            id: plan.id,
            level: Level::Bad,
            fact: format!("slot:{}", slot.at.timestamp()),
            retrying,
            event,
            recovery: Some(What::BackupRecovered),
            success: false,
            said_by: Vec::new(),
        });
    }
    let mut standing = of_run(plan.id, run?)?;
    standing.retrying = retrying;
    if let Some(at) = tried
        .and_then(|slot| slot.next_try_at)
        .filter(|_| standing.level == Level::Bad)
    {
        standing.event.facts.insert("again_at".to_owned(), json!(at));
    }
    Some(standing)
}

fn of_retention(plan: &Plan, hold: Option<(DateTime<Utc>, Error)>, now: DateTime<Utc>) -> Standing {
    let level = if hold.is_some() { Level::Warning } else { Level::Good };
    let at = hold.as_ref().map_or(now, |(since, _)| *since);
    let mut event = Event::new(What::RetentionStopped, at, level);
    event.source = named(plan.source_id, &plan.source);
    event.plan = named(plan.id, &plan.name);
    event.error = hold.as_ref().map(|(_, reason)| sayable(reason));
    Standing {
        about: About::Retention,
        id: plan.id,
        level,
        fact: hold.map_or_else(|| "none".to_owned(), |(since, _)| since.to_rfc3339()),
        retrying: false,
        event,
        recovery: Some(What::RetentionResumed),
        success: false,
        said_by: Vec::new(),
    }
}

/// Of a source. Nothing where another standing says it already, or a person chose it, or it is too new to judge.
fn of_protection(source: &Source, protection: &Protection, now: DateTime<Utc>) -> Option<Standing> {
    use ProtectionCause::{LastFailed, Never, NoPlan, Paused};
    let (level, what) = match protection.state {
        ProtectionState::Protected => (Level::Good, What::SourceProtected),
        ProtectionState::AtRisk => (Level::Warning, What::SourceAtRisk),
        ProtectionState::Unprotected => (Level::Bad, What::SourceUnprotected),
    };
    // Also one from the future: a clock was wrong, then or now.
    let young = now - source.created_at < FRESH;
    match (protection.state, protection.cause) {
        (ProtectionState::AtRisk, Some(LastFailed | Paused | NoPlan)) => return None,
        (_, Some(Never | NoPlan)) if young => return None,
        _ => {}
    }
    let mut event = Event::new(what, now, level);
    event.source = named(source.id, &source.name);
    let mut fact = |name: &str, value: Value| drop(event.facts.insert(name.to_owned(), value));
    fact("cause", json!(protection.cause.map(ProtectionCause::as_str)));
    fact("verified_at", json!(protection.last_verified_at));
    Some(Standing {
        about: About::Protection,
        id: source.id,
        level,
        fact: format!(
            "{}:{}",
            protection.cause.map_or("none", ProtectionCause::as_str),
            protection.last_verified_at.map_or(0, |at| at.timestamp())
        ),
        retrying: false,
        event,
        recovery: Some(What::SourceProtected),
        success: false,
        said_by: match protection.cause {
            Some(ProtectionCause::DrillFailed) => vec![About::Drill.topic(&source.id)],
            _ => Vec::new(),
        },
    })
}

/// Why a channel does not reach its receiver, if so: from the message that was tried last.
pub(crate) fn failing(last: &Delivery) -> Option<&Error> {
    let bad = match last.state {
        DeliveryState::GivenUp => true,
        DeliveryState::Pending | DeliveryState::Sending => last.tries > 0,
        // Taken, but not by everybody.
        DeliveryState::Sent => last.error.is_some(),
    };
    last.error.as_ref().filter(|_| bad)
}

fn of_channels(coffre: &Coffre) -> Result<Vec<Standing>> {
    let last: BTreeMap<Id, Delivery> = coffre.engine.catalogue.last_deliveries()?;
    let channels = coffre.engine.catalogue.channels()?;
    let of = |channel: coffre_model::channel::Channel| {
        let last = last.get(&channel.id)?;
        let why = failing(last).filter(|_| last.state != DeliveryState::Pending || last.tries >= TRIES_THAT_TELL);
        if why.is_none() && last.state == DeliveryState::Pending {
            return None;
        }
        let level = if why.is_some() { Level::Warning } else { Level::Good };
        let mut event = Event::new(What::ChannelFailing, last.ended_at.unwrap_or(last.created_at), level);
        event.error = why.map(sayable);
        event.facts.insert("channel".to_owned(), json!(channel.name));
        Some(Standing {
            about: About::Channel,
            id: channel.id,
            level,
            fact: last.id.to_string(),
            retrying: false,
            event,
            recovery: Some(What::ChannelRecovered),
            success: false,
            said_by: Vec::new(),
        })
    };
    Ok(channels.into_iter().filter_map(of).collect())
}

/// An event that concerns a backup.
fn about_backup(what: What, at: DateTime<Utc>, level: Level, backup: &Backup) -> Event {
    let mut event = Event::new(what, at, level);
    event.source = named(backup.source_id, &backup.source);
    event.plan = backup
        .plan_id
        .and_then(|id| named(id, backup.plan.as_deref().unwrap_or_default()));
    event.backup = named(backup.id, backup.code.as_str());
    event
}

/// Of each source: how its last rehearsed restore ended, whichever of its backups that was.
fn of_drills(coffre: &Coffre) -> Result<Vec<Standing>> {
    let catalogue = &coffre.engine.catalogue;
    let of = |drill: Drill| {
        let backup = catalogue.backup(&drill.backup_id.to_string())?;
        let level = match drill.state {
            DrillState::Failed => Level::Bad,
            _ => Level::Good,
        };
        let mut event = about_backup(What::DrillFailed, drill.ended_at.unwrap_or(drill.started_at), level, &backup);
        event.error = verdict(&drill).as_ref().map(sayable);
        Ok(Standing {
            about: About::Drill,
            id: drill.source_id,
            level,
            fact: drill.id.to_string(),
            retrying: false,
            event,
            recovery: Some(What::DrillRecovered),
            success: false,
            said_by: Vec::new(),
        })
    };
    catalogue.last_drill_of_each()?.into_iter().map(of).collect()
}

/// Of each backup of which a verification failed once: whether each of its copies was read to its end since. A copy that is gone has nothing to
/// answer for any more.
fn of_verifications(coffre: &Coffre) -> Result<Vec<Standing>> {
    let catalogue = &coffre.engine.catalogue;
    let mut of_backups: BTreeMap<Id, Vec<(Id, Reading)>> = BTreeMap::new();
    for (backup, destination, reading) in catalogue.readings()? {
        of_backups.entry(backup).or_default().push((destination, reading));
    }
    let mut standings = Vec::new();
    for (id, readings) in of_backups {
        let backup = match catalogue.backup(&id.to_string()) {
            Ok(backup) => backup,
            // The catalogue was made anew, and does not know it.
            Err(error) if error.code() == Code::NotFound => continue,
            Err(error) => return Err(error),
        };
        standings.extend(of_readings(&backup, &readings));
    }
    Ok(standings)
}

fn of_readings(backup: &Backup, readings: &[(Id, Reading)]) -> Option<Standing> {
    let there = readings.iter().filter_map(|(destination, reading)| {
        let kept =
            |copy: &&Copy| copy.destination_id == *destination && !matches!(copy.state, CopyState::Deleted | CopyState::Deleting);
        backup.copies.iter().find(kept).map(|copy| (copy, reading))
    });
    let there: Vec<(&Copy, &Reading)> = there.collect();
    let bad = there.iter().find(|(copy, reading)| {
        let read_since = copy.state == CopyState::Verified && copy.verified_at.is_some_and(|at| at > reading.at);
        reading.error.is_some() && !read_since
    });
    let last = there.iter().map(|(_, reading)| reading.at).max()?;
    let level = if bad.is_some() { Level::Bad } else { Level::Good };
    let mut event = about_backup(What::VerifyFailed, bad.map_or(last, |(_, reading)| reading.at), level, backup);
    if let Some((copy, reading)) = bad {
        event.error = reading.error.as_ref().map(sayable);
        event.facts.insert("destination".to_owned(), json!(copy.destination));
    }
    Some(Standing {
        about: About::Verification,
        id: backup.id,
        level,
        fact: event.at.to_rfc3339(),
        retrying: false,
        event,
        recovery: Some(What::VerifyRecovered),
        success: false,
        said_by: Vec::new(),
    })
}

/// What a line of the journal means to a channel, if anything. What stands (a failed drill, a failed verification) is told as long as it stands
/// and not here, but for drills that were cut off, and those of a source that is gone: they leave nothing that stands.
pub(super) fn occurrence(entry: &Entry, whose: &Whose) -> Option<Occurrence> {
    let news = |code: Code| !matches!(code, Code::Cancelled | Code::Busy | Code::Usage | Code::Refused);
    let error = entry.error.as_ref().filter(|error| news(error.code()));
    let failed = entry.result != "ok";
    if failed && error.is_none() {
        return None;
    }
    let (what, level) = match (entry.action.as_str(), failed) {
        ("restore.replace", false) => (What::RestoreDone, Level::Good),
        ("restore.replace" | "restore.run" | "restore.table" | "restore.settle", true) => (What::RestoreFailed, Level::Bad),
        ("restore.undo", false) => (What::UndoDone, Level::Good),
        ("restore.undo", true) => (What::UndoFailed, Level::Bad),
        ("drill.run", true) if !whose.lives || error.is_some_and(|error| error.code() == Code::Interrupted) => {
            (What::DrillFailed, Level::Bad)
        }
        ("catalogue.rebuild", _) => (What::CatalogueRebuilt, Level::Warning),
        _ => return None,
    };
    let mut event = Event::new(what, entry.at, level);
    event.error = error.map(sayable);
    event.source = whose.replaced.clone().or_else(|| whose.source.clone());
    event.plan.clone_from(&whose.plan);
    event.backup.clone_from(&whose.backup);
    event.facts.insert("subject".to_owned(), json!(entry.subject));
    Some(Occurrence {
        key: format!("journal:{}", entry.id),
        event,
    })
}
