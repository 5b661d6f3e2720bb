//! What sources, destinations, plans and keys have in common: names.

use chrono::{DateTime, Utc};
use coffre_model::source::check_name;
use coffre_model::{Code, Error, Id};
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::row::{change, time_text};

/// A kind of named thing: its table, and the text of its absence. Tables are ours, never a user's text.
#[derive(Clone, Copy)]
pub(super) struct Noun {
    pub(super) table: &'static str,
    pub(super) not_found: &'static str,
}

pub(super) const SOURCE: Noun = Noun {
    table: "sources",
    not_found: "source_not_found",
};
pub(super) const DESTINATION: Noun = Noun {
    table: "destinations",
    not_found: "destination_not_found",
};
pub(super) const PLAN: Noun = Noun {
    table: "plans",
    not_found: "plan_not_found",
};
pub(super) const KEY: Noun = Noun {
    table: "keys",
    not_found: "key_not_found",
};
pub(super) const CHANNEL: Noun = Noun {
    table: "channels",
    not_found: "channel_not_found",
};

impl Noun {
    pub(super) fn absent(self, given: &str) -> Fault {
        Fault::Ours(Error::new(Code::NotFound, self.not_found).with("given", given))
    }

    /// The id of what has this name, or this id, and was not removed. The exact name wins.
    pub(super) fn resolve(self, connection: &Connection, given: &str) -> Result<String, Fault> {
        let table = self.table;
        let by_name = format!("SELECT id FROM {table} WHERE name = ?1 AND removed_at IS NULL");
        let by_id = format!("SELECT id FROM {table} WHERE id = ?1 AND removed_at IS NULL");
        for sql in [by_name, by_id] {
            if let Some(id) = query_id(connection, &sql, given)? {
                return Ok(id);
            }
        }
        Err(self.absent(given))
    }

    /// Like [`Noun::resolve`], and then whatever was removed: by its id, or the last one that had this name.
    pub(super) fn resolve_known(self, connection: &Connection, given: &str) -> Result<String, Fault> {
        match self.resolve(connection, given) {
            Err(Fault::Ours(e)) if e.code() == Code::NotFound => {}
            other => return other,
        }
        let table = self.table;
        let by_id = format!("SELECT id FROM {table} WHERE id = ?1");
        let by_name = format!("SELECT id FROM {table} WHERE name = ?1 ORDER BY removed_at DESC, id DESC LIMIT 1");
        for sql in [by_id, by_name] {
            if let Some(id) = query_id(connection, &sql, given)? {
                return Ok(id);
            }
        }
        Err(self.absent(given))
    }

    /// Whether the thing exists and was not removed.
    pub(super) fn must_live(self, connection: &Connection, id: &Id) -> Result<(), Fault> {
        let sql = format!("SELECT id FROM {} WHERE id = ?1 AND removed_at IS NULL", self.table);
        match query_id(connection, &sql, &id.to_string())? {
            Some(_) => Ok(()),
            None => Err(self.absent(&id.to_string())),
        }
    }

    /// A name that `id` may have: well formed, and no other's.
    pub(super) fn must_be_free(self, connection: &Connection, name: &str, id: &Id) -> Result<(), Fault> {
        check_name(name)?;
        let sql = format!("SELECT id FROM {} WHERE name = ?1 AND removed_at IS NULL", self.table);
        match query_id(connection, &sql, name)? {
            Some(other) if other != id.to_string() => {
                Err(Fault::Ours(Error::new(Code::Refused, "name_taken").with("name", name)))
            }
            _ => Ok(()),
        }
    }

    /// Marks as removed; the row stays.
    pub(super) fn mark_removed(self, connection: &Connection, id: &Id, at: DateTime<Utc>) -> Result<(), Fault> {
        let sql = format!(
            "UPDATE {} SET removed_at = ?2 WHERE id = ?1 AND removed_at IS NULL",
            self.table
        );
        match change(connection, &sql, params![id.to_string(), time_text(at)])? {
            0 => Err(self.absent(&id.to_string())),
            _ => Ok(()),
        }
    }
}

fn query_id(connection: &Connection, sql: &str, given: &str) -> Result<Option<String>, Fault> {
    Ok(connection
        .prepare_cached(sql)?
        .query_row([given], |row| row.get(0))
        .optional()?)
}

/// Names of what stands in the way, for a refusal: a list that stays readable.
pub(super) fn some_names(connection: &Connection, sql: &str, id: &Id) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([id.to_string()])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        names.push(row.get(0)?);
    }
    Ok(names)
}

/// The names as one text, at most five of them.
pub(super) fn listed(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown}, …") } else { shown }
}
