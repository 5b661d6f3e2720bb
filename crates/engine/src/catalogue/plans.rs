//! Plans.

use chrono::{DateTime, Utc};
use coffre_model::backup::{BackupType, Kind};
use coffre_model::plan::Plan;
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::Catalogue;
use super::fault::Fault;
use super::names::{DESTINATION, KEY, PLAN, SOURCE};
use super::row::{Reading, all, change, json, one, opt_id, opt_json, opt_time, time_text};

const SELECT: &str = "SELECT p.*, s.name AS source_name, k.name AS key_name FROM plans p
    JOIN sources s ON s.id = p.source_id LEFT JOIN keys k ON k.id = p.key_id";

impl Catalogue {
    /// Adds a plan. What counts are its ids; the names in it are looked up when it is read. Where backups of a plan of this name and
    /// source are known from manifests alone, it takes that plan's place and **its id**: go on with the answer.
    ///
    /// # Errors
    /// `REFUSED` (`name_taken`), `NOT_FOUND` for a source, destination or key that is not there, `USAGE` for a name that cannot
    /// be one, or without a destination, or with one twice.
    pub fn add_plan(&self, plan: &Plan) -> Result<Plan> {
        self.write(|c| {
            PLAN.must_be_free(c, &plan.name, &plan.id)?;
            SOURCE.must_live(c, &plan.source_id)?;
            let known: Option<String> = c
                .prepare_cached(
                    "SELECT id FROM plans WHERE name = ?1 AND source_id = ?2 AND placeholder = 1 ORDER BY id DESC LIMIT 1",
                )?
                .query_row(params![plan.name, plan.source_id.to_string()], |row| row.get(0))
                .optional()?;
            let id = known.unwrap_or_else(|| plan.id.to_string());
            change(
                c,
                "INSERT INTO plans (id, name, source_id, kind, compression, retention, created_at, removed_at, placeholder)
                 VALUES (?1, ?2, ?3, 'full', '', '{}', ?4, NULL, 0)
                 ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at, removed_at = NULL, placeholder = 0
                 WHERE placeholder = 1",
                params![id, plan.name, plan.source_id.to_string(), time_text(plan.created_at)],
            )?;
            write(c, &id, plan)?;
            by_id(c, &id)
        })
    }

    /// The plan with this exact name, or this id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn plan(&self, name_or_id: &str) -> Result<Plan> {
        self.read(|c| by_id(c, &PLAN.resolve(c, name_or_id)?))
    }

    /// Like [`Catalogue::plan`], also a removed one: for looking at its backups.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn known_plan(&self, name_or_id: &str) -> Result<Plan> {
        self.read(|c| by_id(c, &PLAN.resolve_known(c, name_or_id)?))
    }

    /// Every plan, by name.
    pub fn plans(&self) -> Result<Vec<Plan>> {
        self.read(|c| {
            let sql = format!("{SELECT} WHERE p.removed_at IS NULL ORDER BY p.name");
            all(c, "plans", &sql, [], |row| read(c, row))
        })
    }

    /// Writes every field of a plan.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REFUSED` (`name_taken`), `USAGE`.
    pub fn update_plan(&self, plan: &Plan) -> Result<()> {
        self.write(|c| {
            PLAN.must_live(c, &plan.id)?;
            PLAN.must_be_free(c, &plan.name, &plan.id)?;
            write(c, &plan.id.to_string(), plan)
        })
    }

    /// Removes a plan from the lists. Its backups stay, with its name.
    ///
    /// # Errors
    /// `NOT_FOUND`; `BUSY` while a run of it goes on, naming the run.
    pub fn remove_plan(&self, id: &Id, at: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            PLAN.must_live(c, id)?;
            let run: Option<(String, String)> = c
                .prepare_cached("SELECT id, code FROM backups WHERE plan_id = ?1 AND state = 'running' LIMIT 1")?
                .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((run, code)) = run {
                return Err(Fault::Ours(
                    Error::new(Code::Busy, "plan_busy").with("run", run).with("code", code),
                ));
            }
            PLAN.mark_removed(c, id, at)
        })
    }
}

fn write(connection: &Connection, id: &str, plan: &Plan) -> Result<(), Fault> {
    SOURCE.must_live(connection, &plan.source_id)?;
    if let Some(key) = &plan.key_id {
        KEY.must_live(connection, key)?;
    }
    if plan.destination_ids.is_empty() {
        return Err(Fault::Ours(Error::new(Code::Usage, "plan_no_destination")));
    }
    change(
        connection,
        "UPDATE plans SET name = ?2, source_id = ?3, kind = ?4, every = ?5, compression = ?6, key_id = ?7, retention = ?8,
                          schedule = ?9, paused_at = ?10, hooks = ?11
         WHERE id = ?1",
        params![
            id,
            plan.name,
            plan.source_id.to_string(),
            plan.kind.as_str(),
            plan.every.map(BackupType::as_str),
            plan.compression.to_string(),
            opt_id(plan.key_id.as_ref()),
            json(&plan.retention)?,
            opt_json(plan.schedule.as_ref())?,
            opt_time(plan.paused_at),
            opt_json(plan.hooks.as_ref())?
        ],
    )?;
    change(connection, "DELETE FROM plan_destinations WHERE plan_id = ?1", [id])?;
    for (position, destination) in (0_i64..).zip(&plan.destination_ids) {
        DESTINATION.must_live(connection, destination)?;
        if plan.destination_ids.iter().filter(|other| *other == destination).count() > 1 {
            return Err(Fault::Ours(Error::new(Code::Usage, "plan_destination_twice")));
        }
        change(
            connection,
            "INSERT INTO plan_destinations (plan_id, position, destination_id) VALUES (?1, ?2, ?3)",
            params![id, position, destination.to_string()],
        )?;
    }
    Ok(())
}

fn by_id(connection: &Connection, id: &str) -> Result<Plan, Fault> {
    let sql = format!("{SELECT} WHERE p.id = ?1");
    one(connection, "plans", &sql, [id], |row| read(connection, row))?.ok_or_else(|| PLAN.absent(id))
}

fn read(connection: &Connection, row: &Reading<'_, '_>) -> Result<Plan, Fault> {
    let id = row.id("id")?;
    let (destination_ids, destinations) = all(
        connection,
        "plan_destinations",
        "SELECT d.id, d.name FROM plan_destinations p JOIN destinations d ON d.id = p.destination_id
         WHERE p.plan_id = ?1 ORDER BY p.position",
        [id.to_string()],
        |row| Ok((row.id("id")?, row.text("name")?)),
    )?
    .into_iter()
    .unzip();
    Ok(Plan {
        id,
        name: row.text("name")?,
        source_id: row.id("source_id")?,
        source: row.text("source_name")?,
        destination_ids,
        destinations,
        kind: row.word("kind", Kind::parse)?,
        every: row.opt_word("every", BackupType::parse)?,
        compression: row.word("compression", |text| text.parse().ok())?,
        encryption: row.opt_text("key_name")?,
        key_id: row.opt_id("key_id")?,
        retention: row.json("retention")?,
        schedule: row.opt_json("schedule")?,
        hooks: row.opt_json("hooks")?,
        paused_at: row.opt_time("paused_at")?,
        created_at: row.time("created_at")?,
    })
}
