//! What retention would do in the coming days: the same decision, asked again at every moment at which the plan is due.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{Candidate, Fate, Question, Reason, Rule, Verdict, decide, implausible};
use crate::backup::{BackupState, BackupType, Trigger};
use crate::id::Id;

/// A backup that would leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Which one; nothing for one that does not exist yet.
    pub id: Option<Id>,
    /// When it was made, or would be.
    pub made_at: DateTime<Utc>,
    /// When it would be chosen; nothing where it is chosen already.
    pub chosen_at: Option<DateTime<Utc>>,
    /// When its bytes would go.
    pub leaves_at: DateTime<Utc>,
    /// Why.
    pub reason: Reason,
    /// What kept it until then, where something did.
    pub kept_by: Option<Reason>,
    /// Whether a newer one stands for the same stretch of time now (else as many newer stretches have one).
    pub replaced: bool,
    /// Bytes that it gives back; those of a backup that does not exist yet are taken from the newest verified one.
    pub bytes: u64,
    /// Whether so many would leave at once that a person is asked first.
    pub asks: bool,
}

/// What is to be played through.
pub struct Simulation<'a> {
    /// How things stand now.
    pub start: Question<'a>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// How long what was chosen can be taken back.
    pub bin: TimeDelta,
}

/// Plays the coming days through, if every run succeeds: what would leave, in the order of time. `next` answers the first moment after
/// the given one at which the plan is due.
pub fn simulate(simulation: &Simulation<'_>, mut next: impl FnMut(DateTime<Utc>) -> Option<DateTime<Utc>>) -> Vec<Departure> {
    let start = &simulation.start;
    let mut backups = start.backups.to_vec();
    let known: Vec<Id> = backups.iter().map(|b| b.id).collect();
    let mut departures = Vec::new();
    for backup in backups.iter().filter(|b| b.plan == Some(start.plan)) {
        if let Some(leaves_at) = backup.leaving {
            departures.push(Departure {
                id: Some(backup.id),
                made_at: backup.at,
                chosen_at: None,
                leaves_at,
                reason: Reason::plain(Rule::NoRuleKeepsIt),
                kept_by: None,
                replaced: false,
                bytes: backup.bytes,
                asks: false,
            });
        }
    }
    let newest = backups
        .iter()
        .filter(|b| b.plan == Some(start.plan) && b.state == BackupState::Verified)
        .max_by_key(|b| b.at);
    let bytes = newest.map_or(0, |b| b.bytes);
    let mut now = start.now;
    let mut kept_by: BTreeMap<Id, Reason> = BTreeMap::new();
    keep_in_mind(&mut kept_by, start.backups, decide(start));
    while let Some(due) = next(now).filter(|due| *due > now && *due <= simulation.until) {
        now = due;
        backups.retain(|b| b.leaving.is_none_or(|at| at > now));
        backups.push(made(start, now, bytes));
        let question = Question {
            now,
            backups: &backups,
            ..*start
        };
        let verdicts = decide(&question);
        let asks = implausible(&question, &verdicts).is_some();
        let standing = standing(&verdicts);
        for verdict in &verdicts {
            let backup = &mut backups[verdict.index];
            match &verdict.fate {
                Fate::Keep(_) if backup.leaving.take().is_some() => {
                    departures.retain(|d| d.made_at != backup.at || d.leaves_at <= now);
                }
                Fate::Leave(reason) if backup.leaving.is_none() => {
                    let leaves_at = now + simulation.bin;
                    backup.leaving = Some(leaves_at);
                    let kept_by = kept_by.remove(&backup.id);
                    departures.push(Departure {
                        id: known.contains(&backup.id).then_some(backup.id),
                        made_at: backup.at,
                        chosen_at: Some(now),
                        leaves_at,
                        reason: reason.clone(),
                        replaced: kept_by.as_ref().is_some_and(|reason| {
                            let period = reason.period.as_deref();
                            period.is_some_and(|period| standing.contains(&(reason.rule.as_str(), period)))
                        }),
                        kept_by,
                        bytes: backup.bytes,
                        asks,
                    });
                }
                _ => {}
            }
        }
        drop(standing);
        keep_in_mind(&mut kept_by, &backups, verdicts);
    }
    departures.retain(|d| d.leaves_at <= simulation.until);
    departures.sort_by_key(|d| (d.leaves_at, d.made_at));
    departures
}

/// What kept each backup, the first reason of each decision: it is told when nothing keeps it any more.
fn keep_in_mind(kept_by: &mut BTreeMap<Id, Reason>, backups: &[Candidate], verdicts: Vec<Verdict>) {
    for verdict in verdicts {
        if let Fate::Keep(reasons) = verdict.fate
            && let Some(first) = reasons.into_iter().next()
        {
            kept_by.insert(backups[verdict.index].id, first);
        }
    }
}

/// The stretches of time that a backup stands for after a decision.
fn standing(verdicts: &[Verdict]) -> BTreeSet<(&'static str, &str)> {
    let reasons = verdicts.iter().filter_map(|verdict| match &verdict.fate {
        Fate::Keep(reasons) => Some(reasons),
        Fate::Leave(_) => None,
    });
    let named = reasons
        .flatten()
        .filter_map(|reason| Some((reason.rule.as_str(), reason.period.as_deref()?)));
    named.collect()
}

/// A verified backup of the plan, as it would be made.
fn made(start: &Question<'_>, at: DateTime<Utc>, bytes: u64) -> Candidate {
    Candidate {
        id: Id::new(),
        plan: Some(start.plan),
        trigger: Trigger::Scheduled,
        at,
        ended_at: Some(at),
        state: BackupState::Verified,
        aim: start.aim.map(str::to_owned),
        pinned: false,
        unusual: false,
        base: None,
        leaving: None,
        asked: None,
        has_bytes: true,
        proved_at: Some(at),
        places: start.places.to_vec(),
        bytes,
    }
}

/// The first moment after `now` that lies whole intervals after `from`, by the clock of a zone: a daily plan stays at its hour when clocks
/// change. Nothing for a plan without an interval.
pub fn after_interval(every: BackupType, from: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let local = from.with_timezone(&zone).naive_local();
    let length = crate::protection::interval(every)?;
    // A first guess that is never too late: months have at most 31 days, and clocks change by less than a day.
    let passed = ((now - from).num_seconds() / length.num_seconds()).max(0);
    let mut step = u32::try_from(passed).ok()?.saturating_sub(1);
    loop {
        step = step.checked_add(1)?;
        if every == BackupType::Hourly {
            let due = from.checked_add_signed(TimeDelta::hours(step.into()))?;
            if due > now {
                return Some(due);
            }
            continue;
        }
        let due = match every {
            BackupType::Daily => local.checked_add_days(Days::new(step.into()))?,
            BackupType::Weekly => local.checked_add_days(Days::new(u64::from(step) * 7))?,
            _ => local.checked_add_months(Months::new(step))?,
        };
        // In the gap of a clock put forward: an hour later. In the fold of one put back: the first of the two.
        let due = due
            .and_local_timezone(zone)
            .earliest()
            .or_else(|| (due + TimeDelta::hours(1)).and_local_timezone(zone).earliest())?
            .to_utc();
        if due > now {
            return Some(due);
        }
    }
}
