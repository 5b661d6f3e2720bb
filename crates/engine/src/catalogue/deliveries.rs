//! Messages: what each channel was told last, what is to be sent to it, and what became of that.
//!
//! What is told and that it is to be told are written in one transaction ([`Catalogue::listen`]): two processes that look at the same time
//! queue it once, and a process that dies has queued it or has not. Sending comes after, under a claim with the name of the process:
//! whoever lives sends, and what a dead one had claimed is sent again under the same id.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::channel::{Channel, DeliveryState};
use coffre_model::journal::Entry;
use coffre_model::notice::{Event, Level, STORM_WINDOW, Told};
use coffre_model::{Error, Id, Result};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::Catalogue;
use super::channels;
use super::fault::{Fault, strange};
use super::news::{Whose, whose};
use super::row::{Reading, all, change, count, json, one, opt_json, opt_time, time_text};

/// A message and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Identity; the receiver gets it too, and knows by it what it has already.
    pub id: Id,
    /// The channel.
    pub channel_id: Id,
    /// What it tells, by its unique name.
    pub event_key: String,
    /// What it tells.
    pub message: Vec<Event>,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    /// Not tried before.
    pub next_try_at: DateTime<Utc>,
    /// When it was sent or given up.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why the last try did not work.
    pub error: Option<Error>,
}

/// What a channel was told, and what has happened since.
pub struct Listening {
    /// From when on it listens.
    pub since: DateTime<Utc>,
    /// What it was told last, by topic.
    pub told: BTreeMap<String, Told>,
    /// Lines of the journal that were not looked at for it yet, and what each concerns.
    pub journal: Vec<(Entry, Whose)>,
    /// When it got its last summary.
    pub digested_at: Option<DateTime<Utc>>,
    /// How many messages were queued for it lately.
    pub recent: u64,
    /// When the last of them was.
    pub last: Option<DateTime<Utc>>,
}

/// What is written of it.
#[derive(Default)]
pub struct Fresh {
    /// What it will have been told.
    pub told: BTreeMap<String, Told>,
    /// Topics that are no more.
    pub gone: Vec<String>,
    /// Messages to be sent: unique name, events.
    pub messages: Vec<(String, Vec<Event>)>,
    /// Lines of the journal up to here were looked at.
    pub journal_seen: Option<i64>,
    /// The moment of the summary among the messages.
    pub digested_at: Option<DateTime<Utc>>,
}

/// Lines of the journal that are looked at in one turn.
const LINES: u32 = 200;
const SELECT: &str = "SELECT * FROM deliveries";
/// So long may pass between the time that a caller reads and its turn to write.
const WAITED: TimeDelta = TimeDelta::minutes(1);

impl Catalogue {
    /// Lets `decide` see what a channel knows, and writes what follows, in one transaction. Answers how many messages were queued. Nothing
    /// for a channel that was removed or paused meanwhile, nor where another process decided on a newer look than that of `looked_at`.
    ///
    /// # Errors
    /// The catalogue's own, and those of `decide`.
    pub fn listen(
        &self,
        channel: &Id,
        looked_at: DateTime<Utc>,
        now: DateTime<Utc>,
        decide: impl FnOnce(&Channel, Listening) -> Result<Fresh>,
    ) -> Result<usize> {
        let id = channel.to_string();
        self.write(|c| {
            let sql = "SELECT * FROM channels WHERE id = ?1 AND removed_at IS NULL AND paused_at IS NULL";
            let found = one(c, "channels", sql, [&id], |row| {
                let seen: i64 = row.row.get("journal_seen")?;
                let newest = row.opt_time("looked_at")?;
                Ok((
                    channels::read(row)?,
                    row.time("since")?,
                    seen,
                    row.opt_time("digested_at")?,
                    newest,
                ))
            })?;
            let Some((channel, since, seen, digested_at, newest)) = found else {
                return Ok(0);
            };
            // One from far ahead was written by a clock that was wrong; one from just ahead by another process, while this one waited to write.
            if newest.is_some_and(|newest| newest > looked_at && newest - now <= WAITED) {
                return Ok(0);
            }
            let told = all(
                c,
                "channel_told",
                "SELECT * FROM channel_told WHERE channel_id = ?1",
                [&id],
                told,
            )?;
            let journal = all(
                c,
                "journal",
                "SELECT * FROM journal WHERE id > ?1 ORDER BY id LIMIT ?2",
                params![seen, LINES],
                super::journal::entry,
            )?;
            let journal = journal
                .into_iter()
                .map(|entry| Ok((whose(c, &entry)?, entry)))
                .map(|found: Result<_, Fault>| found.map(|(whose, entry)| (entry, whose)))
                .collect::<Result<_, Fault>>()?;
            let lately = "FROM deliveries WHERE channel_id = ?1 AND created_at > ?2 AND event_key NOT LIKE 'test:%'";
            let begun = time_text(now - STORM_WINDOW);
            let listening = Listening {
                since,
                told: told.into_iter().collect(),
                journal,
                digested_at,
                recent: count(c, &format!("SELECT COUNT(*) {lately}"), params![id, begun])?,
                last: one(
                    c,
                    "deliveries",
                    &format!("SELECT MAX(created_at) AS last {lately}"),
                    params![id, begun],
                    |row| row.opt_time("last"),
                )?
                .flatten(),
            };
            let fresh = decide(&channel, listening)?;
            if !fresh.told.is_empty() || !fresh.gone.is_empty() {
                let sql = "UPDATE channels SET looked_at = ?2 WHERE id = ?1";
                change(c, sql, params![id, time_text(looked_at)])?;
            }
            write(c, &id, &fresh, now)
        })
    }

    /// Whether there is anything that [`Catalogue::listen`] would have to look at: a channel that is not paused.
    pub fn anybody_listens(&self) -> Result<bool> {
        self.read(|c| {
            let sql = "SELECT COUNT(*) FROM channels WHERE removed_at IS NULL AND paused_at IS NULL";
            Ok(count(c, sql, [])? > 0)
        })
    }

    /// Queues a message and claims it at once: a person waits for what becomes of it.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn queue_claimed(&self, channel: &Id, key: &str, message: &[Event], now: DateTime<Utc>) -> Result<Delivery> {
        let owner = self.home().owner()?;
        let id = Id::new();
        self.write(|c| {
            insert(c, &id, &channel.to_string(), key, message, now)?;
            change(
                c,
                "UPDATE deliveries SET state = 'sending', owner = ?2, tries = 1 WHERE id = ?1",
                params![id.to_string(), owner],
            )?;
            one(c, "deliveries", &format!("{SELECT} WHERE id = ?1"), [id.to_string()], read)?
                .ok_or_else(|| Fault::Ours(Error::internal("queue a message", "it is not there")))
        })
    }

    /// Takes the next message of each channel that is due, in the order in which they were queued, and that nobody who lives sends. A paused
    /// channel's wait. What a dead process had claimed is due again.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn claim_deliveries(&self, now: DateTime<Utc>) -> Result<Vec<(Channel, Delivery)>> {
        let any = self.read(|c| {
            let sql = "SELECT COUNT(*) FROM deliveries WHERE state = 'sending' OR (state = 'pending' AND next_try_at <= ?1)";
            Ok(count(c, sql, [time_text(now)])? > 0)
        })?;
        if !any {
            return Ok(Vec::new());
        }
        let home = self.home().clone();
        let owner = home.owner()?;
        self.write(|c| {
            let claimed = all(
                c,
                "deliveries",
                "SELECT DISTINCT owner FROM deliveries WHERE state = 'sending'",
                [],
                |row| row.text("owner"),
            )?;
            for dead in claimed {
                if !home.is_owner(&dead) && !home.owner_alive(&dead)? {
                    change(
                        c,
                        "UPDATE deliveries SET state = 'pending', owner = NULL WHERE state = 'sending' AND owner = ?1",
                        [dead],
                    )?;
                }
            }
            let due = all(
                c,
                "deliveries",
                "SELECT d.* FROM deliveries d JOIN channels n ON n.id = d.channel_id
                 WHERE d.state = 'pending' AND d.next_try_at <= ?1 AND n.removed_at IS NULL AND n.paused_at IS NULL
                   AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.channel_id = d.channel_id AND o.state = 'sending'
                                   AND o.event_key NOT LIKE 'test:%')
                 ORDER BY d.created_at, d.id",
                [time_text(now)],
                read,
            )?;
            let mut taken: BTreeMap<Id, (Channel, Delivery)> = BTreeMap::new();
            for mut delivery in due {
                if taken.contains_key(&delivery.channel_id) {
                    continue;
                }
                delivery.tries += 1;
                delivery.state = DeliveryState::Sending;
                change(
                    c,
                    "UPDATE deliveries SET state = 'sending', owner = ?2, tries = ?3 WHERE id = ?1",
                    params![delivery.id.to_string(), owner, delivery.tries],
                )?;
                let sql = "SELECT * FROM channels WHERE id = ?1";
                let channel = one(c, "channels", sql, [delivery.channel_id.to_string()], channels::read)?
                    .ok_or_else(|| Fault::Ours(strange("deliveries.channel_id", delivery.channel_id.to_string())))?;
                taken.insert(delivery.channel_id, (channel, delivery));
            }
            Ok(taken.into_values().collect())
        })
    }

    /// Writes what became of a claimed message: its state, its next try, its error. Nothing where the channel was removed meanwhile.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn settle_delivery(&self, delivery: &Delivery) -> Result<()> {
        self.write(|c| {
            change(
                c,
                "UPDATE deliveries SET state = ?2, owner = NULL, next_try_at = ?3, ended_at = ?4, error = ?5, tries = ?6
                 WHERE id = ?1 AND state = 'sending'",
                params![
                    delivery.id.to_string(),
                    delivery.state.as_str(),
                    time_text(delivery.next_try_at),
                    opt_time(delivery.ended_at),
                    opt_json(delivery.error.as_ref())?,
                    delivery.tries
                ],
            )
            .map(drop)
        })
    }

    /// Messages, the newest first: of a channel, or of all.
    pub fn deliveries(&self, channel: Option<&Id>, limit: u32) -> Result<Vec<Delivery>> {
        self.read(|c| {
            let sql = format!("{SELECT} WHERE (?1 IS NULL OR channel_id = ?1) ORDER BY created_at DESC, id DESC LIMIT ?2");
            all(c, "deliveries", &sql, params![channel.map(Id::to_string), limit], read)
        })
    }

    /// How many messages wait for their next try, or are being sent.
    pub fn waiting_deliveries(&self, channel: Option<&Id>) -> Result<u64> {
        self.read(|c| {
            let sql = "SELECT COUNT(*) FROM deliveries WHERE state IN ('pending', 'sending') AND (?1 IS NULL OR channel_id = ?1)";
            count(c, sql, params![channel.map(Id::to_string)])
        })
    }

    /// For each channel the message that was tried last: how its receiver stands.
    pub fn last_deliveries(&self) -> Result<BTreeMap<Id, Delivery>> {
        self.read(|c| {
            let sql = "SELECT d.* FROM channels n JOIN deliveries d ON d.id = (
                           SELECT id FROM deliveries WHERE channel_id = n.id AND tries > 0 AND state <> 'sending'
                           ORDER BY COALESCE(ended_at, next_try_at) DESC, created_at DESC, id DESC LIMIT 1)
                       WHERE n.removed_at IS NULL";
            let rows = all(c, "deliveries", sql, [], read)?;
            Ok(rows.into_iter().map(|delivery| (delivery.channel_id, delivery)).collect())
        })
    }

    /// Forgets messages that ended before `before`.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn forget_deliveries(&self, before: DateTime<Utc>) -> Result<usize> {
        let sql = "FROM deliveries WHERE ended_at < ?1";
        let before = time_text(before);
        match self.read(|c| count(c, &format!("SELECT COUNT(*) {sql}"), [&before]))? {
            0 => Ok(0),
            _ => self.write(|c| change(c, &format!("DELETE {sql}"), [&before])),
        }
    }
}

fn write(c: &Connection, channel: &str, fresh: &Fresh, now: DateTime<Utc>) -> Result<usize, Fault> {
    for topic in &fresh.gone {
        change(
            c,
            "DELETE FROM channel_told WHERE channel_id = ?1 AND topic = ?2",
            params![channel, topic],
        )?;
    }
    for (topic, told) in &fresh.told {
        change(
            c,
            "INSERT INTO channel_told (channel_id, topic, level, fact, told_at, reminders) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (channel_id, topic) DO UPDATE SET level = excluded.level, fact = excluded.fact, told_at = excluded.told_at,
                reminders = excluded.reminders",
            params![channel, topic, told.level.as_str(), told.fact, opt_time(told.told_at), told.reminders],
        )?;
    }
    for (key, events) in &fresh.messages {
        insert(c, &Id::new(), channel, key, events, now)?;
    }
    if let Some(seen) = fresh.journal_seen {
        change(
            c,
            "UPDATE channels SET journal_seen = ?2 WHERE id = ?1",
            params![channel, seen],
        )?;
    }
    if let Some(at) = fresh.digested_at {
        change(
            c,
            "UPDATE channels SET digested_at = ?2 WHERE id = ?1",
            params![channel, time_text(at)],
        )?;
    }
    Ok(fresh.messages.len())
}

fn insert(c: &Connection, id: &Id, channel: &str, key: &str, message: &[Event], now: DateTime<Utc>) -> Result<(), Fault> {
    change(
        c,
        "INSERT INTO deliveries (id, channel_id, event_key, message, state, created_at, next_try_at)
         VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?5) ON CONFLICT (channel_id, event_key) DO NOTHING",
        params![id.to_string(), channel, key, json(&message)?, time_text(now)],
    )
    .map(drop)
}

fn told(row: &Reading<'_, '_>) -> Result<(String, Told), Fault> {
    Ok((
        row.text("topic")?,
        Told {
            level: row.word("level", Level::parse)?,
            fact: row.text("fact")?,
            told_at: row.opt_time("told_at")?,
            reminders: small(row, "reminders")?,
        },
    ))
}

fn small(row: &Reading<'_, '_>, column: &'static str) -> Result<u32, Fault> {
    u32::try_from(row.number(column)?).map_err(|e| Fault::Ours(strange(column, e.to_string())))
}

fn read(row: &Reading<'_, '_>) -> Result<Delivery, Fault> {
    Ok(Delivery {
        id: row.id("id")?,
        channel_id: row.id("channel_id")?,
        event_key: row.text("event_key")?,
        message: row.json("message")?,
        state: row.word("state", DeliveryState::parse)?,
        tries: small(row, "tries")?,
        created_at: row.time("created_at")?,
        next_try_at: row.time("next_try_at")?,
        ended_at: row.opt_time("ended_at")?,
        error: row.opt_json("error")?,
    })
}
