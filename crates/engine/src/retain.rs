//! Carrying retention out: plan, then exactly that or nothing; first into the bin, then, days later, for good.
//!
//! Nothing is chosen and nothing goes where the clock or the catalogue cannot be trusted, or where so much would leave that nobody can
//! have meant it: then a hold is written down, with the reason, and a person decides.
//!
//! What stays and why is decided by `coffre_model::retention`; not here.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use coffre_model::backup::{BackupState, CopyState};
use coffre_model::journal::Author;
use coffre_model::plan::Plan;
use coffre_model::protection::interval;
use coffre_model::retention::{Candidate, Clock, Doubt, Fate, Question, Reason, Rule, Verdict, decide, doubt, implausible};
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::aim::aim;
use crate::catalogue::Choice;
use crate::context::{Engine, Subject};
use crate::delete::delete_chosen;
use crate::place;

/// What is asked of retention.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The zone of the computer, for plans that have none of their own.
    pub zone: Tz,
    /// Instead of the plan's rules: whatever is older than so many days leaves.
    pub keep_days: Option<u32>,
    /// A person has seen what would happen, and says that it is right.
    pub confirmed: bool,
    /// What is to be done.
    pub work: Work,
    /// Who does it, for the journal.
    pub author: Author,
}

/// How far retention goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Only answer what would happen.
    Look,
    /// Choose, and remove what is due.
    Choose,
    /// Choose nothing: take back what stays by now, and remove what is due.
    Due,
}

/// One backup, as it was decided.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Which one.
    pub id: Id,
    /// Whether it stays, and why.
    pub fate: Fate,
    /// When its bytes go, if it leaves.
    pub leaves_at: Option<DateTime<Utc>>,
    /// Bytes of its copies.
    pub bytes: u64,
}

/// What retention did with a plan, or would do.
#[derive(Debug, Default)]
pub struct Retained {
    /// Every backup of the plan that was there, newest first.
    pub judged: Vec<Judged>,
    /// Those that went into the bin just now.
    pub chosen: Vec<Id>,
    /// Those that were taken back out of it.
    pub returned: Vec<Id>,
    /// Those whose bytes are gone now.
    pub removed: Vec<Id>,
    /// Why others that are due are still there; tried again later.
    pub waiting: Vec<Error>,
    /// Why nothing was done at all.
    pub stopped: Option<Error>,
}

/// Nobody else's change may come between a decision and its carrying out; then it is made again, so often.
const TRIES: u32 = 5;
/// What was recorded within the last hours says nothing of the clock: they may all have passed since it jumped.
const SETTLED: TimeDelta = TimeDelta::hours(12);

/// Decides on a plan's backups and carries it out, as far as was asked.
///
/// # Errors
/// The catalogue's own; `BUSY` where its backups change all the time. What stops retention, and destinations that do not answer, are no
/// errors: they are in the answer.
pub fn retain(engine: &Engine, plan: &Plan, request: &Request, cancel: &Cancel) -> Result<Retained> {
    for _ in 0..TRIES {
        cancel.check()?;
        if let Some(mut retained) = choose(engine, plan, request)? {
            if retained.stopped.is_none() && request.work != Work::Look {
                remove_due(engine, plan, &mut retained, request, cancel)?;
            }
            return Ok(retained);
        }
    }
    Err(Error::new(Code::Busy, "retention_busy").with("plan", plan.name.as_str()))
}

/// The zone that a plan's days are meant in.
///
/// # Errors
/// `USAGE` for one that this build does not know.
pub fn zone_of(plan: &Plan, local: Tz) -> Result<Tz> {
    match &plan.schedule {
        None => Ok(local),
        Some(schedule) => schedule.time_zone.parse().map_err(|_| {
            Error::new(Code::Usage, "retention_zone")
                .with("plan", plan.name.as_str())
                .with("zone", schedule.time_zone.as_str())
        }),
    }
}

/// Nothing where the backups changed meanwhile.
fn choose(engine: &Engine, plan: &Plan, request: &Request) -> Result<Option<Retained>> {
    let now = (engine.now)();
    let zone = match zone_of(plan, request.zone) {
        Ok(zone) => zone,
        // Without its zone nobody knows its days: this plan stands still, and others do not.
        Err(error) => {
            if request.work != Work::Look {
                hold(engine, plan, request.author, &error)?;
            }
            return Ok(Some(Retained {
                stopped: Some(error),
                ..Retained::default()
            }));
        }
    };
    let seen = engine.catalogue.candidates(&plan.source_id)?;
    let mut backups = seen.clone();
    if let Some(days) = request.keep_days {
        ask(&mut backups, plan, days, now);
    }
    let here = aim(&engine.catalogue.known_source_by_id(&plan.source_id)?);
    let mut rules = plan.retention.clone();
    if request.keep_days.is_some() {
        // What is not asked for stays.
        rules = coffre_model::plan::Retention {
            keep_min: rules.keep_min,
            ..Default::default()
        };
    }
    let question = Question {
        now,
        zone,
        plan: plan.id,
        rules: &rules,
        failed_keep_days: engine.failed_keep_days()?,
        aim: Some(&here),
        places: &plan.destination_ids,
        backups: &backups,
    };
    let mut verdicts = decide(&question);
    if request.work == Work::Due {
        verdicts.retain(|v| v.fate.stays() || backups[v.index].leaving.is_some());
    }
    let stopped = if request.confirmed {
        None
    } else {
        stop(engine, plan, &question, &verdicts, request.work)?
    };
    let mut retained = Retained {
        judged: judged(&backups, &verdicts, now + engine.bin()?, request.keep_days),
        stopped,
        ..Retained::default()
    };
    if request.work == Work::Look {
        return Ok(Some(retained));
    }
    if let Some(error) = &retained.stopped {
        hold(engine, plan, request.author, error)?;
        return Ok(Some(retained));
    }
    let choices = choices(&seen, &retained.judged);
    if !choices.is_empty() && !engine.catalogue.choose(&plan.source_id, &seen, &choices)? {
        return Ok(None);
    }
    let held = request.confirmed || engine.catalogue.retention_hold(&plan.id)?.is_some();
    if held && engine.catalogue.release_retention(&plan.id, request.confirmed)? {
        let action = if request.confirmed {
            "retention.confirm"
        } else {
            "retention.resume"
        };
        record(engine, action, plan, request.author, None)?;
    }
    for choice in choices {
        let backup = engine.catalogue.backup(&choice.id.to_string())?;
        let (action, list) = match choice.leaves {
            Some(_) => ("backup.leave", &mut retained.chosen),
            None => ("backup.return", &mut retained.returned),
        };
        list.push(choice.id);
        let subject = Subject {
            kind: "backup",
            id: Some(&choice.id),
            name: backup.code.as_str(),
        };
        engine.record_by(request.author, action, subject, None)?;
    }
    Ok(Some(retained))
}

/// Writes down why a plan's retention stands still; in the journal only where that is news.
fn hold(engine: &Engine, plan: &Plan, author: Author, error: &Error) -> Result<()> {
    if engine.catalogue.hold_retention(&plan.id, (engine.now)(), error)? {
        record(engine, "retention.stop", plan, author, Some(error))?;
    }
    Ok(())
}

fn record(engine: &Engine, action: &str, plan: &Plan, author: Author, error: Option<&Error>) -> Result<()> {
    let subject = Subject {
        kind: "plan",
        id: Some(&plan.id),
        name: &plan.name,
    };
    engine.record_by(author, action, subject, error)
}

/// Marks what a person asked for: everything of the plan that is older than so many days. What protects a backup still does.
fn ask(backups: &mut [Candidate], plan: &Plan, days: u32, now: DateTime<Utc>) {
    for backup in backups.iter_mut().filter(|b| b.plan == Some(plan.id)) {
        if now - backup.at >= TimeDelta::days(days.into()) {
            backup.asked = Some(days);
        }
    }
}

/// `asked`, in days: what was not asked for now stays as it is, also where it is in the bin already.
fn judged(backups: &[Candidate], verdicts: &[Verdict], leaves_at: DateTime<Utc>, asked: Option<u32>) -> Vec<Judged> {
    let judge = |verdict: &Verdict| {
        let backup = &backups[verdict.index];
        let fate = match (&verdict.fate, asked) {
            (Fate::Keep(reasons), Some(days)) if reasons.iter().all(|r| r.rule == Rule::NoRules) => match backup.leaving {
                Some(_) => Fate::Leave(Reason::plain(Rule::NoRuleKeepsIt)),
                // The plan's rules are not what was asked for.
                None => Fate::Keep(vec![Reason::number(Rule::Days, days)]),
            },
            (fate, _) => fate.clone(),
        };
        Judged {
            id: backup.id,
            leaves_at: (!fate.stays()).then(|| backup.leaving.unwrap_or(leaves_at)),
            fate,
            bytes: backup.bytes,
        }
    };
    verdicts.iter().map(judge).collect()
}

/// What the decision changes.
fn choices(seen: &[Candidate], judged: &[Judged]) -> Vec<Choice> {
    let before: BTreeMap<Id, &Candidate> = seen.iter().map(|b| (b.id, b)).collect();
    judged
        .iter()
        .filter_map(|judged| {
            let before = before.get(&judged.id)?;
            let leaves = match (&judged.fate, judged.leaves_at) {
                (Fate::Leave(reason), Some(at)) => Some((at, reason.clone())),
                _ => None,
            };
            let asked = leaves
                .as_ref()
                .and_then(|(_, reason)| reason.number.filter(|_| reason.rule == Rule::Asked));
            let same = before.leaving == leaves.as_ref().map(|(at, _)| *at) && before.asked == asked;
            (!same).then_some(Choice { id: judged.id, leaves })
        })
        .collect()
}

/// Why nothing may leave now, whatever the rules say.
fn stop(engine: &Engine, plan: &Plan, question: &Question<'_>, verdicts: &[Verdict], work: Work) -> Result<Option<Error>> {
    let refused = |text: &'static str| Error::new(Code::Refused, text).with("plan", plan.name.as_str());
    if engine.catalogue.taken_in_again(&plan.id)? {
        return Ok(Some(refused("retention_rebuilt")));
    }
    if engine.catalogue.was_brought_back(&plan.id)? {
        return Ok(Some(refused("retention_catalogue_restored")));
    }
    let held = engine.catalogue.retention_hold(&plan.id)?.map(|(_, reason)| reason);
    let implausible_before = held.filter(|reason| reason.text() == "retention_implausible");
    if let (Some(reason), Work::Due) = (&implausible_before, work) {
        return Ok(Some(reason.clone()));
    }
    let latest = engine.catalogue.latest_backup_time()?;
    let before = engine.catalogue.last_recorded(question.now - SETTLED)?;
    let clock = Clock {
        now: question.now,
        latest: latest.as_ref().map(|(at, _)| *at),
        before,
        usual: usual(plan, question, before),
    };
    let doubt = doubt(&clock);
    // A clock that went back knows nothing of what is old, nor of what is new.
    if let Some(Doubt::Back(seen)) = doubt {
        let error = refused("retention_clock_back").with("seen_at", seen.to_rfc3339());
        let code = latest.map(|(_, code)| code).unwrap_or_default();
        return Ok(Some(error.with("now_at", question.now.to_rfc3339()).with("backup", code)));
    }
    if verdicts.iter().all(|v| v.fate.stays()) {
        return Ok(None);
    }
    if let Some(Doubt::Jumped(seen)) = doubt {
        let error = refused("retention_clock_jump").with("seen_at", seen.to_rfc3339());
        return Ok(Some(error.with("now_at", question.now.to_rfc3339())));
    }
    let chosen = |v: &&Verdict| {
        let backup = &question.backups[v.index];
        !v.fate.stays() && backup.state == BackupState::Verified && backup.leaving.is_none()
    };
    let leaving = verdicts.iter().filter(chosen).count();
    // What a person was asked does not become right because more backups were made meanwhile.
    if implausible(question, verdicts).is_some() || implausible_before.is_some() && leaving > 3 {
        let there = |b: &&Candidate| b.plan == Some(plan.id) && b.state == BackupState::Verified && b.leaving.is_none();
        let verified = question.backups.iter().filter(there).count();
        let error = refused("retention_implausible").with("leaving_count", leaving);
        return Ok(Some(error.with("verified_count", verified)));
    }
    Ok(None)
}

/// How long nothing may happen without anybody wondering: twice the interval, or half as long again as the longest of the plan's last
/// pauses. Only those up to `before` are asked: a pause since then is the one in question.
fn usual(plan: &Plan, question: &Question<'_>, before: Option<DateTime<Utc>>) -> TimeDelta {
    let mine = question.backups.iter().filter(|b| b.plan == Some(plan.id));
    let mut times: Vec<DateTime<Utc>> = mine
        .map(|b| b.at)
        .filter(|at| before.is_some_and(|before| *at <= before))
        .collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let pauses = times.windows(2).take(5).map(|pair| pair[0] - pair[1]);
    let longest = pauses.max().unwrap_or_default();
    let interval = plan.every.and_then(interval).unwrap_or_default();
    (longest + longest / 2).max(interval * 2)
}

/// Removes what is due. Where a person asked for something, that alone: nothing else was decided on.
fn remove_due(engine: &Engine, plan: &Plan, retained: &mut Retained, request: &Request, cancel: &Cancel) -> Result<()> {
    let asked = request.keep_days.is_some();
    let now = (engine.now)();
    // Newest first, as they were decided: what builds on others is newer than they are.
    let due: Vec<Id> = retained
        .judged
        .iter()
        .filter(|j| j.leaves_at.is_some_and(|at| at <= now))
        .filter(|j| !asked || matches!(&j.fate, Fate::Leave(reason) if reason.rule == Rule::Asked))
        .map(|j| j.id)
        .collect();
    if !due.is_empty() && !proof_is_there(engine, &retained.judged, cancel)? {
        let error = Error::new(Code::Refused, "retention_proof_gone").with("plan", plan.name.as_str());
        hold(engine, plan, request.author, &error)?;
        retained.stopped = Some(error);
        return Ok(());
    }
    for id in due {
        cancel.check()?;
        match delete_chosen(engine, &id, request.author, cancel) {
            Ok(Some(_)) => retained.removed.push(id),
            // Taken back, or removed, by somebody else meanwhile.
            Ok(None) => {}
            Err(error)
                if matches!(
                    error.code(),
                    Code::Cancelled | Code::Interrupted | Code::CatalogueCorrupt | Code::Internal
                ) =>
            {
                return Err(error);
            }
            Err(error) => retained.waiting.push(error.or_with("backup", id.to_string())),
        }
    }
    Ok(())
}

/// Before the first one goes: of what stays, at least one verified backup lies where it should, as large as it should be. What the catalogue
/// says was true when it was last read; somebody may have emptied the folder since. True also where nothing that stays is verified: then
/// nothing that leaves is (the decision sees to that).
fn proof_is_there(engine: &Engine, judged: &[Judged], cancel: &Cancel) -> Result<bool> {
    let mut asked = false;
    for judged in judged.iter().filter(|j| j.fate.stays()) {
        let backup = engine.catalogue.backup(&judged.id.to_string())?;
        if backup.state != BackupState::Verified {
            continue;
        }
        asked = true;
        for copy in backup.copies.iter().filter(|c| c.state == CopyState::Verified) {
            cancel.check()?;
            let known = engine.catalogue.known_destination(&copy.destination_id.to_string())?;
            // A destination that does not answer proves nothing; another copy, or another backup, may.
            let there = place::open(engine, &known, cancel).and_then(|place| place.storage.stat(&copy.key));
            match there {
                Ok(Some(there)) if there.bytes == copy.stored_bytes => return Ok(true),
                Err(error) if matches!(error.code(), Code::Cancelled | Code::Interrupted) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(!asked)
}
