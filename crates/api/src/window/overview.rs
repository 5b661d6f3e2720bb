//! The overview: every source with its protection, the figures, a year of outcomes, the size over time, what runs.

use std::sync::PoisonError;

use chrono::{DateTime, Days, Local, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use coffre_engine::catalogue::Outcomes;
use coffre_engine::scheduler::{next_of, paused_at};
use coffre_model::backup::BackupState;
use coffre_model::protection::ProtectionState;
use coffre_model::slot::SlotState;
use coffre_model::{Error, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use super::Window;
use super::commands::Nothing;
use super::protection::Around;
use super::running::Running;
use super::sources::SourceRow;
use crate::Coffre;
use crate::notifications::Unheard;

/// How many days the calendar shows: twelve months.
const DAYS: u64 = 366;
/// How far back failures are counted.
const FAILURES: TimeDelta = TimeDelta::days(30);

/// How the runs of one local day ended. Days without a run are not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub struct Calendar {
    /// Local day, `YYYY-MM-DD`.
    pub day: String,
    /// Verified.
    pub verified: u64,
    /// Written, not read back.
    pub stored: u64,
    /// Failed or interrupted.
    pub failed: u64,
    /// Nobody was there.
    pub missed: u64,
    /// Cancelled, skipped, running.
    pub other: u64,
}

/// What lay at all destinations at the end of a local day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub struct SizePoint {
    /// Local day, `YYYY-MM-DD`.
    pub day: String,
    /// Bytes.
    pub stored_bytes: u64,
}

/// A run to come.
#[derive(Debug, Serialize, TS)]
pub struct NextRun {
    /// Its plan.
    pub plan_id: Id,
    /// The plan's name.
    pub plan: String,
    /// The source's name.
    pub source: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether that is past.
    pub overdue: bool,
    /// Why it waits or will fail.
    pub remark: Option<Error>,
    /// How often it was tried.
    pub tries: u32,
    /// Not tried again before.
    pub next_try_at: Option<DateTime<Utc>>,
}

/// The last run that is over.
#[derive(Debug, Serialize, TS)]
pub struct LastRunOfAll {
    /// Its id.
    pub id: Id,
    /// The source's name.
    pub source: String,
    /// How it ended.
    pub state: BackupState,
    /// When.
    pub at: DateTime<Utc>,
}

/// The figures.
#[derive(Debug, Serialize, TS)]
pub struct Figures {
    /// Bytes of all copies.
    pub stored_bytes: u64,
    /// Size of all places together, where all of them tell.
    pub capacity_bytes: Option<u64>,
    /// How many places there are.
    pub places: usize,
    /// Verified backups.
    pub verified: u64,
    /// Backups that lie somewhere.
    pub kept: u64,
    /// Failures of the last thirty days.
    pub failures: u64,
    /// Sources whose last run failed.
    pub failures_open: usize,
    /// The last run that is over.
    pub last: Option<LastRunOfAll>,
}

/// Everything.
#[derive(Debug, Serialize, TS)]
pub struct Overview {
    /// Every source, the least safe first.
    pub sources: Vec<SourceRow>,
    /// How many of them are protected.
    pub protected: usize,
    /// The figures.
    pub figures: Figures,
    /// Twelve months, oldest first.
    pub calendar: Vec<Calendar>,
    /// Twelve months, oldest first.
    pub sizes: Vec<SizePoint>,
    /// What runs now.
    pub running: Vec<Running>,
    /// How many can run at once.
    pub lanes: u32,
    /// What runs next.
    pub next: Vec<NextRun>,
    /// Whether nothing runs by itself because somebody paused it.
    pub schedules_paused: bool,
    /// Who should be told, and cannot be.
    pub unheard: Unheard,
}

/// A year of outcomes and sizes, until a backup changes or the day ends.
#[derive(Default)]
pub(super) struct Known {
    /// Counts the changes: what was counted before one of them is not kept.
    changes: u64,
    year: Option<(NaiveDate, Vec<Calendar>, Vec<SizePoint>)>,
}

/// The beginning of a local day. Where the clocks are put forward at midnight, the day begins when it begins.
fn beginning<Z: TimeZone>(zone: &Z, day: NaiveDate) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    for minutes in (0..=180).step_by(15) {
        let at = midnight + TimeDelta::minutes(minutes);
        if let Some(at) = zone.from_local_datetime(&at).earliest() {
            return at.to_utc();
        }
    }
    midnight.and_utc()
}

/// The last days in a zone, oldest first, each with its beginning and end.
fn days<Z: TimeZone>(zone: &Z, now: DateTime<Utc>, count: u64) -> Vec<(NaiveDate, DateTime<Utc>, DateTime<Utc>)> {
    let today = now.with_timezone(zone).date_naive();
    let day = |back: u64| today.checked_sub_days(Days::new(back));
    let mut found = Vec::new();
    for back in (0..count).rev() {
        let (Some(day), Some(next)) = (day(back), day(back).and_then(|day| day.succ_opt())) else {
            continue;
        };
        found.push((day, beginning(zone, day), beginning(zone, next)));
    }
    found
}

/// A year of outcomes and sizes, from the catalogue.
fn year(coffre: &Coffre, now: DateTime<Utc>) -> Result<(Vec<Calendar>, Vec<SizePoint>)> {
    let days = days(&Local, now, DAYS);
    let spans: Vec<_> = days.iter().map(|(_, from, to)| (*from, *to)).collect();
    let ends: Vec<_> = days.iter().map(|(_, _, to)| *to).collect();
    let outcomes = coffre.engine.catalogue.outcomes_within(&spans)?;
    let sizes = coffre.engine.catalogue.stored_at(&ends)?;
    let calendar = days
        .iter()
        .zip(outcomes)
        .filter(|(_, outcomes)| *outcomes != Outcomes::default());
    let calendar = calendar.map(|((day, ..), outcomes)| Calendar {
        day: day.to_string(),
        verified: outcomes.verified,
        stored: outcomes.stored,
        failed: outcomes.failed,
        missed: outcomes.missed,
        other: outcomes.other,
    });
    let points = days.iter().zip(sizes).map(|((day, ..), stored_bytes)| SizePoint {
        day: day.to_string(),
        stored_bytes,
    });
    // From the first day on which there was anything.
    let points = points.skip_while(|point| point.stored_bytes == 0);
    Ok((calendar.collect(), points.collect()))
}

/// What runs next, and what is due and waits.
fn next_runs(coffre: &Coffre) -> Result<Vec<NextRun>> {
    let mut next = Vec::new();
    let open = coffre.engine.catalogue.open_slots()?;
    for plan in coffre.plans()? {
        let run = |at, overdue, remark| NextRun {
            plan_id: plan.id,
            plan: plan.name.clone(),
            source: plan.source.clone(),
            at,
            overdue,
            remark,
            tries: 0,
            next_try_at: None,
        };
        let due = open
            .iter()
            .find(|slot| slot.plan_id == plan.id && slot.state == SlotState::Due);
        match due {
            Some(slot) => next.push(NextRun {
                tries: slot.tries,
                next_try_at: slot.next_try_at,
                ..run(slot.at, true, slot.reason.clone())
            }),
            // Why a schedule cannot be read is said with its plan.
            None => next.extend(
                next_of(&coffre.engine, &plan)
                    .unwrap_or_default()
                    .map(|at| run(at, false, None)),
            ),
        }
    }
    next.sort_by_key(|run| run.at);
    Ok(next)
}

impl Window {
    fn year(&self, coffre: &Coffre, now: DateTime<Utc>) -> Result<(Vec<Calendar>, Vec<SizePoint>)> {
        let today = now.with_timezone(&Local).date_naive();
        let changes = {
            let known = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((day, calendar, sizes)) = &known.year
                && *day == today
            {
                return Ok((calendar.clone(), sizes.clone()));
            }
            known.changes
        };
        let (calendar, sizes) = year(coffre, now)?;
        let mut known = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if known.changes == changes {
            known.year = Some((today, calendar.clone(), sizes.clone()));
        }
        Ok((calendar, sizes))
    }

    pub(super) fn forget_figures(&self) {
        let mut known = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner);
        known.changes += 1;
        known.year = None;
    }

    pub(super) fn overview(&self, _: Nothing) -> Result<Overview> {
        let coffre = self.coffre()?;
        let around = self.around(&coffre)?;
        let sources = self.source_rows(&coffre, &around)?;
        self.was_shown(&sources);
        let (calendar, sizes) = self.year(&coffre, around.now)?;
        Ok(Overview {
            protected: sources
                .iter()
                .filter(|row| row.protection.state == ProtectionState::Protected)
                .count(),
            figures: self.figures(&coffre, &around, &sources)?,
            sources,
            calendar,
            sizes,
            running: self.all_running()?,
            lanes: coffre.engine.max_parallel_runs()?,
            next: next_runs(&coffre)?,
            schedules_paused: paused_at(&coffre.engine)?.is_some(),
            unheard: coffre.unheard()?,
        })
    }

    fn figures(&self, coffre: &Coffre, around: &Around, sources: &[SourceRow]) -> Result<Figures> {
        let catalogue = &coffre.engine.catalogue;
        let totals = catalogue.totals()?;
        let recent = (around.now - FAILURES, around.now + TimeDelta::hours(1));
        let recent = catalogue.outcomes_within(&[recent])?.first().copied().unwrap_or_default();
        Ok(Figures {
            stored_bytes: totals.stored_bytes,
            capacity_bytes: self.capacity(around),
            places: around.mounts.sites(&around.destinations).len(),
            verified: totals.verified,
            kept: totals.kept,
            failures: recent.failed,
            failures_open: sources.iter().filter(|row| row.protection.error.is_some()).count(),
            last: catalogue.last_ended()?.map(|last| LastRunOfAll {
                id: last.id,
                at: last.ended_at.unwrap_or(last.started_at),
                source: last.source,
                state: last.state,
            }),
        })
    }

    /// The size of all places together; nothing while one of them is not known.
    fn capacity(&self, around: &Around) -> Option<u64> {
        let looks = self.lock_looks();
        let mut disks = std::collections::BTreeMap::new();
        for destination in &around.destinations {
            let look = looks.destinations.get(&destination.id)?;
            let space = look.found.as_ref().ok().copied().flatten()?;
            // Destinations on one disk share it.
            let disk = around.mounts.mounted_at(&destination.address);
            disks.insert(disk.unwrap_or_else(|| destination.address.clone()), space.total);
        }
        (!disks.is_empty()).then(|| disks.values().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_each_other_without_gaps_also_where_clocks_jump() {
        for zone in [
            "Europe/Paris",
            "America/Sao_Paulo",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "Africa/Cairo",
        ] {
            let zone: chrono_tz::Tz = zone.parse().unwrap();
            // A year in which Brazil put its clocks forward at midnight.
            for now in ["2018-12-31T23:30:00Z", "2026-11-21T08:00:00Z"] {
                let found = days(&zone, now.parse().unwrap(), DAYS);
                assert_eq!(found.len() as u64, DAYS);
                for pair in found.windows(2) {
                    assert_eq!(pair[0].2, pair[1].1, "{zone} {}", pair[0].0);
                }
                for (day, from, to) in &found {
                    let hours = (*to - *from).num_minutes() as f64 / 60.0;
                    assert!((22.5..=25.5).contains(&hours), "{zone} {day} has {hours} hours");
                    assert_eq!(from.with_timezone(&zone).date_naive(), *day);
                }
            }
        }
    }
}
