//! Retention's part of the catalogue: what a decision is made from, what it chose, what it was told to stop at, and what was seen of time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coffre_model::backup::{BackupState, CopyState, Trigger, unusual};
use coffre_model::retention::{Candidate, Reason, Rule};
use coffre_model::{Error, Id, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::Catalogue;
use super::backups::absent;
use super::fault::Fault;
use super::row::{all, change, count, json, one, opt_json, opt_time, time_text};

/// A change that a decision makes: a backup is chosen, or stays after all.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Which one.
    pub id: Id,
    /// When its bytes go and why; nothing where it stays.
    pub leaves: Option<(DateTime<Utc>, Reason)>,
}

impl Catalogue {
    /// What retention needs to know of every backup of a source that is not deleted.
    pub fn candidates(&self, source: &Id) -> Result<Vec<Candidate>> {
        self.read_widely(|c| candidates(c, source))
    }

    /// Writes down what a decision chose, if everything still is as it was when it was made. Answers whether it was.
    pub fn choose(&self, source: &Id, seen: &[Candidate], choices: &[Choice]) -> Result<bool> {
        self.write(|c| {
            if candidates(c, source)? != seen {
                return Ok(false);
            }
            for choice in choices {
                let reason = choice.leaves.as_ref().map(|(_, reason)| reason);
                change(
                    c,
                    "UPDATE backups SET leaves_at = ?2, leaves_because = ?3 WHERE id = ?1",
                    params![
                        choice.id.to_string(),
                        opt_time(choice.leaves.as_ref().map(|(at, _)| *at)),
                        opt_json(reason)?
                    ],
                )?;
            }
            Ok(true)
        })
    }

    /// Plans of which something is due to leave, or was chosen to.
    pub fn plans_leaving(&self, due: DateTime<Utc>) -> Result<Vec<Id>> {
        self.read(|c| {
            all(
                c,
                "backups",
                "SELECT DISTINCT plan_id FROM backups WHERE leaves_at <= ?1 AND plan_id IS NOT NULL AND state NOT IN ('deleting', 'deleted')",
                [time_text(due)],
                |row| row.id("plan_id"),
            )
        })
    }

    /// A person has seen what is unusual about a backup: it counts again.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn acknowledge(&self, backup: &Id, at: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            let changed = change(
                c,
                "UPDATE backups SET acknowledged_at = ?2 WHERE id = ?1 AND state <> 'deleted'",
                params![backup.to_string(), time_text(at)],
            )?;
            if changed == 0 {
                return Err(absent(&backup.to_string()));
            }
            Ok(())
        })
    }

    /// Why the retention of a plan stands still, and since when.
    pub fn retention_hold(&self, plan: &Id) -> Result<Option<(DateTime<Utc>, Error)>> {
        self.read(|c| {
            one(
                c,
                "retention_holds",
                "SELECT since, reason FROM retention_holds WHERE plan_id = ?1",
                [plan.to_string()],
                |row| Ok((row.time("since")?, row.json("reason")?)),
            )
        })
    }

    /// Writes down why the retention of a plan stands still. Answers whether that is news.
    pub fn hold_retention(&self, plan: &Id, since: DateTime<Utc>, reason: &Error) -> Result<bool> {
        self.write(|c| {
            let before: Option<String> = c
                .prepare_cached("SELECT json_extract(reason, '$.text') FROM retention_holds WHERE plan_id = ?1")?
                .query_row([plan.to_string()], |row| row.get(0))
                .optional()?;
            change(
                c,
                "INSERT INTO retention_holds (plan_id, since, reason) VALUES (?1, ?2, ?3)
                 ON CONFLICT (plan_id) DO UPDATE SET reason = excluded.reason",
                params![plan.to_string(), time_text(since), json(reason)?],
            )?;
            Ok(before.as_deref() != Some(reason.text()))
        })
    }

    /// Lets the retention of a plan go on. `confirmed`: because a person said so, also after backups were taken in again from manifests.
    pub fn release_retention(&self, plan: &Id, confirmed: bool) -> Result<bool> {
        self.write(|c| {
            let mut changed = change(c, "DELETE FROM retention_holds WHERE plan_id = ?1", [plan.to_string()])?;
            if confirmed {
                changed += change(
                    c,
                    "DELETE FROM clockwork WHERE name IN (?1, ?2)",
                    [taken_in(plan), brought_back(plan)],
                )?;
            }
            Ok(changed > 0)
        })
    }

    /// Whether backups of this plan were taken in from manifests (the catalogue was rebuilt), and nobody has looked since. A manifest tells
    /// nothing of what a person did afterwards: pins and notes made later are lost.
    pub fn taken_in_again(&self, plan: &Id) -> Result<bool> {
        self.read(|c| Ok(count(c, "SELECT COUNT(*) FROM clockwork WHERE name = ?1", [taken_in(plan)])? > 0))
    }

    /// Remembers of every plan that what is known of it came from a copy of the catalogue: what was pinned since is not known.
    pub fn mark_brought_back(&self) -> Result<()> {
        self.write(|c| {
            let plans = all(c, "plans", "SELECT id FROM plans WHERE removed_at IS NULL", [], |row| {
                row.id("id")
            })?;
            for plan in plans {
                change(
                    c,
                    "INSERT INTO clockwork (name, value) VALUES (?1, 'true') ON CONFLICT (name) DO NOTHING",
                    [brought_back(&plan)],
                )?;
            }
            Ok(())
        })
    }

    /// Whether that is so, and nobody has looked since.
    pub fn was_brought_back(&self, plan: &Id) -> Result<bool> {
        self.read(|c| Ok(count(c, "SELECT COUNT(*) FROM clockwork WHERE name = ?1", [brought_back(plan)])? > 0))
    }

    /// The latest moment at which a backup that is there says it was made, and its code.
    pub fn latest_backup_time(&self) -> Result<Option<(DateTime<Utc>, String)>> {
        self.read(|c| {
            one(
                c,
                "backups",
                "SELECT started_at, code FROM backups WHERE state IN ('running', 'stored', 'verified') ORDER BY started_at DESC, id DESC LIMIT 1",
                [],
                |row| Ok((row.time("started_at")?, row.text("code")?)),
            )
        })
    }

    /// When something was last recorded, up to a moment. What retention itself recorded says nothing of the clock; and where some lines were
    /// written under a clock that had gone back, the latest of the last hundred counts.
    pub fn last_recorded(&self, until: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        self.read(|c| {
            let last = all(
                c,
                "journal",
                "SELECT at FROM journal WHERE at <= ?1 AND action NOT LIKE 'retention.%' ORDER BY id DESC LIMIT 100",
                [time_text(until)],
                |row| row.time("at"),
            )?;
            Ok(last.into_iter().max())
        })
    }
}

fn taken_in(plan: &Id) -> String {
    format!("taken_in:{plan}")
}

fn brought_back(plan: &Id) -> String {
    format!("brought_back:{plan}")
}

/// Remembers that a backup of this plan came from its manifest.
pub(super) fn mark_taken_in(connection: &Connection, plan: &Id) -> Result<(), Fault> {
    change(
        connection,
        "INSERT INTO clockwork (name, value) VALUES (?1, 'true') ON CONFLICT (name) DO NOTHING",
        [taken_in(plan)],
    )?;
    Ok(())
}

fn candidates(connection: &Connection, source: &Id) -> Result<Vec<Candidate>, Fault> {
    // The copies of all of them at once: a query for each would be slow where there are very many.
    let copies = all(
        connection,
        "copies",
        "SELECT p.backup_id AS backup_id, p.destination_id AS destination_id, p.state AS state, p.stored_bytes AS stored_bytes,
                p.verified_at AS verified_at
         FROM backups b CROSS JOIN copies p ON p.backup_id = b.id
         WHERE b.source_id = ?1 AND +b.state <> 'deleted' AND p.state NOT IN ('writing', 'deleted') ORDER BY p.backup_id, p.destination_id",
        [source.to_string()],
        |row| {
            Ok((
                row.id("backup_id")?,
                row.id("destination_id")?,
                row.word("state", CopyState::parse)?,
                row.number("stored_bytes")?,
                row.opt_time("verified_at")?,
            ))
        },
    )?;
    let mut lying: BTreeMap<Id, Vec<_>> = BTreeMap::new();
    for (backup, destination, state, bytes, verified_at) in copies {
        lying
            .entry(backup)
            .or_default()
            .push((destination, state, bytes, verified_at));
    }
    let mut found = all(
        connection,
        "backups",
        "SELECT id, plan_id, \"trigger\", started_at, ended_at, state, aim, pinned, flags, acknowledged_at, base_id, leaves_at, leaves_because
         FROM backups WHERE source_id = ?1 AND +state <> 'deleted' ORDER BY started_at, id",
        [source.to_string()],
        |row| {
            let because: Option<Reason> = row.opt_json("leaves_because")?;
            let flags: Vec<String> = row.json("flags")?;
            Ok(Candidate {
                id: row.id("id")?,
                plan: row.opt_id("plan_id")?,
                trigger: row.word("trigger", Trigger::parse)?,
                at: row.time("started_at")?,
                ended_at: row.opt_time("ended_at")?,
                state: row.word("state", BackupState::parse)?,
                aim: row.opt_text("aim")?,
                pinned: row.flag("pinned")?,
                unusual: row.opt_time("acknowledged_at")?.is_none() && unusual(&flags),
                base: row.opt_id("base_id")?,
                leaving: row.opt_time("leaves_at")?,
                asked: because.filter(|reason| reason.rule == Rule::Asked).and_then(|reason| reason.number),
                has_bytes: false,
                proved_at: None,
                places: Vec::new(),
                bytes: 0,
            })
        },
    )?;
    for candidate in &mut found {
        for (destination, state, bytes, verified_at) in lying.remove(&candidate.id).unwrap_or_default() {
            candidate.has_bytes |= state != CopyState::Missing;
            candidate.proved_at = candidate.proved_at.max(verified_at);
            if state == CopyState::Verified {
                candidate.places.push(destination);
            }
            if state != CopyState::Missing {
                candidate.bytes += bytes;
            }
        }
    }
    Ok(found)
}
