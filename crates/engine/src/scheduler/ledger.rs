//! What schedules promised and what came of it, for judging how safe a source is ([`coffre_model::protection`]).
//!
//! When a plan is due follows from its schedule, not from the rows of slots: where nobody watched the clock there are none, and that is
//! what a person must hear of.

use chrono::{DateTime, Utc};
use coffre_model::Result;
use coffre_model::plan::Plan;
use coffre_model::protection::{Asked, Due, GRACE, MOMENTS};
use coffre_model::schedule::Schedule;
use coffre_model::source::Source;

use super::{Floors, paused_at};
use crate::catalogue::slots::Unkept;
use crate::context::Engine;

/// How many moments are counted that nobody wrote down.
const UNWRITTEN: usize = 100;

/// What the plans of a source ask for, and what of it did not come.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Its plans that may start.
    pub asked: Vec<Asked>,
    /// How many may not: they, or all schedules, are paused.
    pub paused: usize,
    /// Slots since the last proof of their plan that brought none.
    pub unkept: Unkept,
}

/// Reads the ledger of a source. `proved`: when its newest verified backup began.
///
/// # Errors
/// The catalogue's own.
pub fn ledger<'a>(
    engine: &Engine,
    source: &Source,
    plans: impl Iterator<Item = &'a Plan>,
    proved: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Ledger> {
    let all_paused = paused_at(engine)?.is_some();
    let floors = Floors::read(engine, now)?;
    let mut ledger = Ledger::default();
    for plan in plans {
        if plan.paused_at.is_some() || (all_paused && plan.schedule.is_some()) {
            ledger.paused += 1;
            continue;
        }
        // A schedule that cannot be read any more starts nothing: what its interval says holds, and its plan says why.
        let schedule = plan.schedule.as_ref().and_then(|given| Schedule::of(given).ok());
        let Some(schedule) = schedule else {
            ledger.asked.push(Asked {
                every: plan.every,
                due: None,
            });
            continue;
        };
        let since = floors.since(plan);
        let own = engine.catalogue.proved_for(source, plan)?.unwrap_or(since);
        let moments = |after| schedule.between(after, DateTime::<Utc>::MAX_UTC, MOMENTS);
        ledger.asked.push(Asked {
            every: plan.every,
            due: Some(Due {
                own: moments(own),
                any: moments(proved.unwrap_or(since)),
            }),
        });
        let written = engine.catalogue.unkept_slots(&plan.id, own)?;
        let from = floors.of(plan, now).unwrap_or(now).max(own);
        let unwritten = schedule.between(from, now - GRACE, UNWRITTEN);
        let unkept = &mut ledger.unkept;
        unkept.missed += written.missed + unwritten.len() as u64;
        unkept.failed += written.failed;
        unkept.skipped += written.skipped;
        let first = unkept
            .since
            .into_iter()
            .chain(written.since)
            .chain(unwritten.first().copied());
        unkept.since = first.min();
    }
    Ok(ledger)
}
