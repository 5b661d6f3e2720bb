//! Sources.

use chrono::{DateTime, Utc};
use coffre_model::source::Source;
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::Catalogue;
use super::fault::Fault;
use super::names::{SOURCE, listed, some_names};
use super::row::{Reading, all, change, json, one, time_text};

impl Catalogue {
    /// Adds a source. Where backups of a source of this name are known from manifests alone (a rebuilt catalogue), it takes that
    /// source's place and **its id**: go on with the answer, not with what was given.
    ///
    /// # Errors
    /// `REFUSED` (`name_taken`), `USAGE` for a name that cannot be one.
    pub fn add_source(&self, source: &Source) -> Result<Source> {
        self.write(|c| {
            SOURCE.must_be_free(c, &source.name, &source.id)?;
            let known: Option<String> = c
                .prepare_cached("SELECT id FROM sources WHERE name = ?1 AND placeholder = 1 ORDER BY id DESC LIMIT 1")?
                .query_row([&source.name], |row| row.get(0))
                .optional()?;
            let id = known.unwrap_or_else(|| source.id.to_string());
            change(
                c,
                "INSERT INTO sources (id, name, address, options, has_secret, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO UPDATE SET address = excluded.address, options = excluded.options,
                    has_secret = excluded.has_secret, created_at = excluded.created_at, removed_at = NULL, placeholder = 0
                 WHERE placeholder = 1",
                params![
                    id,
                    source.name,
                    source.address,
                    json(&source.options)?,
                    source.has_secret,
                    time_text(source.created_at)
                ],
            )?;
            by_id(c, &id)
        })
    }

    /// The source with this exact name, or this id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn source(&self, name_or_id: &str) -> Result<Source> {
        self.read(|c| by_id(c, &SOURCE.resolve(c, name_or_id)?))
    }

    /// Like [`Catalogue::source`], also a removed one: for looking at, verifying and restoring its backups. The address of a source
    /// that is known from manifests alone is empty.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn known_source(&self, name_or_id: &str) -> Result<Source> {
        self.read(|c| by_id(c, &SOURCE.resolve_known(c, name_or_id)?))
    }

    /// Likewise by its id alone: a name that looks like another's id does not win.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn known_source_by_id(&self, id: &Id) -> Result<Source> {
        self.read(|c| by_id(c, &id.to_string()))
    }

    /// Every source, by name.
    pub fn sources(&self) -> Result<Vec<Source>> {
        self.read(|c| {
            all(
                c,
                "sources",
                "SELECT * FROM sources WHERE removed_at IS NULL ORDER BY name",
                [],
                read,
            )
        })
    }

    /// Writes every field of a source.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REFUSED` (`name_taken`), `USAGE`.
    pub fn update_source(&self, source: &Source) -> Result<()> {
        self.write(|c| {
            SOURCE.must_live(c, &source.id)?;
            SOURCE.must_be_free(c, &source.name, &source.id)?;
            change(
                c,
                "UPDATE sources SET name = ?2, address = ?3, options = ?4, has_secret = ?5 WHERE id = ?1",
                params![
                    source.id.to_string(),
                    source.name,
                    source.address,
                    json(&source.options)?,
                    source.has_secret
                ],
            )?;
            Ok(())
        })
    }

    /// Removes a source from the lists. Its backups stay, with its name.
    ///
    /// # Errors
    /// `NOT_FOUND`; `REFUSED` while a plan uses it, naming the plans; `BUSY` while a run of it goes on, naming the run.
    pub fn remove_source(&self, id: &Id, at: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            SOURCE.must_live(c, id)?;
            let plans = some_names(
                c,
                "SELECT name FROM plans WHERE source_id = ?1 AND removed_at IS NULL ORDER BY name",
                id,
            )?;
            if !plans.is_empty() {
                return Err(Fault::Ours(
                    Error::new(Code::Refused, "source_has_plans").with("plans", listed(&plans)),
                ));
            }
            let run: Option<(String, String)> = c
                .prepare_cached("SELECT id, code FROM backups WHERE source_id = ?1 AND state = 'running' LIMIT 1")?
                .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((run, code)) = run {
                return Err(Fault::Ours(
                    Error::new(Code::Busy, "source_busy").with("run", run).with("code", code),
                ));
            }
            SOURCE.mark_removed(c, id, at)
        })
    }
}

pub(super) fn by_id(connection: &Connection, id: &str) -> Result<Source, Fault> {
    one(connection, "sources", "SELECT * FROM sources WHERE id = ?1", [id], read)?.ok_or_else(|| SOURCE.absent(id))
}

fn read(row: &Reading<'_, '_>) -> Result<Source, Fault> {
    Ok(Source {
        id: row.id("id")?,
        name: row.text("name")?,
        address: row.text("address")?,
        options: row.json("options")?,
        has_secret: row.flag("has_secret")?,
        created_at: row.time("created_at")?,
    })
}
