//! Protection as the window shows it: the model's judgement with what its sentence needs.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use coffre_engine::aim::aim;
use coffre_engine::scheduler::ledger;
use coffre_model::backup::{Backup, BackupState, Copy, CopyState};
use coffre_model::destination::Destination;
use coffre_model::plan::Plan;
use coffre_model::protection::{Drilled, Evidence, LastRun, ProtectionCause, ProtectionState, Proved, judge};
use coffre_model::source::Source;
use coffre_model::{Error, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use super::Window;
use super::looks::{Answer, Look};
use super::places::Mounts;
use crate::Coffre;
use crate::drills::DrilledSource;

/// Slots that brought no verified backup, since the last one that did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub struct Behind {
    /// Nobody was there for them.
    pub missed: u64,
    /// They did not work.
    pub failed: u64,
    /// They were left out because the run before them went on.
    pub skipped: u64,
    /// The first of them.
    pub since: DateTime<Utc>,
}

/// The parts of the sentence; the window puts them into words.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Protection {
    /// How safe the source is.
    pub state: ProtectionState,
    /// Why it is not safer.
    pub cause: Option<ProtectionCause>,
    /// When the newest verified backup was read to its end.
    pub last_verified_at: Option<DateTime<Utc>>,
    /// Verified copies of that backup, without those at destinations that did not answer when they were last asked.
    pub copies: usize,
    /// In how many places they are.
    pub places: usize,
    /// How long a restore took when one was last made or rehearsed.
    pub restore_ms: Option<u64>,
    /// What its plans owe; nothing where they kept what they promised.
    pub behind: Option<Behind>,
    /// The open error of the last run, where there is one.
    pub error: Option<Error>,
    /// The backup that the error belongs to.
    pub error_backup_id: Option<Id>,
}

/// Everything that is the same for all sources, read once.
pub(crate) struct Around {
    pub(crate) plans: Vec<Plan>,
    pub(super) destinations: Vec<Destination>,
    /// Destinations that did not answer when they were last asked: what lies there proves nothing now.
    silent: BTreeSet<Id>,
    pub(super) mounts: Mounts,
    pub(super) now: DateTime<Utc>,
}

impl Window {
    pub(super) fn around(&self, coffre: &Coffre) -> Result<Around> {
        let (plans, destinations) = (coffre.plans()?, coffre.destinations()?);
        let looks = self.lock_looks();
        let is_silent = |id: &&Id| looks.moved.contains(*id) || Look::answer(looks.destinations.get(*id)) == Answer::Silent;
        let ids = destinations.iter().map(|destination| &destination.id);
        let silent = ids.filter(is_silent).copied().collect();
        drop(looks);
        Ok(Around {
            plans,
            destinations,
            silent,
            mounts: Mounts::now(),
            now: super::now(),
        })
    }
}

/// A source with its last drill and how safe it is.
#[derive(Clone, Debug, Serialize)]
pub struct ProtectedSource {
    /// The source.
    #[serde(flatten)]
    pub source: DrilledSource,
    /// How safe it is, as far as the catalogue tells: no destination is asked.
    pub protection: Protection,
}

impl Coffre {
    /// How safe these sources are.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn with_protection(&self, sources: Vec<Source>) -> Result<Vec<ProtectedSource>> {
        let around = Around::as_recorded(self)?;
        let judged = |source: Source| {
            Ok(ProtectedSource {
                protection: protection(self, &source, &around)?,
                source: self.with_drill(source)?,
            })
        };
        sources.into_iter().map(judged).collect()
    }
}

impl Around {
    /// Without a window nobody looks at destinations in between: what the catalogue knows is what there is.
    pub(crate) fn as_recorded(coffre: &Coffre) -> Result<Around> {
        Ok(Around {
            plans: coffre.plans()?,
            destinations: coffre.destinations()?,
            silent: BTreeSet::new(),
            mounts: Mounts::now(),
            now: (coffre.engine.now)(),
        })
    }

    pub(super) fn plans_of<'a>(&'a self, source: &'a Id) -> impl Iterator<Item = &'a Plan> {
        self.plans.iter().filter(move |plan| plan.source_id == *source)
    }
}

/// In how many places the copies of a backup lie that can be used or may turn out to be usable.
pub(super) fn places_of(backup: &Backup, around: &Around) -> usize {
    let lies = |copy: &&Copy| matches!(copy.state, CopyState::Stored | CopyState::Verified);
    let copies: Vec<&Copy> = backup.copies.iter().filter(lies).collect();
    let there = |destination: &&Destination| copies.iter().any(|copy| copy.destination_id == destination.id);
    around.mounts.sites(around.destinations.iter().filter(there)).len()
}

/// How safe a source is.
///
/// Everything that it rests on was made of the database that the source points to now.
pub(crate) fn protection(coffre: &Coffre, source: &Source, around: &Around) -> Result<Protection> {
    let catalogue = &coffre.engine.catalogue;
    let newest = catalogue.latest_proof(source)?;
    let last = catalogue.last_run_here(source)?;
    let elsewhere = newest.is_none() && catalogue.latest(&source.id, true)?.is_some();
    let plans: Vec<&Plan> = around.plans_of(&source.id).collect();
    let copies = newest.iter().flat_map(|backup| &backup.copies);
    let copies = copies.filter(|copy| copy.state == CopyState::Verified);
    let (silent, verified): (Vec<_>, Vec<_>) = copies.partition(|copy| around.silent.contains(&copy.destination_id));
    let wanted = newest.as_ref().map_or(0, |backup| {
        let own = plans.iter().find(|plan| Some(plan.id) == backup.plan_id);
        let wanted = own.map(|plan| plan.destination_ids.len());
        // Made by hand, or by a plan that is gone: as many as the least demanding plan wants.
        wanted
            .or_else(|| plans.iter().map(|plan| plan.destination_ids.len()).min())
            .unwrap_or(1)
    });
    let began = newest.as_ref().map(|backup| backup.started_at);
    let ledger = ledger(&coffre.engine, source, plans.iter().copied(), began, around.now)?;
    let rehearsed = catalogue.last_ended_drill(source)?;
    let refuted = rehearsed.as_ref().filter(|drill| drill.says_it_does_not_hold());
    let evidence = Evidence {
        plans: ledger.asked,
        paused: ledger.paused,
        unusual: newest.as_ref().is_some_and(Backup::is_unusual),
        drilled: match &rehearsed {
            Some(_) if refuted.is_some() => Drilled::Failed,
            Some(_) => Drilled::Done,
            // Of what it pointed to before: that restores work here was seen.
            None if catalogue.last_drill_of_source(&source.id, false)?.is_some() => Drilled::Done,
            None => Drilled::Never(source.created_at),
        },
        elsewhere,
        proved: newest.as_ref().map(|backup| Proved {
            at: backup.started_at,
            copies: verified.len(),
            silent: silent.len(),
            wanted,
        }),
        last: last.as_ref().map(|backup| LastRun {
            at: backup.started_at,
            state: backup.state,
        }),
    };
    let judgement = judge(&evidence, around.now);
    let open = last.filter(|last| {
        matches!(
            last.state,
            BackupState::Failed | BackupState::Interrupted | BackupState::Missed
        ) && newest.as_ref().is_none_or(|newest| newest.started_at <= last.started_at)
    });
    let places = around.destinations.iter();
    let places = places.filter(|destination| verified.iter().any(|copy| copy.destination_id == destination.id));
    let restore = catalogue.last_restore_of_source(&source.id, Some(&aim(source)))?;
    let drill = catalogue.last_drill_of_source(&source.id, true)?;
    // The newer of the two: a real restore and a rehearsed one read the same bytes and load the same rows.
    let drill = drill.filter(|drill| {
        restore
            .as_ref()
            .and_then(|r| r.ended_at)
            .is_none_or(|ended| ended <= drill.at)
    });
    Ok(Protection {
        state: judgement.state,
        cause: judgement.cause,
        last_verified_at: newest.as_ref().and_then(|backup| backup.ended_at),
        copies: verified.len(),
        places: around.mounts.sites(places).len(),
        restore_ms: drill.and_then(|drill| drill.restore_ms).or_else(|| {
            let restore = restore?;
            let took = restore.ended_at? - restore.started_at;
            u64::try_from(took.num_milliseconds()).ok()
        }),
        behind: ledger.unkept.since.map(|since| Behind {
            missed: ledger.unkept.missed,
            failed: ledger.unkept.failed,
            skipped: ledger.unkept.skipped,
            since,
        }),
        error_backup_id: match (judgement.cause, refuted) {
            (Some(ProtectionCause::DrillFailed), Some(drill)) => Some(drill.backup_id),
            _ => open.as_ref().map(|backup| backup.id),
        },
        error: match (judgement.cause, refuted) {
            (Some(ProtectionCause::DrillFailed), Some(drill)) => drill.error.clone(),
            _ => open.and_then(|backup| backup.error),
        },
    })
}
