//! What is told to a channel, and when: once when something goes wrong, again after a while, once when it is over.
//!
//! Pure. What stands now ([`Standing`]) is compared with what this channel was told last ([`Told`]); the difference is what it hears. Who
//! was away, paused or out of reach so hears the truth of today and not the history of last week, and asking twice tells nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::channel::Wants;
use crate::error::{Details, Error};
use crate::id::Id;

words! {
    /// What a standing is about.
    About {
        /// The runs of a plan, or those of a source by hand.
        Backup = "backup",
        /// The protection of a source.
        Protection = "protection",
        /// The retention of a plan.
        Retention = "retention",
        /// Another channel.
        Channel = "channel",
        /// The rehearsed restores of a source's backups.
        Drill = "drill",
        /// A backup whose copies were read again.
        Verification = "verification",
    }
}

impl About {
    /// The name under which it is remembered of `id`.
    pub fn topic(self, id: &Id) -> String {
        format!("{self}:{id}")
    }
}

words! {
    /// How something stands.
    Level {
        /// Nothing to do.
        Good = "good",
        /// Something to look at.
        Warning = "warning",
        /// Something to act on.
        Bad = "bad",
    }
}

words! {
    /// What happened. `notices.<word>.title` and `.body` in the catalogues of words.
    What {
        /// A run failed.
        BackupFailed = "backup_failed",
        /// A slot passed and nothing ran.
        BackupMissed = "backup_missed",
        /// Written, and not proved.
        BackupStored = "backup_stored",
        /// Verified, but not everywhere where it should be.
        BackupIncomplete = "backup_incomplete",
        /// The first verified backup after a failure.
        BackupRecovered = "backup_recovered",
        /// A verified backup.
        BackupVerified = "backup_verified",
        /// A source is at risk.
        SourceAtRisk = "source_at_risk",
        /// A source has no backup to rely on.
        SourceUnprotected = "source_unprotected",
        /// It is protected again.
        SourceProtected = "source_protected",
        /// Retention stands still until a person decides.
        RetentionStopped = "retention_stopped",
        /// It goes on.
        RetentionResumed = "retention_resumed",
        /// A rehearsed restore failed.
        DrillFailed = "drill_failed",
        /// The next one did not.
        DrillRecovered = "drill_recovered",
        /// Another channel does not reach its receiver.
        ChannelFailing = "channel_failing",
        /// It does again.
        ChannelRecovered = "channel_recovered",
        /// Live data was replaced with a backup.
        RestoreDone = "restore_done",
        /// A restore failed.
        RestoreFailed = "restore_failed",
        /// A replacement was taken back.
        UndoDone = "undo_done",
        /// It could not be taken back.
        UndoFailed = "undo_failed",
        /// A backup is not what it was.
        VerifyFailed = "verify_failed",
        /// It was read again, and is.
        VerifyRecovered = "verify_recovered",
        /// The catalogue was rebuilt from destinations.
        CatalogueRebuilt = "catalogue_rebuilt",
        /// A person tries the channel.
        Test = "test",
        /// A summary.
        Digest = "digest",
    }
}

/// Something that has a name and an id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: Id,
    /// Its name, or its code.
    pub name: String,
}

/// One thing that a message tells. Facts and names alone: no secret, no row of anybody's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// When.
    pub at: DateTime<Utc>,
    /// How it stands because of that.
    pub level: Level,
    /// Told again, because it still stands so.
    #[serde(default)]
    pub reminder: bool,
    /// The source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Named>,
    /// The plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Named>,
    /// The backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Named>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// What its sentence needs beside that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: Details,
}

impl Event {
    /// An event without names.
    pub fn new(what: What, at: DateTime<Utc>, level: Level) -> Event {
        Event {
            what,
            at,
            level,
            reminder: false,
            source: None,
            plan: None,
            backup: None,
            error: None,
            facts: Details::new(),
        }
    }
}

/// How one thing stands now.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// What about.
    pub about: About,
    /// Whose: the id of a plan, a source, a channel.
    pub id: Id,
    /// How.
    pub level: Level,
    /// What it rests on: another fact is another event.
    pub fact: String,
    /// It is tried again by itself, soon.
    pub retrying: bool,
    /// What is told of it.
    pub event: Event,
    /// What is told where this is the end of something worse.
    pub recovery: Option<What>,
    /// Whether it is worth telling although nothing was wrong.
    pub success: bool,
    /// Topics that say why this stands badly: a channel that hears of one of them hears nothing more of this.
    pub said_by: Vec<String>,
}

impl Standing {
    /// The name under which it is remembered.
    pub fn topic(&self) -> String {
        self.about.topic(&self.id)
    }
}

/// Something that happened once.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// Its own name, for ever.
    pub key: String,
    /// What is told of it.
    pub event: Event,
}

/// What a channel was told last of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// How it stood.
    pub level: Level,
    /// On what that rested.
    pub fact: String,
    /// When the channel last heard that it is not good; nothing where it never did.
    pub told_at: Option<DateTime<Utc>>,
    /// How often it was reminded.
    pub reminders: u32,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Tell {
    /// Unique for the channel, for ever.
    pub key: String,
    /// What.
    pub event: Event,
}

/// What follows for one channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What it is told now.
    pub tells: Vec<Tell>,
    /// What it will have been told, where that changes.
    pub told: BTreeMap<String, Told>,
    /// Topics that are no more.
    pub gone: Vec<String>,
}

/// From so many on, what is told at one time goes into one message.
pub const GROUPED_FROM: usize = 4;
/// So many messages within [`STORM_WINDOW`] are a storm: then one at most each [`STORM_PAUSE`], with everything that is new.
pub const STORM: u64 = 6;
/// See [`STORM`].
pub const STORM_WINDOW: TimeDelta = TimeDelta::hours(1);
/// See [`STORM`].
pub const STORM_PAUSE: TimeDelta = TimeDelta::minutes(10);
/// A time that lies further ahead than this was written by a clock that was wrong.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(24);

/// Whether a channel that was sent `recent` messages within [`STORM_WINDOW`], the last one at `last`, is to wait before it hears more.
pub fn is_storm(recent: u64, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    recent >= STORM && last.is_some_and(|last| last <= now && now - last < STORM_PAUSE)
}

/// Decides what a channel is told. `since`: from when on it listens; what went well before is no news to it.
pub fn decide(
    wants: &Wants,
    told: &BTreeMap<String, Told>,
    standings: &[Standing],
    occurrences: &[Occurrence],
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Decision {
    let mut decision = Decision::default();
    let mut seen = BTreeSet::new();
    let bad: BTreeSet<String> = standings
        .iter()
        .filter(|standing| standing.level > Level::Good)
        .map(Standing::topic)
        .collect();
    for standing in standings {
        let topic = standing.topic();
        seen.insert(topic.clone());
        // What was told of it before stays told: its end is news once it stands well.
        if standing.said_by.iter().any(|by| bad.contains(by)) {
            continue;
        }
        let before = told.get(&topic);
        if let Some(after) = judge(wants, before, standing, since, now, &mut decision.tells)
            && before != Some(&after)
        {
            decision.told.insert(topic, after);
        }
    }
    decision.gone = told.keys().filter(|topic| !seen.contains(*topic)).cloned().collect();
    fold(&mut decision.tells);
    for occurrence in occurrences {
        let event = &occurrence.event;
        let wanted = match event.level {
            Level::Good => wants.successes || wants.failures && matches!(event.what, What::RestoreDone | What::UndoDone),
            Level::Warning | Level::Bad => wants.failures,
        };
        if wanted && event.at >= since {
            decision.tells.push(Tell {
                key: occurrence.key.clone(),
                event: event.clone(),
            });
        }
    }
    decision
}

/// One topic: what is remembered of it from now on; nothing where the channel waits with it.
fn judge(
    wants: &Wants,
    before: Option<&Told>,
    standing: &Standing,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    tells: &mut Vec<Tell>,
) -> Option<Told> {
    let topic = standing.topic();
    let was = before.map_or(Level::Good, |told| told.level);
    let tell = |key: String, what: What, reminder: bool| Tell {
        key,
        event: Event {
            what,
            reminder,
            ..standing.event.clone()
        },
    };
    let what = standing.event.what;
    let mut after = Told {
        level: standing.level,
        fact: standing.fact.clone(),
        told_at: before.and_then(|told| told.told_at),
        reminders: before.map_or(0, |told| told.reminders),
    };
    if standing.level == Level::Good {
        after.told_at = None;
        after.reminders = 0;
        let key = format!("{topic}:good:{}@{}", standing.fact, now.timestamp());
        let heard = before.is_some_and(|told| told.told_at.is_some());
        match standing.recovery {
            Some(recovery) if was > Level::Good && heard && wants.recoveries => tells.push(tell(key, recovery, false)),
            _ => {
                let new = before.is_none_or(|told| told.fact != standing.fact);
                if standing.success && wants.successes && new && standing.event.at >= since {
                    tells.push(tell(key, what, false));
                }
            }
        }
        return Some(after);
    }
    let worse = standing.level > was;
    if wants.patient && standing.retrying && worse {
        return None;
    }
    if !wants.failures {
        return Some(after);
    }
    match before.and_then(|told| told.told_at).filter(|_| !worse) {
        None => {
            tells.push(tell(
                format!("{topic}:{}:{}@{}", standing.level, standing.fact, now.timestamp()),
                what,
                false,
            ));
            after.told_at = Some(now);
            after.reminders = 0;
        }
        Some(at) => {
            // It still stands as it stood: the fact that was told stays the one that is remembered.
            let first = before.map_or(&standing.fact, |told| &told.fact);
            after.fact.clone_from(first);
            let interval = TimeDelta::hours(i64::from(wants.reminder_hours));
            let due = interval > TimeDelta::zero() && (now - at >= interval || at - now > CLOCKS_DIFFER);
            if due {
                after.reminders += 1;
                after.told_at = Some(now);
                tells.push(tell(
                    format!("{topic}:again:{first}:{}@{}", after.reminders, now.timestamp()),
                    what,
                    true,
                ));
            }
        }
    }
    Some(after)
}

/// Takes out what another event of the same moment already says: a source whose backup works again is protected again.
fn fold(tells: &mut Vec<Tell>) {
    let said: BTreeSet<(Id, bool)> = tells
        .iter()
        .filter(|tell| {
            use What::{
                BackupFailed, BackupIncomplete, BackupMissed, BackupRecovered, BackupStored, DrillRecovered, VerifyFailed,
                VerifyRecovered,
            };
            matches!(
                tell.event.what,
                BackupFailed
                    | BackupMissed
                    | BackupStored
                    | BackupIncomplete
                    | BackupRecovered
                    | DrillRecovered
                    | VerifyFailed
                    | VerifyRecovered
            )
        })
        .filter_map(|tell| Some((tell.event.source.as_ref()?.id, tell.event.level == Level::Good)))
        .collect();
    tells.retain(|tell| {
        let foldable = matches!(tell.event.what, What::SourceAtRisk | What::SourceProtected);
        let source = tell.event.source.as_ref().map(|source| source.id);
        !(foldable && source.is_some_and(|id| said.contains(&(id, tell.event.level == Level::Good))))
    });
}

/// Decides which runs an outside monitor is told of: each once, and only the last of several.
pub fn pings(
    failures: bool,
    patient: bool,
    told: &BTreeMap<String, Told>,
    standings: &[Standing],
    since: DateTime<Utc>,
) -> Decision {
    let mut decision = Decision::default();
    for standing in standings.iter().filter(|standing| standing.about == About::Backup) {
        let topic = standing.topic();
        let run = matches!(
            standing.event.what,
            What::BackupFailed | What::BackupStored | What::BackupIncomplete | What::BackupVerified
        );
        let known = told.get(&topic).is_some_and(|told| told.fact == standing.fact);
        if known || !run || (patient && standing.retrying) {
            continue;
        }
        let good = standing.level == Level::Good;
        if standing.event.at >= since && (good || failures) {
            decision.tells.push(Tell {
                key: format!("{topic}:run:{}", standing.fact),
                event: standing.event.clone(),
            });
        }
        decision.told.insert(
            topic,
            Told {
                level: standing.level,
                fact: standing.fact.clone(),
                told_at: None,
                reminders: 0,
            },
        );
    }
    decision
}

#[cfg(test)]
mod tests;
