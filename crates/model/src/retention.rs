//! Retention: which backups of a plan stay, which may leave, and why.
//!
//! Pure: time, zone and rules are arguments, and every backup gets a reason. What makes it safe stands apart from the rules and above
//! them: pins, what nobody has read back, what is unusual, the last proof of a source, the last one at each destination, what others
//! build on. A fault in a rule may keep too much; it cannot take the last good backup.
//!
//! Not here: when it is carried out, and whether clock and catalogue can be trusted at all (the engine's `retain`), but for the
//! two judgements that are pure themselves: [`doubt`] and [`implausible`].

mod simulate;

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Offset, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::backup::{BackupState, Trigger, words};
use crate::id::Id;
use crate::plan::Retention;

pub use simulate::{Departure, Simulation, after_interval, simulate};

words! {
    /// What keeps a backup, or lets it go.
    Rule {
        /// One of the last N.
        Last = "last",
        /// Younger than N days.
        Days = "days",
        /// The last one of its hour.
        Hourly = "hourly",
        /// The last one of its day.
        Daily = "daily",
        /// The last one of its ISO week.
        Weekly = "weekly",
        /// The last one of its month.
        Monthly = "monthly",
        /// The last one of its year.
        Yearly = "yearly",
        /// One of the fewest that a plan keeps (`keep_min`).
        Minimum = "minimum",
        /// Without it the source would have no verified backup, or none of what it points to now.
        LastOfSource = "last_of_source",
        /// Without it a destination of the plan would hold no verified backup.
        LastAtDestination = "last_at_destination",
        /// Another backup builds on it.
        Base = "base",
        /// A person pinned it.
        Pinned = "pinned",
        /// Made without a plan, before a restore, or by `coffre guard`.
        Manual = "manual",
        /// It is being made.
        Running = "running",
        /// Nobody has read it back yet.
        NotVerified = "not_verified",
        /// It carries a flag that nobody has acknowledged.
        Unusual = "unusual",
        /// The newest one is unusual: until somebody has looked, nothing verified leaves.
        NewestUnusual = "newest_unusual",
        /// It says that it was made in the future.
        Future = "future",
        /// It failed, not long ago.
        FailedRecently = "failed_recently",
        /// It failed its last check, and there is nothing better.
        NothingBetter = "nothing_better",
        /// The plan has no rules.
        NoRules = "no_rules",
        /// Leaves: no rule keeps it.
        NoRuleKeepsIt = "no_rule_keeps_it",
        /// Leaves: it failed longer ago than `failed_keep_days`.
        FailedLongAgo = "failed_long_ago",
        /// Leaves: a person asked for what is older than so many days.
        Asked = "asked",
    }
}

/// Why a backup stays or leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Reason {
    /// By what.
    pub rule: Rule,
    /// For which stretch of time, in the plan's zone: `2026-02-14 21 +01:00`, `2026-02-14`, `2026-W07`, `2026-02`, `2026`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub period: Option<String>,
    /// The number in the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub number: Option<u32>,
}

impl Reason {
    /// A reason without more to say.
    pub fn plain(rule: Rule) -> Self {
        Reason {
            rule,
            period: None,
            number: None,
        }
    }

    /// A reason with the number of its rule.
    pub fn number(rule: Rule, number: u32) -> Self {
        Reason {
            number: Some(number),
            ..Reason::plain(rule)
        }
    }

    fn period(rule: Rule, period: String) -> Self {
        Reason {
            period: Some(period),
            ..Reason::plain(rule)
        }
    }
}

/// What the decision needs to know of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub id: Id,
    /// The plan that made it.
    pub plan: Option<Id>,
    /// What started it.
    pub trigger: Trigger,
    /// The moment that its data is from.
    pub at: DateTime<Utc>,
    /// When the run ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Where it stands.
    pub state: BackupState,
    /// Which database it is of.
    pub aim: Option<String>,
    /// A person pinned it.
    pub pinned: bool,
    /// It carries a flag that nobody has acknowledged.
    pub unusual: bool,
    /// What it builds on.
    pub base: Option<Id>,
    /// When its bytes go, where it was chosen already.
    pub leaving: Option<DateTime<Utc>>,
    /// A person asked for it to leave, on account of its age: no rule keeps it.
    pub asked: Option<u32>,
    /// Whether bytes of it lie somewhere.
    pub has_bytes: bool,
    /// When a copy of it was last read to its end.
    pub proved_at: Option<DateTime<Utc>>,
    /// The destinations that hold a verified copy.
    pub places: Vec<Id>,
    /// Bytes of all its copies.
    pub bytes: u64,
}

impl Candidate {
    /// Whether it counts for the rules: read to its end, and as expected.
    fn counts(&self, now: DateTime<Utc>) -> bool {
        self.is_proof() && !self.unusual && self.at <= now + SLACK
    }

    fn is_proof(&self) -> bool {
        self.state == BackupState::Verified
    }
}

/// What is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// The zone in which hours, days, weeks, months and years are meant.
    pub zone: Tz,
    /// Whose backups.
    pub plan: Id,
    /// What is kept.
    pub rules: &'a Retention,
    /// How long failed ones stay.
    pub failed_keep_days: u32,
    /// Which database the source points to now.
    pub aim: Option<&'a str>,
    /// The plan's destinations.
    pub places: &'a [Id],
    /// Every backup of the source that is not deleted, of all plans and of none, in any order.
    pub backups: &'a [Candidate],
}

/// What becomes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, for all of these reasons; the first says most.
    Keep(Vec<Reason>),
    /// It may leave.
    Leave(Reason),
}

impl Fate {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        matches!(self, Fate::Keep(_))
    }
}

/// A backup and what becomes of it: where it lies in [`Question::backups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its index.
    pub index: usize,
    /// Whether it stays, and why.
    pub fate: Fate,
}

/// Decides, for every backup of the plan, newest first. What is being deleted, or was, is left out.
pub fn decide(question: &Question<'_>) -> Vec<Verdict> {
    let all = question.backups;
    let mut mine: Vec<usize> = (0..all.len())
        .filter(|at| all[*at].plan == Some(question.plan))
        .filter(|at| !matches!(all[*at].state, BackupState::Deleting | BackupState::Deleted))
        .collect();
    mine.sort_by_key(|at| std::cmp::Reverse((all[*at].at, all[*at].id)));
    let mut verdicts: Vec<Verdict> = mine
        .iter()
        .map(|at| Verdict {
            index: *at,
            fate: own(question, &all[*at]),
        })
        .collect();
    by_rules(question, &mut verdicts);
    keep_the_fewest(question, &mut verdicts);
    wait_for_a_word(question, &mut verdicts);
    keep_proof(question, &mut verdicts);
    keep_bases(question, &mut verdicts);
    verdicts
}

/// What a backup says for itself, without the others.
fn own(question: &Question<'_>, backup: &Candidate) -> Fate {
    let keep = |rule| Fate::Keep(vec![Reason::plain(rule)]);
    if backup.pinned {
        return keep(Rule::Pinned);
    }
    if matches!(backup.trigger, Trigger::Safety | Trigger::Guard) {
        return keep(Rule::Manual);
    }
    if question.rules.is_empty() && backup.asked.is_none() {
        return keep(Rule::NoRules);
    }
    match backup.state {
        BackupState::Running => keep(Rule::Running),
        BackupState::Stored => keep(Rule::NotVerified),
        BackupState::Verified if backup.unusual => keep(Rule::Unusual),
        BackupState::Verified if backup.at > question.now + SLACK => keep(Rule::Future),
        BackupState::Verified => Fate::Leave(match backup.asked {
            Some(days) => Reason::number(Rule::Asked, days),
            None => Reason::plain(Rule::NoRuleKeepsIt),
        }),
        _ => failed(question, backup),
    }
}

/// What failed, was cut off or left out is a record, worth reading for a while. What failed a later check was once good.
fn failed(question: &Question<'_>, backup: &Candidate) -> Fate {
    let days = question.failed_keep_days;
    let last = [Some(backup.at), backup.ended_at, backup.proved_at]
        .into_iter()
        .flatten()
        .max();
    let age = question.now - last.unwrap_or(backup.at);
    if backup.asked.is_none() && age < TimeDelta::days(days.into()) {
        return Fate::Keep(vec![Reason::number(Rule::FailedRecently, days)]);
    }
    // Of this plan the newest that counts always stays; of another plan, what is leaving is not counted on.
    let there = |other: &Candidate| other.plan == Some(question.plan) || other.leaving.is_none();
    let better = |other: &Candidate| other.counts(question.now) && other.at >= backup.at && there(other);
    if backup.has_bytes && !question.backups.iter().any(better) {
        return Fate::Keep(vec![Reason::plain(Rule::NothingBetter)]);
    }
    Fate::Leave(match backup.asked {
        Some(days) => Reason::number(Rule::Asked, days),
        None => Reason::number(Rule::FailedLongAgo, days),
    })
}

/// Adds a reason to stay.
fn keep(verdict: &mut Verdict, reason: Reason) {
    match &mut verdict.fate {
        Fate::Keep(reasons) => reasons.push(reason),
        fate @ Fate::Leave(_) => *fate = Fate::Keep(vec![reason]),
    }
}

/// A stretch of time as a bucket of its own, in the plan's zone.
fn bucket(rule: Rule, at: DateTime<Utc>, zone: Tz) -> String {
    let local = at.with_timezone(&zone);
    let day = local.date_naive();
    match rule {
        // With the offset: when clocks are put back there are two hours of one name.
        Rule::Hourly => format!("{day} {:02} {}", local.hour(), local.offset().fix()),
        Rule::Daily => day.to_string(),
        // The ISO year, which is not always that of the day.
        Rule::Weekly => format!("{}-W{:02}", local.iso_week().year(), local.iso_week().week()),
        Rule::Monthly => format!("{}-{:02}", local.year(), local.month()),
        _ => local.year().to_string(),
    }
}

/// The plan's rules, over what counts and was not asked to leave; newest first, so that the last of each bucket stands for it. Only
/// buckets that hold a backup are counted: while nothing is made, nothing ages out of them.
fn by_rules(question: &Question<'_>, verdicts: &mut [Verdict]) {
    let rules = question.rules;
    let of = |rule: Option<u32>| rule.unwrap_or(0);
    let mut buckets = [
        (Rule::Hourly, of(rules.keep_hourly), String::new()),
        (Rule::Daily, of(rules.keep_daily), String::new()),
        (Rule::Weekly, of(rules.keep_weekly), String::new()),
        (Rule::Monthly, of(rules.keep_monthly), String::new()),
        (Rule::Yearly, of(rules.keep_yearly), String::new()),
    ];
    let (mut last, days) = (of(rules.keep_last), of(rules.keep_days));
    for verdict in verdicts {
        let backup = &question.backups[verdict.index];
        if !backup.counts(question.now) || backup.asked.is_some() {
            continue;
        }
        if last > 0 {
            last -= 1;
            keep(verdict, Reason::number(Rule::Last, of(rules.keep_last)));
        }
        if days > 0 && question.now - backup.at < TimeDelta::days(days.into()) {
            keep(verdict, Reason::number(Rule::Days, days));
        }
        for (rule, left, before) in &mut buckets {
            if *left == 0 {
                continue;
            }
            let name = bucket(*rule, backup.at, question.zone);
            if name != *before {
                *left -= 1;
                before.clone_from(&name);
                keep(verdict, Reason::period(*rule, name));
            }
        }
    }
}

/// The fewest of the plan, and the newest at each of its destinations.
fn keep_the_fewest(question: &Question<'_>, verdicts: &mut [Verdict]) {
    let fewest = question.rules.keep_min.unwrap_or(1).max(1);
    let counts = |verdict: &Verdict| question.backups[verdict.index].counts(question.now);
    let newest = verdicts.iter_mut().filter(|v| counts(v)).take(fewest as usize);
    for verdict in newest.filter(|v| !v.fate.stays()) {
        keep(verdict, Reason::number(Rule::Minimum, fewest));
    }
    for place in question.places {
        let newest = verdicts
            .iter_mut()
            .find(|v| counts(v) && question.backups[v.index].places.contains(place));
        if let Some(verdict) = newest.filter(|v| !v.fate.stays()) {
            keep(verdict, Reason::plain(Rule::LastAtDestination));
        }
    }
}

/// The newest one is unusual: what is older may be all that is good, and time must not carry it away.
fn wait_for_a_word(question: &Question<'_>, verdicts: &mut [Verdict]) {
    let proof = |verdict: &&mut Verdict| question.backups[verdict.index].is_proof();
    let newest = verdicts.iter().find(|v| question.backups[v.index].is_proof());
    if newest.is_some_and(|v| question.backups[v.index].unusual) {
        for verdict in verdicts.iter_mut().filter(proof).filter(|v| !v.fate.stays()) {
            keep(verdict, Reason::plain(Rule::NewestUnusual));
        }
    }
}

/// The source keeps a proof, and one of what it points to now, whatever other plans hold: what is leaving there is not counted on.
fn keep_proof(question: &Question<'_>, verdicts: &mut [Verdict]) {
    let all = question.backups;
    let here = |backup: &Candidate| question.aim.is_some() && backup.aim.as_deref() == question.aim;
    let wanted: [&dyn Fn(&Candidate) -> bool; 4] = [
        &|backup| backup.counts(question.now) && here(backup),
        &|backup| backup.is_proof() && here(backup),
        &|backup| backup.counts(question.now),
        &|backup| backup.is_proof(),
    ];
    for is_wanted in wanted {
        let elsewhere = all
            .iter()
            .any(|b| b.plan != Some(question.plan) && b.leaving.is_none() && is_wanted(b));
        let stays = elsewhere || verdicts.iter().any(|v| v.fate.stays() && is_wanted(&all[v.index]));
        if !stays && let Some(verdict) = verdicts.iter_mut().find(|v| is_wanted(&all[v.index])) {
            keep(verdict, Reason::plain(Rule::LastOfSource));
        }
    }
}

/// What others build on stays as long as they do, down to the first of the chain.
fn keep_bases(question: &Question<'_>, verdicts: &mut [Verdict]) {
    let all = question.backups;
    // As the catalogue sees it: these need their base, whatever their state.
    let needs = |b: &Candidate| {
        !matches!(
            b.state,
            BackupState::Skipped | BackupState::Missed | BackupState::Deleting | BackupState::Deleted
        )
    };
    // Those of another plan may be taken back as long as they are there.
    let mut needed: BTreeSet<Id> = all
        .iter()
        .filter(|b| b.plan != Some(question.plan) && needs(b))
        .filter_map(|b| b.base)
        .collect();
    needed.extend(
        verdicts
            .iter()
            .filter(|v| v.fate.stays() && needs(&all[v.index]))
            .filter_map(|v| all[v.index].base),
    );
    loop {
        let mut more = false;
        for verdict in verdicts.iter_mut().filter(|v| !v.fate.stays()) {
            let backup = &all[verdict.index];
            if needed.contains(&backup.id) {
                keep(verdict, Reason::plain(Rule::Base));
                needed.extend(backup.base);
                more = true;
            }
        }
        if !more {
            return;
        }
    }
}

/// A decision that nobody foresaw, most likely: verified backups that would leave, of all that the plan has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implausible {
    /// How many would leave.
    pub leaving: usize,
    /// How many there are.
    pub verified: usize,
}

/// Whether a decision would send away more than half of the plan's verified backups, and more than three, at once. What was chosen
/// before is not counted again.
pub fn implausible(question: &Question<'_>, verdicts: &[Verdict]) -> Option<Implausible> {
    let here = || {
        verdicts
            .iter()
            .filter(|v| question.backups[v.index].is_proof() && question.backups[v.index].leaving.is_none())
    };
    let found = Implausible {
        leaving: here().filter(|v| !v.fate.stays()).count(),
        verified: here().count(),
    };
    (found.leaving > 3 && found.leaving * 2 > found.verified).then_some(found)
}

/// What is known about the clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it says.
    pub now: DateTime<Utc>,
    /// The latest time that anything in the catalogue carries.
    pub latest: Option<DateTime<Utc>>,
    /// The last thing that was recorded before the work that asks.
    pub before: Option<DateTime<Utc>>,
    /// How long nothing may happen without anybody wondering: twice the plan's interval, or the longest pause that it had lately.
    pub usual: TimeDelta,
}

/// Why the clock is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Something was recorded later than it is now.
    Back(DateTime<Utc>),
    /// Nothing was recorded for longer than is usual: perhaps the computer was off, perhaps its clock is wrong.
    Jumped(DateTime<Utc>),
}

/// Clocks are put right by seconds all the time.
const SLACK: TimeDelta = TimeDelta::minutes(5);
/// A day without an entry is nothing to wonder about.
const A_DAY: TimeDelta = TimeDelta::days(1);

/// Whether the clock can be trusted with the question of what is old.
pub fn doubt(clock: &Clock) -> Option<Doubt> {
    match (clock.latest, clock.before) {
        (Some(latest), _) if latest > clock.now + SLACK => Some(Doubt::Back(latest)),
        (_, Some(before)) if clock.now - before > clock.usual.max(A_DAY) => Some(Doubt::Jumped(before)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
