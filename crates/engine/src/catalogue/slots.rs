//! Slots: every moment at which a plan was due and what became of it; and what the scheduler knows of itself.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coffre_model::backup::BackupState;
use coffre_model::slot::{COUNT, Slot, SlotState};
use coffre_model::{Id, Result};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Catalogue;
use super::fault::{Fault, strange};
use super::row::{Reading, all, change, json, one, opt_id, opt_json, opt_time, time_text};
use super::runs::lease_lives;
use crate::home::Home;

/// Sums of a plan's slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotFigures {
    /// Verified.
    pub successes: u64,
    /// Failed.
    pub failures: u64,
    /// Missed: those that stand in one row for many count as many.
    pub missed: u64,
    /// The last slot whose run is over.
    pub last: Option<Slot>,
    /// The slot that is due or running.
    pub open: Option<Slot>,
}

pub(super) const COLUMNS: &str =
    "SELECT plan_id, slot, state, reason, backup_id, tries, next_try_at, seen_at, ended_at FROM slots";

pub(super) fn read(row: &Reading<'_, '_>) -> Result<Slot, Fault> {
    Ok(Slot {
        plan_id: row.id("plan_id")?,
        at: row.time("slot")?,
        state: row.word("state", SlotState::parse)?,
        reason: row.opt_json("reason")?,
        backup_id: row.opt_id("backup_id")?,
        tries: u32::try_from(row.number("tries")?).map_err(|e| Fault::Ours(strange("slots.tries", e.to_string())))?,
        next_try_at: row.opt_time("next_try_at")?,
        seen_at: row.time("seen_at")?,
        ended_at: row.opt_time("ended_at")?,
    })
}

fn settle(connection: &Connection, from: SlotState, slot: &Slot) -> Result<bool, Fault> {
    let changed = change(
        connection,
        "UPDATE slots SET state = ?4, reason = ?5, backup_id = COALESCE(?6, backup_id), tries = ?7, next_try_at = ?8, ended_at = ?9
         WHERE plan_id = ?1 AND slot = ?2 AND state = ?3",
        params![
            slot.plan_id.to_string(),
            time_text(slot.at),
            from.as_str(),
            slot.state.as_str(),
            opt_json(slot.reason.as_ref())?,
            opt_id(slot.backup_id.as_ref()),
            slot.tries,
            opt_time(slot.next_try_at),
            opt_time(slot.ended_at)
        ],
    )?;
    Ok(changed == 1)
}

fn resource_lives(connection: &Connection, home: &Home, resource: &str) -> Result<bool, Fault> {
    let fence: Option<i64> = connection
        .prepare_cached("SELECT fence FROM leases WHERE resource = ?1")?
        .query_row([resource], |row| row.get(0))
        .optional()?;
    lease_lives(connection, home, Some(resource), fence)
}

impl Catalogue {
    /// Slots that are due or running, oldest first.
    pub fn open_slots(&self) -> Result<Vec<Slot>> {
        self.read(|c| {
            let sql = format!("{COLUMNS} WHERE state IN ('due', 'running') ORDER BY slot, plan_id");
            all(c, "slots", &sql, [], read)
        })
    }

    /// For each plan the last moment up to `now` that has a row: what lies before it is settled.
    pub fn last_slots(&self, now: DateTime<Utc>) -> Result<BTreeMap<Id, DateTime<Utc>>> {
        self.read(|c| {
            let rows = all(
                c,
                "slots",
                "SELECT p.id AS plan_id, (SELECT MAX(slot) FROM slots s WHERE s.plan_id = p.id AND s.slot <= ?1) AS slot
                 FROM plans p WHERE p.removed_at IS NULL AND p.schedule IS NOT NULL",
                [time_text(now)],
                |row| Ok((row.id("plan_id")?, row.opt_time("slot")?)),
            )?;
            Ok(rows.into_iter().filter_map(|(id, slot)| Some((id, slot?))).collect())
        })
    }

    /// A plan's slots, newest first.
    pub fn slots_of_plan(&self, plan: &Id, limit: u32) -> Result<Vec<Slot>> {
        self.read(|c| {
            let sql = format!("{COLUMNS} WHERE plan_id = ?1 ORDER BY slot DESC LIMIT ?2");
            all(c, "slots", &sql, params![plan.to_string(), limit], read)
        })
    }

    /// Writes slots that have no row yet; those that have one stay as they are. Answers how many were new.
    pub fn add_slots(&self, slots: &[Slot]) -> Result<usize> {
        if slots.is_empty() {
            return Ok(0);
        }
        self.write(|c| {
            let mut added = 0;
            for slot in slots {
                added += change(
                    c,
                    "INSERT INTO slots (plan_id, slot, state, reason, backup_id, tries, next_try_at, seen_at, ended_at)
                     SELECT ?1, ?2, ?3, ?4, NULL, 0, NULL, ?5, ?6
                     WHERE EXISTS (SELECT 1 FROM plans WHERE id = ?1 AND removed_at IS NULL)
                     ON CONFLICT (plan_id, slot) DO NOTHING",
                    params![
                        slot.plan_id.to_string(),
                        time_text(slot.at),
                        slot.state.as_str(),
                        opt_json(slot.reason.as_ref())?,
                        time_text(slot.seen_at),
                        opt_time(slot.ended_at)
                    ],
                )?;
            }
            Ok(added)
        })
    }

    /// Takes a due slot for running it. `false` where it is not due any more: another process was faster.
    pub fn claim_slot(&self, plan: &Id, at: DateTime<Utc>) -> Result<bool> {
        self.write(|c| {
            let claimed = change(
                c,
                "UPDATE slots SET state = 'running', tries = tries + 1, reason = NULL, next_try_at = NULL, backup_id = NULL
                 WHERE plan_id = ?1 AND slot = ?2 AND state = 'due'",
                params![plan.to_string(), time_text(at)],
            )?;
            Ok(claimed == 1)
        })
    }

    /// Notes which run is a running slot's.
    pub fn slot_begun(&self, plan: &Id, at: DateTime<Utc>, backup: &Id) -> Result<()> {
        self.write(|c| {
            change(
                c,
                "UPDATE slots SET backup_id = ?3 WHERE plan_id = ?1 AND slot = ?2 AND state = 'running'",
                params![plan.to_string(), time_text(at), backup.to_string()],
            )
            .map(drop)
        })
    }

    /// Ends a slot that is in the state `from`, or puts a running one back to `due`. `false` where it is in another state by now.
    pub fn settle_slot(&self, from: SlotState, slot: &Slot) -> Result<bool> {
        self.write(|c| settle(c, from, slot))
    }

    /// Like [`Catalogue::settle_slot`] for a slot whose run nobody holds any more: judged inside the transaction. `false` where it is held,
    /// or not running.
    pub fn settle_dead_slot(&self, resource: &str, slot: &Slot) -> Result<bool> {
        self.write(|c| match resource_lives(c, self.home(), resource)? {
            true => Ok(false),
            false => settle(c, SlotState::Running, slot),
        })
    }

    /// Whether somebody who lives holds the lease on this.
    pub fn is_held(&self, resource: &str) -> Result<bool> {
        self.read(|c| resource_lives(c, self.home(), resource))
    }

    /// Forgets slots after `now` that never ran: a clock that was ahead wrote them, and their time is still to come.
    pub fn forget_false_future(&self, now: DateTime<Utc>) -> Result<usize> {
        let sql = "FROM slots WHERE slot > ?1 AND state IN ('due', 'skipped', 'missed')";
        let now = time_text(now);
        let any: bool = self.read(|c| {
            let sql = format!("SELECT EXISTS (SELECT 1 {sql})");
            Ok(c.prepare_cached(&sql)?.query_row([&now], |row| row.get(0))?)
        })?;
        if !any {
            return Ok(0);
        }
        self.write(|c| change(c, &format!("DELETE {sql}"), [&now]))
    }

    /// Sums of every plan's slots.
    pub fn slot_figures(&self) -> Result<BTreeMap<Id, SlotFigures>> {
        self.read_widely(|c| {
            let sums = format!(
                "SELECT plan_id, SUM(state = 'verified') AS successes, SUM(state = 'failed') AS failures,
                        SUM(CASE WHEN state <> 'missed' THEN 0
                                 ELSE COALESCE(json_extract(reason, '$.details.{COUNT}'), 1) END) AS missed
                 FROM slots GROUP BY plan_id"
            );
            let mut figures: BTreeMap<Id, SlotFigures> = all(c, "slots", &sums, [], |row| {
                Ok((
                    row.id("plan_id")?,
                    SlotFigures {
                        successes: row.number("successes")?,
                        failures: row.number("failures")?,
                        missed: row.number("missed")?,
                        ..SlotFigures::default()
                    },
                ))
            })?
            .into_iter()
            .collect();
            for (id, figures) in &mut figures {
                let id = id.to_string();
                let last = format!("{COLUMNS} WHERE plan_id = ?1 AND state IN ('verified', 'failed') ORDER BY slot DESC LIMIT 1");
                figures.last = one(c, "slots", &last, [&id], read)?;
                let open = format!("{COLUMNS} WHERE plan_id = ?1 AND state IN ('due', 'running') ORDER BY slot DESC LIMIT 1");
                figures.open = one(c, "slots", &open, [&id], read)?;
            }
            Ok(figures)
        })
    }

    /// What the scheduler wrote down under this name.
    pub fn clockwork<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.read(|c| {
            one(c, "clockwork", "SELECT value FROM clockwork WHERE name = ?1", [name], |row| {
                row.json("value")
            })
        })
    }

    /// Everything that the scheduler wrote down under names that begin so; the rest of each name, and what it says.
    pub fn clockworks<T: DeserializeOwned>(&self, prefix: &str) -> Result<BTreeMap<String, T>> {
        self.read(|c| {
            let rows = all(
                c,
                "clockwork",
                "SELECT name, value FROM clockwork WHERE substr(name, 1, length(?1)) = ?1",
                [prefix],
                |row| Ok((row.text("name")?, row.json("value")?)),
            )?;
            let rest = |(name, value): (String, T)| (name.get(prefix.len()..).unwrap_or_default().to_owned(), value);
            Ok(rows.into_iter().map(rest).collect())
        })
    }

    /// Writes something of the scheduler down, or forgets it.
    pub fn set_clockwork<T: Serialize>(&self, name: &str, value: Option<&T>) -> Result<()> {
        self.write(|c| {
            match value {
                Some(value) => change(
                    c,
                    "INSERT INTO clockwork (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    params![name, json(value)?],
                ),
                None => change(c, "DELETE FROM clockwork WHERE name = ?1", [name]),
            }
            .map(drop)
        })
    }

    /// The state of a backup, where there is such a row.
    pub fn state_of_backup(&self, id: &Id) -> Result<Option<BackupState>> {
        self.read(|c| {
            let text: Option<String> = c
                .prepare_cached("SELECT state FROM backups WHERE id = ?1")?
                .query_row([id.to_string()], |row| row.get(0))
                .optional()?;
            text.map(|text| BackupState::parse(&text).ok_or_else(|| Fault::Ours(strange("backups.state", text.as_str()))))
                .transpose()
        })
    }
}
