//! Retention: what leaves, when and why; the clean-up by hand, the simulation, and the word of a person who has looked.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use coffre_engine::aim::aim;
use coffre_engine::backup::made_by;
use coffre_engine::context::Subject;
use coffre_engine::retain::{self, Judged, Request, Retained, Work, zone_of};
use coffre_model::backup::{Backup, BackupState, unusual};
use coffre_model::journal::Author;
use coffre_model::plan::Plan;
use coffre_model::retention::{Departure, Fate, Question, Reason, Simulation, after_interval, simulate};
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::Serialize;

use crate::Coffre;
use crate::words::Words;

/// How far a simulation looks ahead.
pub const SIMULATED_DAYS: u32 = 90;

/// What is asked of a clean-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cleanup {
    /// Only say what would happen.
    pub dry_run: bool,
    /// Instead of each plan's rules: whatever is older than so many days leaves.
    pub keep_days: Option<u32>,
    /// A person has seen what would happen, and says that it is right.
    pub confirmed: bool,
}

/// A backup with what retention says of it.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The backup; `leaves_at` also where it would only be chosen.
    #[serde(flatten)]
    pub backup: Backup,
    /// Why, in words.
    pub reason: String,
    /// Why, for programs.
    pub reasons: Vec<Reason>,
}

/// What a clean-up did, or would do.
#[derive(Debug, Default, Serialize)]
pub struct CleanupReport {
    /// Nothing was done.
    pub dry_run: bool,
    /// In the bin, or to go there.
    pub leaving: Vec<Told>,
    /// Everything else of these plans.
    pub kept: Vec<Told>,
    /// Gone now.
    pub removed: Vec<Told>,
    /// Codes of those that were taken out of the bin, because something keeps them by now.
    pub returned: Vec<Id>,
    /// Why some that are due are still there; they are tried again.
    pub waiting: Vec<Error>,
    /// Why nothing was done for a plan: the first of `stops`.
    pub stopped: Option<Error>,
    /// The same, for each plan that it concerns.
    pub stops: Vec<Error>,
    /// What `leaving` and `removed` give back.
    pub bytes: u64,
}

/// A departure of a simulation.
#[derive(Debug, Serialize)]
pub struct ToldDeparture {
    /// Which backup; nothing for one that does not exist yet.
    pub id: Option<Id>,
    /// Its code, likewise.
    pub code: Option<String>,
    /// When it was made, or would be.
    pub made_at: DateTime<Utc>,
    /// When it would be chosen; nothing where it is chosen already.
    pub chosen_at: Option<DateTime<Utc>>,
    /// When its bytes would go.
    pub leaves_at: DateTime<Utc>,
    /// Why, in words.
    pub reason: String,
    /// Why, for programs.
    pub reasons: Vec<Reason>,
    /// What kept it until then, where something did.
    pub kept_by: Option<Reason>,
    /// Whether a newer one stands for the same stretch of time then.
    pub replaced: bool,
    /// Bytes that it gives back.
    pub bytes: u64,
    /// So many would leave at once that a person is asked first.
    pub asks: bool,
}

/// What retention did after a backup, in short.
#[derive(Debug, Serialize)]
pub struct AfterBackup {
    /// How many went into the bin.
    pub leaving: usize,
    /// When the first of them goes.
    pub leaves_at: Option<DateTime<Utc>>,
    /// How many are gone.
    pub removed: usize,
    /// Why nothing was done.
    pub stopped: Option<Error>,
    /// Why some that are due are still there.
    pub waiting: Vec<Error>,
}

impl Words {
    /// Why a backup stays or leaves.
    pub fn reason(&self, reason: &Reason) -> String {
        let facts = [("period", reason.period.clone().into()), ("number", reason.number.into())];
        self.say(&format!("retention.{}", reason.rule), &facts)
    }

    fn reasons(&self, reasons: &[Reason]) -> String {
        reasons.iter().map(|r| self.reason(r)).collect::<Vec<_>>().join(", ")
    }
}

/// The computer's own zone, as `TZ` or the system names it; UTC where neither says one that is known.
pub fn local_zone() -> Tz {
    let named = std::env::var("TZ")
        .ok()
        .and_then(|name| name.trim_start_matches(':').parse().ok());
    let system = || iana_time_zone::get_timezone().ok().and_then(|name| name.parse().ok());
    named.or_else(system).unwrap_or(Tz::UTC)
}

impl Coffre {
    /// Looks at the backups of one plan, or of all, and carries out what leaves.
    ///
    /// # Errors
    /// The catalogue's own, a cancellation. What stops retention is in the report.
    pub fn cleanup(&self, plan: Option<&Plan>, asked: Cleanup, words: &Words, cancel: &Cancel) -> Result<CleanupReport> {
        let plans = match plan {
            Some(plan) => vec![plan.clone()],
            None => self.plans()?,
        };
        let request = Request {
            zone: local_zone(),
            keep_days: asked.keep_days,
            confirmed: asked.confirmed,
            work: if asked.dry_run { Work::Look } else { Work::Choose },
            author: self.engine.author,
        };
        let mut report = CleanupReport {
            dry_run: asked.dry_run,
            ..CleanupReport::default()
        };
        for plan in plans {
            let retained = retain::retain(&self.engine, &plan, &request, cancel)?;
            self.report(&mut report, retained, words)?;
        }
        report.stopped = report.stops.first().cloned();
        Ok(report)
    }

    fn report(&self, report: &mut CleanupReport, retained: Retained, words: &Words) -> Result<()> {
        for judged in retained.judged {
            let mut backup = self.engine.catalogue.backup(&judged.id.to_string())?;
            let Judged {
                id,
                fate,
                leaves_at,
                bytes,
            } = judged;
            let reasons = match fate {
                Fate::Keep(reasons) => reasons,
                Fate::Leave(reason) => vec![reason],
            };
            if leaves_at.is_some() {
                report.bytes += bytes;
            }
            let list = match leaves_at {
                _ if retained.removed.contains(&id) => &mut report.removed,
                Some(_) => &mut report.leaving,
                None => &mut report.kept,
            };
            backup.leaves_at = leaves_at;
            list.push(Told {
                backup,
                reason: words.reasons(&reasons),
                reasons,
            });
        }
        report.returned.extend(retained.returned);
        report.waiting.extend(retained.waiting);
        report.stops.extend(retained.stopped);
        Ok(())
    }

    /// Retention after a new backup: for its plan alone, and only where it is verified. Nothing where there was nothing to decide.
    ///
    /// That a backup succeeded stays true whatever becomes of this: what goes wrong here is in the answer.
    pub fn retain_after(&self, backup: &Backup, cancel: &Cancel) -> Option<AfterBackup> {
        let plan = backup.plan_id.filter(|_| backup.state == BackupState::Verified)?;
        let retained = match self.engine.catalogue.plan(&plan.to_string()) {
            Ok(plan) => self.retain_plan(&plan, Work::Choose, made_by(&self.engine, backup.trigger), cancel),
            // Removed while it ran: its rules are gone with it.
            Err(error) if error.code() == Code::NotFound => return None,
            Err(error) => Err(error),
        };
        Some(match retained {
            Ok(retained) => after(&retained?),
            Err(error) => AfterBackup {
                leaving: 0,
                leaves_at: None,
                removed: 0,
                stopped: Some(error),
                waiting: Vec::new(),
            },
        })
    }

    fn retain_plan(&self, plan: &Plan, work: Work, author: Author, cancel: &Cancel) -> Result<Option<Retained>> {
        let chosen = || -> Result<bool> {
            let seen = self.engine.catalogue.candidates(&plan.source_id)?;
            Ok(seen.iter().any(|b| b.plan == Some(plan.id) && b.leaving.is_some()))
        };
        if plan.retention.is_empty() && !chosen()? {
            return Ok(None);
        }
        let request = Request {
            zone: local_zone(),
            keep_days: None,
            confirmed: false,
            work,
            author,
        };
        retain::retain(&self.engine, plan, &request, cancel).map(Some)
    }

    /// Removes what is due, of all plans: for the start of a program that stays, and once a day. Chooses nothing.
    ///
    /// # Errors
    /// The catalogue's own, a cancellation.
    pub fn leave_due(&self, cancel: &Cancel) -> Result<Vec<AfterBackup>> {
        let mut found = Vec::new();
        for id in self.engine.catalogue.plans_leaving((self.engine.now)())? {
            // A plan that was removed: its backups stay, also those in the bin.
            let plan = match self.engine.catalogue.plan(&id.to_string()) {
                Ok(plan) => plan,
                Err(error) if error.code() == Code::NotFound => continue,
                Err(error) => return Err(error),
            };
            found.extend(
                self.retain_plan(&plan, Work::Due, Author::Schedule, cancel)?
                    .map(|retained| after(&retained)),
            );
        }
        Ok(found)
    }

    /// Retention of every plan, once a day: one that has a new verified backup since `before` chooses (where that was cut off or could not
    /// be done after the run), the others only look at what is in the bin.
    ///
    /// # Errors
    /// The catalogue's own, a cancellation.
    pub fn retain_all(&self, before: Option<DateTime<Utc>>, cancel: &Cancel) -> Result<Vec<AfterBackup>> {
        let mut found = Vec::new();
        for plan in self.plans()? {
            cancel.check()?;
            let newest = self.engine.catalogue.last_verified_of_plan(&plan.id)?;
            let work = match (newest, before) {
                (Some(newest), Some(before)) if newest > before => Work::Choose,
                _ => Work::Due,
            };
            found.extend(
                self.retain_plan(&plan, work, Author::Schedule, cancel)?
                    .map(|retained| after(&retained)),
            );
        }
        Ok(found)
    }

    /// Says that what is unusual about a backup is right: from now on it counts.
    ///
    /// # Errors
    /// `REFUSED` where nothing is unusual about it.
    pub fn acknowledge(&self, backup: &Backup) -> Result<Backup> {
        if !unusual(&backup.flags) {
            return Err(Error::new(Code::Refused, "nothing_unusual").with("backup", backup.code.as_str()));
        }
        if backup.acknowledged_at.is_none() {
            self.engine.catalogue.acknowledge(&backup.id, (self.engine.now)())?;
            let subject = Subject {
                kind: "backup",
                id: Some(&backup.id),
                name: backup.code.as_str(),
            };
            self.engine.record("backup.acknowledge", subject, None)?;
        }
        self.engine.catalogue.backup(&backup.id.to_string())
    }

    /// Plays the coming [`SIMULATED_DAYS`] through: what leaves if every run succeeds. The plan is due at its interval, counted from its
    /// last backup; without one it is never due, and nothing is chosen.
    ///
    /// # Errors
    /// The catalogue's own; `USAGE` for a zone that this build does not know.
    pub fn simulate(&self, plan: &Plan, words: &Words) -> Result<Vec<ToldDeparture>> {
        if let Some(schedule) = self.schedule_of(plan)? {
            return self.simulate_due(plan, words, |after| schedule.next_after(after));
        }
        let zone = zone_of(plan, local_zone())?;
        let last = self.engine.catalogue.last_of_plan(&plan.id)?;
        let from = last.map_or((self.engine.now)(), |backup| backup.started_at);
        self.simulate_due(plan, words, |after| {
            plan.every.and_then(|every| after_interval(every, from, zone, after))
        })
    }

    /// The same, due whenever `next` says: the first moment after the given one.
    ///
    /// # Errors
    /// Likewise.
    pub fn simulate_due(
        &self,
        plan: &Plan,
        words: &Words,
        next: impl FnMut(DateTime<Utc>) -> Option<DateTime<Utc>>,
    ) -> Result<Vec<ToldDeparture>> {
        let now = (self.engine.now)();
        let backups = self.engine.catalogue.candidates(&plan.source_id)?;
        let here = aim(&self.engine.catalogue.known_source_by_id(&plan.source_id)?);
        let simulation = Simulation {
            start: Question {
                now,
                zone: zone_of(plan, local_zone())?,
                plan: plan.id,
                rules: &plan.retention,
                failed_keep_days: self.engine.failed_keep_days()?,
                aim: Some(&here),
                places: &plan.destination_ids,
                backups: &backups,
            },
            until: now + TimeDelta::days(SIMULATED_DAYS.into()),
            bin: self.engine.bin()?,
        };
        let tell = |departure: Departure| {
            let code = match departure.id {
                Some(id) => Some(self.engine.catalogue.backup(&id.to_string())?.code.to_string()),
                None => None,
            };
            Ok(ToldDeparture {
                id: departure.id,
                code,
                made_at: departure.made_at,
                chosen_at: departure.chosen_at,
                leaves_at: departure.leaves_at,
                reason: words.reason(&departure.reason),
                reasons: vec![departure.reason],
                kept_by: departure.kept_by,
                replaced: departure.replaced,
                bytes: departure.bytes,
                asks: departure.asks,
            })
        };
        simulate(&simulation, next).into_iter().map(tell).collect()
    }
}

fn after(retained: &Retained) -> AfterBackup {
    let chosen = retained.judged.iter().filter(|j| retained.chosen.contains(&j.id));
    AfterBackup {
        leaving: retained.chosen.iter().filter(|id| !retained.removed.contains(id)).count(),
        leaves_at: chosen.filter_map(|j| j.leaves_at).min(),
        removed: retained.removed.len(),
        stopped: retained.stopped.clone(),
        waiting: retained.waiting.clone(),
    }
}
