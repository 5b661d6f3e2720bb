//! Restores and their steps.

use chrono::{DateTime, Utc};
use coffre_model::restore::{CountComparison, Restore, RestoreMode, RestoreState, RestoreStep, StepState};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, params};

use super::Catalogue;
use super::fault::Fault;
use super::row::{Reading, all, change, json, one, opt_id, opt_json, opt_number, opt_time, time_text};
use super::runs::{take_from_dead, without_lease};
use crate::lease::Lease;

impl Catalogue {
    /// Writes a restore before its first step: `planned` (a dry run, without a lease) or `running`, under its lease.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`); `INTERNAL` for `running` without a lease.
    pub fn begin_restore(&self, restore: &Restore, lease: Option<&Lease>) -> Result<()> {
        self.write(|c| {
            if lease.is_none() && restore.state == RestoreState::Running {
                return Err(Fault::Ours(Error::internal("begin_restore", "it needs a lease")));
            }
            if let Some(lease) = lease {
                lease.fenced(c)?;
            }
            change(
                c,
                "INSERT INTO restores (id, backup_id, file, target, mode, state, started_at, resource, fence, source_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    restore.id.to_string(),
                    opt_id(restore.backup_id.as_ref()),
                    restore.file,
                    restore.target,
                    restore.mode.as_str(),
                    restore.state.as_str(),
                    time_text(restore.started_at),
                    lease.map(Lease::resource),
                    lease.map(Lease::fence),
                    opt_id(restore.source_id.as_ref())
                ],
            )?;
            write(c, restore)
        })
    }

    /// Writes how a restore stands: state, steps, counts, error.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`), `NOT_FOUND`, `REFUSED` for a step back.
    pub fn update_restore(&self, restore: &Restore, lease: Option<&Lease>) -> Result<()> {
        self.write(|c| {
            if let Some(lease) = lease {
                lease.fenced(c)?;
            }
            write(c, restore)
        })
    }

    /// The restore with this id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn restore(&self, id: &str) -> Result<Restore> {
        self.read(|c| {
            one(c, "restores", "SELECT * FROM restores WHERE id = ?1", [id], |row| {
                read(c, row)
            })?
            .ok_or_else(|| absent(id))
        })
    }

    /// Every restore, newest first.
    pub fn restores(&self) -> Result<Vec<Restore>> {
        self.read(|c| {
            all(
                c,
                "restores",
                "SELECT * FROM restores ORDER BY started_at DESC, id DESC",
                [],
                |row| read(c, row),
            )
        })
    }

    /// Restores that are `running` without a live lease.
    pub fn dead_restores(&self) -> Result<Vec<Restore>> {
        self.read(|c| {
            let running = all(
                c,
                "restores",
                "SELECT * FROM restores WHERE state = 'running' ORDER BY started_at, id",
                [],
                |row| Ok((read(c, row)?, row.opt_text("resource")?, row.row.get("fence")?)),
            )?;
            without_lease(c, self.home(), running)
        })
    }

    /// Turns a dead restore into `interrupted`. Judged anew inside the transaction; `false` where it is over already, or lives.
    pub fn interrupt_restore(&self, id: &Id, at: DateTime<Utc>) -> Result<bool> {
        self.write(|c| {
            if !take_from_dead(c, self.home(), "restores", id)? {
                return Ok(false);
            }
            change(
                c,
                "UPDATE restores SET state = 'interrupted', ended_at = MAX(started_at, ?2), error = COALESCE(error, ?3) WHERE id = ?1",
                params![
                    id.to_string(),
                    time_text(at),
                    json(&Error::new(Code::Interrupted, "interrupted"))?
                ],
            )?;
            change(
                c,
                "UPDATE restore_steps SET state = 'failed', ended_at = ?2 WHERE restore_id = ?1 AND state = 'running'",
                params![id.to_string(), time_text(at)],
            )?;
            Ok(true)
        })
    }
}

fn absent(given: &str) -> Fault {
    Fault::Ours(Error::new(Code::NotFound, "restore_not_found").with("given", given))
}

pub(super) fn write(connection: &Connection, restore: &Restore) -> Result<(), Fault> {
    let id = restore.id.to_string();
    let changed = change(
        connection,
        "UPDATE restores SET state = ?2, safety_backup_id = ?3, ended_at = ?4, error = ?5, remarks = ?6, kept_until = ?7, kept_bytes = ?8
         WHERE id = ?1",
        params![
            id,
            restore.state.as_str(),
            opt_id(restore.safety_backup_id.as_ref()),
            opt_time(restore.ended_at),
            opt_json(restore.error.as_ref())?,
            json(&restore.remarks)?,
            opt_time(restore.kept_until),
            opt_number(restore.kept_bytes)?
        ],
    )?;
    if changed == 0 {
        return Err(absent(&id));
    }
    change(connection, "DELETE FROM restore_steps WHERE restore_id = ?1", [&id])?;
    for (position, step) in (0_i64..).zip(&restore.steps) {
        change(
            connection,
            "INSERT INTO restore_steps (restore_id, position, name, state, started_at, ended_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                id,
                position,
                step.name,
                step.state.as_str(),
                opt_time(step.started_at),
                opt_time(step.ended_at)
            ],
        )?;
    }
    change(connection, "DELETE FROM restore_counts WHERE restore_id = ?1", [&id])?;
    for (position, count) in (0_i64..).zip(&restore.counts) {
        change(
            connection,
            "INSERT INTO restore_counts (restore_id, position, table_name, rows_before, rows_after, rows_backup)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                id,
                position,
                count.table,
                opt_number(count.before)?,
                opt_number(count.after)?,
                opt_number(count.backup)?
            ],
        )?;
    }
    Ok(())
}

pub(super) fn read(connection: &Connection, row: &Reading<'_, '_>) -> Result<Restore, Fault> {
    let id = row.id("id")?;
    Ok(Restore {
        id,
        backup_id: row.opt_id("backup_id")?,
        file: row.opt_text("file")?,
        target: row.text("target")?,
        source_id: row.opt_id("source_id")?,
        kept_until: row.opt_time("kept_until")?,
        kept_bytes: row.opt_number("kept_bytes")?,
        mode: row.word("mode", RestoreMode::parse)?,
        state: row.word("state", RestoreState::parse)?,
        safety_backup_id: row.opt_id("safety_backup_id")?,
        started_at: row.time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
        steps: all(
            connection,
            "restore_steps",
            "SELECT * FROM restore_steps WHERE restore_id = ?1 ORDER BY position",
            [id.to_string()],
            |row| {
                Ok(RestoreStep {
                    name: row.text("name")?,
                    state: row.word("state", StepState::parse)?,
                    started_at: row.opt_time("started_at")?,
                    ended_at: row.opt_time("ended_at")?,
                })
            },
        )?,
        counts: all(
            connection,
            "restore_counts",
            "SELECT * FROM restore_counts WHERE restore_id = ?1 ORDER BY position",
            [id.to_string()],
            |row| {
                Ok(CountComparison {
                    table: row.text("table_name")?,
                    before: row.opt_number("rows_before")?,
                    after: row.opt_number("rows_after")?,
                    backup: row.opt_number("rows_backup")?,
                })
            },
        )?,
        remarks: row.json("remarks")?,
        error: row.opt_json("error")?,
    })
}
