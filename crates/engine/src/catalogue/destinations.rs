//! Destinations.

use chrono::{DateTime, Utc};
use coffre_model::destination::Destination;
use coffre_model::{Code, Error, Id, Result};
use rusqlite::{Connection, params};

use super::Catalogue;
use super::fault::Fault;
use super::names::{DESTINATION, listed, some_names};
use super::row::{Reading, all, change, count, one, opt_id, time_text};

impl Catalogue {
    /// Adds a destination. One that was removed can come back under its own id (the place says which it is).
    ///
    /// # Errors
    /// `REFUSED` (`name_taken`), `USAGE` for a name that cannot be one.
    pub fn add_destination(&self, destination: &Destination) -> Result<Destination> {
        self.write(|c| {
            DESTINATION.must_be_free(c, &destination.name, &destination.id)?;
            change(
                c,
                "INSERT INTO destinations (id, name, address, has_secret, identity, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, address = excluded.address,
                    has_secret = excluded.has_secret, identity = excluded.identity, removed_at = NULL
                 WHERE removed_at IS NOT NULL",
                params![
                    destination.id.to_string(),
                    destination.name,
                    destination.address,
                    destination.has_secret,
                    opt_id(destination.identity.as_ref()),
                    time_text(destination.created_at)
                ],
            )
            .and_then(|changed| match changed {
                // The same id, and not removed.
                0 => Err(Fault::Ours(
                    Error::new(Code::Refused, "destination_known").with("id", destination.id.to_string()),
                )),
                _ => by_id(c, &destination.id.to_string()),
            })
        })
    }

    /// Writes down which place this is, at its first use.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn set_identity(&self, id: &Id, identity: &Id) -> Result<()> {
        self.write(|c| {
            let changed = change(
                c,
                "UPDATE destinations SET identity = ?2 WHERE id = ?1",
                params![id.to_string(), identity.to_string()],
            )?;
            if changed == 0 {
                Err(DESTINATION.absent(&id.to_string()))
            } else {
                Ok(())
            }
        })
    }

    /// The destination with this exact name, or this id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn destination(&self, name_or_id: &str) -> Result<Destination> {
        self.read(|c| by_id(c, &DESTINATION.resolve(c, name_or_id)?))
    }

    /// Like [`Catalogue::destination`], also a removed one: for the copies that were known to lie there.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn known_destination(&self, name_or_id: &str) -> Result<Destination> {
        self.read(|c| by_id(c, &DESTINATION.resolve_known(c, name_or_id)?))
    }

    /// Every destination, by name.
    pub fn destinations(&self) -> Result<Vec<Destination>> {
        self.read(|c| {
            all(
                c,
                "destinations",
                "SELECT * FROM destinations WHERE removed_at IS NULL ORDER BY name",
                [],
                read,
            )
        })
    }

    /// Writes every field of a destination.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REFUSED` (`name_taken`), `USAGE`.
    pub fn update_destination(&self, destination: &Destination) -> Result<()> {
        self.write(|c| {
            DESTINATION.must_live(c, &destination.id)?;
            DESTINATION.must_be_free(c, &destination.name, &destination.id)?;
            change(
                c,
                "UPDATE destinations SET name = ?2, address = ?3, has_secret = ?4, identity = ?5 WHERE id = ?1",
                params![
                    destination.id.to_string(),
                    destination.name,
                    destination.address,
                    destination.has_secret,
                    opt_id(destination.identity.as_ref())
                ],
            )?;
            Ok(())
        })
    }

    /// Whether a run is writing a copy there, or one that died has left one.
    pub fn is_written_to(&self, id: &Id) -> Result<bool> {
        self.read(|c| {
            let sql = "SELECT COUNT(*) FROM copies WHERE destination_id = ?1 AND state IN ('writing', 'deleting')";
            Ok(count(c, sql, [id.to_string()])? > 0)
        })
    }

    /// Removes a destination from the lists.
    ///
    /// # Errors
    /// `NOT_FOUND`; `REFUSED` while a plan uses it, naming the plans, or while it holds copies, with their number: they would be out of
    /// reach and still look safe. Copies known as missing, corrupt or deleted do not count.
    pub fn remove_destination(&self, id: &Id, at: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            DESTINATION.must_live(c, id)?;
            let plans = some_names(
                c,
                "SELECT p.name FROM plan_destinations d JOIN plans p ON p.id = d.plan_id
                 WHERE d.destination_id = ?1 AND p.removed_at IS NULL ORDER BY p.name",
                id,
            )?;
            if !plans.is_empty() {
                return Err(Fault::Ours(
                    Error::new(Code::Refused, "destination_has_plans").with("plans", listed(&plans)),
                ));
            }
            let copies = count(
                c,
                "SELECT COUNT(*) FROM copies
                 WHERE destination_id = ?1 AND state IN ('writing', 'stored', 'verified', 'deleting')",
                [id.to_string()],
            )?;
            if copies > 0 {
                return Err(Fault::Ours(
                    Error::new(Code::Refused, "destination_has_copies").with("copies", copies),
                ));
            }
            DESTINATION.mark_removed(c, id, at)
        })
    }
}

fn by_id(connection: &Connection, id: &str) -> Result<Destination, Fault> {
    one(
        connection,
        "destinations",
        "SELECT * FROM destinations WHERE id = ?1",
        [id],
        read,
    )?
    .ok_or_else(|| DESTINATION.absent(id))
}

fn read(row: &Reading<'_, '_>) -> Result<Destination, Fault> {
    Ok(Destination {
        id: row.id("id")?,
        name: row.text("name")?,
        address: row.text("address")?,
        has_secret: row.flag("has_secret")?,
        identity: row.opt_id("identity")?,
        created_at: row.time("created_at")?,
    })
}
