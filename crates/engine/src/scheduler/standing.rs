//! What holds beside plans and slots: pauses, from when on a plan counts, and who watches the clock.

use chrono::{DateTime, Utc};
use coffre_model::{Id, Result};

use crate::context::{Engine, Subject};

/// The name in `clockwork` of the moment from which on a plan's slots count.
fn since_name(plan: &Id) -> String {
    format!("since:{plan}")
}

/// Notes that a plan's slots count from `at` on: its schedule is new, or it was paused until now.
///
/// # Errors
/// The catalogue's own.
pub fn count_from(engine: &Engine, plan: &Id, at: DateTime<Utc>) -> Result<()> {
    engine.catalogue.set_clockwork(&since_name(plan), Some(&at))
}

/// Since when nothing starts by itself, if so.
///
/// # Errors
/// The catalogue's own.
pub fn paused_at(engine: &Engine) -> Result<Option<DateTime<Utc>>> {
    engine.catalogue.clockwork("paused")
}

/// Pauses every schedule, or lets them go on: from now on, without making up for what the pause left out.
///
/// # Errors
/// The catalogue's own.
pub fn pause_all(engine: &Engine, paused: bool) -> Result<()> {
    let now = (engine.now)();
    if paused == paused_at(engine)?.is_some() {
        return Ok(());
    }
    if !paused {
        engine.catalogue.set_clockwork("resumed", Some(&now))?;
    }
    engine.catalogue.set_clockwork("paused", paused.then_some(&now))?;
    let action = if paused { "schedule.pause" } else { "schedule.resume" };
    let subject = Subject {
        kind: "schedule",
        id: None,
        name: "",
    };
    engine.record(action, subject, None)
}

/// Says that this process watches the clock, or that it does not any more.
///
/// # Errors
/// The catalogue's own.
pub fn announce(engine: &Engine, watching: bool) -> Result<()> {
    let owner = engine.home.owner()?;
    let since = (engine.now)();
    engine
        .catalogue
        .set_clockwork(&format!("watch:{owner}"), watching.then_some(&since))
}

/// Whether any living process watches the clock. Forgets those that are gone.
///
/// # Errors
/// The catalogue's own.
pub fn is_watched(engine: &Engine) -> Result<bool> {
    let mut watched = false;
    for owner in engine.catalogue.clockworks::<DateTime<Utc>>("watch:")?.into_keys() {
        if engine.home.owner_alive(&owner)? {
            watched = true;
        } else {
            engine
                .catalogue
                .set_clockwork::<DateTime<Utc>>(&format!("watch:{owner}"), None)?;
        }
    }
    Ok(watched)
}
