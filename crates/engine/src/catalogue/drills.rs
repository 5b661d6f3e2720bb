//! Drills: rehearsed restores and what they showed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use coffre_model::drill::{Drill, DrillState, LastDrill};
use coffre_model::source::Source;
use coffre_model::throw_away::DrillLevel;
use coffre_model::{Code, Error, Id, Result};
use rusqlite::params;

use super::Catalogue;
use super::fault::Fault;
use super::row::{Reading, all, change, count, json, one, opt_json, opt_number, opt_time, time_text};
use super::runs::{take_from_dead, without_lease};
use crate::aim::aim;
use crate::lease::Lease;

/// What says something about a backup: drills that came to an end of their own.
const ENDED: &str = "state IN ('done', 'failed')";

impl Catalogue {
    /// Writes a drill that begins, under its lease.
    ///
    /// # Errors
    /// `INTERRUPTED` (`lease_lost`).
    pub fn begin_drill(&self, drill: &Drill, lease: &Lease) -> Result<()> {
        self.write(|c| {
            lease.fenced(c)?;
            change(
                c,
                "INSERT INTO drills (id, backup_id, source_id, state, started_at, resource, fence) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    drill.id.to_string(),
                    drill.backup_id.to_string(),
                    drill.source_id.to_string(),
                    drill.state.as_str(),
                    time_text(drill.started_at),
                    lease.resource(),
                    lease.fence()
                ],
            )?;
            Ok(())
        })
    }

    /// Writes how a drill ended.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INTERRUPTED` where it was put to rest meanwhile.
    pub fn end_drill(&self, drill: &Drill) -> Result<()> {
        self.write(|c| {
            let changed = change(
                c,
                "UPDATE drills SET state = ?2, level = ?3, ended_at = ?4, restore_ms = ?5, server_version = ?6, tables = ?7, rows = ?8,
                        error = ?9, remarks = ?10
                  WHERE id = ?1 AND state = 'running'",
                params![
                    drill.id.to_string(),
                    drill.state.as_str(),
                    drill.level.map(DrillLevel::as_str),
                    opt_time(drill.ended_at),
                    opt_number(drill.restore_ms)?,
                    drill.server_version,
                    opt_number(drill.tables)?,
                    opt_number(drill.rows)?,
                    opt_json(drill.error.as_ref())?,
                    json(&drill.remarks)?
                ],
            )?;
            if changed == 0 {
                return Err(Fault::Ours(
                    Error::new(Code::Interrupted, "lease_lost").with("drill", drill.id.to_string()),
                ));
            }
            Ok(())
        })
    }

    /// The drill with this id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn drill(&self, id: &Id) -> Result<Drill> {
        self.read(|c| {
            one(c, "drills", "SELECT * FROM drills WHERE id = ?1", [id.to_string()], read)?
                .ok_or_else(|| Fault::Ours(Error::new(Code::NotFound, "drill_not_found").with("given", id.to_string())))
        })
    }

    /// Every drill of a backup, newest first.
    pub fn drills(&self, backup: &Id) -> Result<Vec<Drill>> {
        self.read(|c| {
            let sql = "SELECT * FROM drills WHERE backup_id = ?1 ORDER BY started_at DESC, id DESC";
            all(c, "drills", sql, [backup.to_string()], read)
        })
    }

    /// The last drill of each of these backups, where there was one.
    pub fn last_drills(&self, backups: &[Id]) -> Result<BTreeMap<Id, LastDrill>> {
        let sql = format!("SELECT * FROM drills WHERE backup_id = ?1 AND {ENDED} ORDER BY started_at DESC, id DESC LIMIT 1");
        self.read(|c| {
            let mut found = BTreeMap::new();
            for backup in backups {
                if let Some(last) = one(c, "drills", &sql, [backup.to_string()], |row| short(&read(row)?))? {
                    found.insert(*backup, last);
                }
            }
            Ok(found)
        })
    }

    /// The last drill of any backup of a source, where there was one. `measured`: one that measured what a restore takes.
    pub fn last_drill_of_source(&self, source: &Id, measured: bool) -> Result<Option<LastDrill>> {
        let measured = if measured {
            "AND state = 'done' AND restore_ms IS NOT NULL"
        } else {
            ""
        };
        let sql =
            format!("SELECT * FROM drills WHERE source_id = ?1 AND {ENDED} {measured} ORDER BY started_at DESC, id DESC LIMIT 1");
        self.read(|c| one(c, "drills", &sql, [source.to_string()], |row| short(&read(row)?)))
    }

    /// The last drill of any backup of a source, however it stands.
    pub fn last_attempt(&self, source: &Id) -> Result<Option<Drill>> {
        let sql = "SELECT * FROM drills WHERE source_id = ?1 ORDER BY started_at DESC, id DESC LIMIT 1";
        self.read(|c| one(c, "drills", sql, [source.to_string()], read))
    }

    /// The last drill of a backup of what the source points to now, that came to an end of its own.
    pub fn last_ended_drill(&self, source: &Source) -> Result<Option<Drill>> {
        let sql = "SELECT d.* FROM drills d JOIN backups b ON b.id = d.backup_id
                    WHERE d.source_id = ?1 AND d.state IN ('done', 'failed') AND b.aim = ?2 ORDER BY d.started_at DESC, d.id DESC LIMIT 1";
        self.read(|c| one(c, "drills", sql, params![source.id.to_string(), aim(source)], read))
    }

    /// The last drill of each source that is not removed, of any of its backups, that came to an end of its own. What was refused was none.
    pub fn last_drill_of_each(&self) -> Result<Vec<Drill>> {
        self.read_widely(|c| {
            let sql = format!(
                "SELECT d.* FROM sources s JOIN drills d ON d.id =
                    (SELECT id FROM drills WHERE source_id = s.id AND {ENDED}
                        AND COALESCE(json_extract(error, '$.code'), '') NOT IN ('BUSY', 'USAGE', 'REFUSED')
                      ORDER BY started_at DESC, id DESC LIMIT 1)
                 WHERE s.removed_at IS NULL ORDER BY s.id"
            );
            all(c, "drills", &sql, [], read)
        })
    }

    /// Whether anything goes on, or is due, in this process or another one. What a dead one left counts until it is put to rest.
    pub fn is_working(&self) -> Result<bool> {
        let sql = "SELECT (SELECT COUNT(*) FROM backups WHERE state IN ('running', 'deleting')) + (SELECT COUNT(*) FROM restores WHERE state = 'running')
                        + (SELECT COUNT(*) FROM drills WHERE state = 'running') + (SELECT COUNT(*) FROM slots WHERE state IN ('due', 'running'))";
        self.read(|c| Ok(count(c, sql, [])? > 0))
    }

    /// Drills that go on now, here or in another process.
    pub fn live_drills(&self) -> Result<Vec<Drill>> {
        let dead: BTreeSet<Id> = self.dead_drills()?.into_iter().map(|drill| drill.id).collect();
        let running = self.read(|c| {
            let sql = "SELECT * FROM drills WHERE state = 'running' ORDER BY started_at, id";
            all(c, "drills", sql, [], read)
        })?;
        Ok(running.into_iter().filter(|drill| !dead.contains(&drill.id)).collect())
    }

    /// Drills that are `running` without a live lease.
    pub fn dead_drills(&self) -> Result<Vec<Drill>> {
        self.read(|c| {
            let sql = "SELECT * FROM drills WHERE state = 'running' ORDER BY started_at, id";
            let running = all(c, "drills", sql, [], |row| {
                Ok((read(row)?, row.opt_text("resource")?, row.row.get("fence")?))
            })?;
            without_lease(c, self.home(), running)
        })
    }

    /// Turns a dead drill into `interrupted`. Judged anew inside the transaction; `false` where it is over already, or lives.
    pub fn interrupt_drill(&self, id: &Id, at: DateTime<Utc>) -> Result<bool> {
        self.write(|c| {
            if !take_from_dead(c, self.home(), "drills", id)? {
                return Ok(false);
            }
            change(
                c,
                "UPDATE drills SET state = 'interrupted', ended_at = MAX(started_at, ?2), error = ?3 WHERE id = ?1",
                params![
                    id.to_string(),
                    time_text(at),
                    json(&Error::new(Code::Interrupted, "interrupted"))?
                ],
            )?;
            Ok(true)
        })
    }
}

fn short(drill: &Drill) -> Result<LastDrill, Fault> {
    Ok(LastDrill {
        id: drill.id,
        state: drill.state,
        level: drill.level,
        at: drill.ended_at.unwrap_or(drill.started_at),
        restore_ms: drill.restore_ms,
    })
}

fn read(row: &Reading<'_, '_>) -> Result<Drill, Fault> {
    Ok(Drill {
        id: row.id("id")?,
        backup_id: row.id("backup_id")?,
        source_id: row.id("source_id")?,
        state: row.word("state", DrillState::parse)?,
        level: row.opt_word("level", DrillLevel::parse)?,
        started_at: row.time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
        restore_ms: row.opt_number("restore_ms")?,
        server_version: row.opt_text("server_version")?,
        tables: row.opt_number("tables")?,
        rows: row.opt_number("rows")?,
        remarks: row.json("remarks")?,
        error: row.opt_json("error")?,
    })
}
