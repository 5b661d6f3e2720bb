//! Drills that nobody asks for: which backup is to be rehearsed now, if any. Only while nothing else goes on, and on mains power.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::backup::Backup;
use coffre_model::drill::{Drill, DrillState};
use coffre_model::source::Source;
use coffre_model::throw_away::Need;
use coffre_model::{Cancel, Code, Id, Result};

use super::conditions::mains_are_missing;
use super::standing::paused_at;
use crate::context::Engine;
use crate::decrypt;

/// After a drill that was cut off, or that failed although a newer backup may be better.
const SOON: TimeDelta = TimeDelta::hours(1);
/// After one that a person stopped, or that could not be carried out here.
const LATER: TimeDelta = TimeDelta::days(1);
/// A throw-away database takes so many times the room of its dump, indexes and journals included.
const TIMES: u64 = 3;
/// And this in any case.
const LEAST_ROOM: u64 = 512 << 20;

/// How often each source is rehearsed; nothing where never.
///
/// # Errors
/// `USAGE` for a setting that is not allowed.
pub fn every(engine: &Engine) -> Result<Option<TimeDelta>> {
    Ok(match engine.setting("drill_every")?.as_str() {
        "daily" => Some(TimeDelta::days(1)),
        "weekly" => Some(TimeDelta::days(7)),
        "monthly" => Some(TimeDelta::days(30)),
        _ => None,
    })
}

/// Whether a source is due, by its last drill of whatever outcome.
pub fn is_due(last: Option<&Drill>, newest: &Id, every: TimeDelta, now: DateTime<Utc>) -> bool {
    let Some(last) = last else { return true };
    let pause = match last.state {
        DrillState::Running => return false,
        DrillState::Done => every,
        DrillState::Interrupted => SOON,
        DrillState::Cancelled => LATER,
        DrillState::Failed if !last.says_it_does_not_hold() => LATER,
        // It is known; only another backup is worth another look.
        DrillState::Failed if last.backup_id != *newest => SOON,
        DrillState::Failed => every,
    };
    now - last.ended_at.unwrap_or(last.started_at) >= pause.min(every)
}

/// The backup that is to be rehearsed now. `not_now`: sources that were tried a short while ago.
///
/// # Errors
/// The catalogue's own.
pub fn due(engine: &Engine, not_now: &BTreeSet<Id>) -> Result<Option<Backup>> {
    let Some(every) = every(engine)? else { return Ok(None) };
    if paused_at(engine)?.is_some() || mains_are_missing() || engine.catalogue.is_working()? {
        return Ok(None);
    }
    let now = (engine.now)();
    let mut waiting: Vec<(Option<DateTime<Utc>>, Source, Backup)> = Vec::new();
    for source in engine.catalogue.sources()? {
        if not_now.contains(&source.id) {
            continue;
        }
        let Some(newest) = engine.catalogue.latest_proof(&source)? else {
            continue;
        };
        let last = engine.catalogue.last_attempt(&source.id)?;
        if is_due(last.as_ref(), &newest.id, every, now) {
            waiting.push((last.map(|last| last.started_at), source, newest));
        }
    }
    // Who was never rehearsed comes first, then who was so the longest ago.
    waiting.sort_by_key(|(last, ..)| *last);
    for (_, source, backup) in waiting {
        match can_be_rehearsed(engine, &source, &backup) {
            Ok(true) => return Ok(Some(backup)),
            Ok(false) => {}
            // Another source may fare better; a person's own drill says why this one cannot.
            Err(error) => tracing::debug!(%error, source = source.name, "whether a drill can be made"),
        }
    }
    Ok(None)
}

/// Whether this machine can bring it back: it has what serves it, its key, and the room.
fn can_be_rehearsed(engine: &Engine, source: &Source, backup: &Backup) -> Result<bool> {
    let Some(manifest) = engine.manifest(&backup.id)? else {
        return Ok(false);
    };
    let needed = backup.raw_bytes.unwrap_or(0).saturating_mul(TIMES).saturating_add(LEAST_ROOM);
    if engine.home.room()? < needed {
        return Ok(false);
    }
    match decrypt::for_backup(engine, backup, Some(&manifest)) {
        Err(error) if error.code() == Code::SecretUnavailable => return Ok(false),
        other => drop(other?),
    }
    let known = Source {
        has_secret: false,
        ..source.clone()
    };
    let runtime = engine.home.runtime_dir(&Id::new())?;
    let access = engine.access(&known, None, runtime.path().to_owned(), &Cancel::new())?;
    let need = Need {
        format: manifest.format,
        server_version: backup.server_version.clone(),
    };
    let kind = engine.adapters.database_named(&manifest.database)?;
    Ok(kind.can_throw_away(&need, &access)?.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffre_model::Error;

    #[test]
    fn when_a_source_is_due() {
        let now: DateTime<Utc> = "2026-11-21T08:00:00Z".parse().unwrap();
        let (old, new) = (Id::new(), Id::new());
        let last = |state, hours: i64, error: Option<Code>| Drill {
            id: Id::new(),
            backup_id: old,
            source_id: Id::new(),
            state,
            level: None,
            started_at: now - TimeDelta::hours(hours),
            ended_at: Some(now - TimeDelta::hours(hours)),
            restore_ms: None,
            server_version: None,
            tables: None,
            rows: None,
            remarks: Vec::new(),
            error: error.map(|code| Error::new(code, "internal")),
        };
        let week = TimeDelta::days(7);
        let due = |drill: &Drill, newest: &Id, every| is_due(Some(drill), newest, every, now);
        assert!(is_due(None, &new, week, now));
        for (state, error, newest, hours, expected) in [
            (DrillState::Done, None, new, 167, false),
            (DrillState::Done, None, new, 168, true),
            (DrillState::Running, None, new, 1000, false),
            (DrillState::Interrupted, None, old, 0, false),
            (DrillState::Interrupted, None, old, 1, true),
            (DrillState::Cancelled, None, old, 23, false),
            (DrillState::Cancelled, None, old, 24, true),
            (DrillState::Failed, Some(Code::VerifyMismatch), old, 167, false),
            (DrillState::Failed, Some(Code::VerifyMismatch), new, 1, true),
            (DrillState::Failed, Some(Code::HomeFull), new, 1, false),
            (DrillState::Failed, Some(Code::HomeFull), old, 24, true),
            // A clock that was set back starts nothing.
            (DrillState::Done, None, new, -500, false),
        ] {
            assert_eq!(due(&last(state, hours, error), &newest, week), expected, "{state} {hours}");
        }
        assert!(due(&last(DrillState::Cancelled, 3, None), &old, TimeDelta::hours(2)));
    }
}
