//! Channels.

use chrono::{DateTime, Utc};
use coffre_model::channel::Channel;
use coffre_model::{Id, Result};
use rusqlite::{Connection, params};

use super::Catalogue;
use super::fault::Fault;
use super::names::CHANNEL;
use super::row::{Reading, all, change, count, json, one, opt_time, time_text};

impl Catalogue {
    /// Adds a channel. It listens from now on: what the journal holds already is no news to it.
    ///
    /// # Errors
    /// `REFUSED` (`name_taken`), `USAGE` for a name that cannot be one.
    pub fn add_channel(&self, channel: &Channel) -> Result<Channel> {
        self.write(|c| {
            CHANNEL.must_be_free(c, &channel.name, &channel.id)?;
            change(
                c,
                "INSERT INTO channels (id, name, settings, language, time_zone, wants, plan_ids, has_secret, paused_at, created_at, since,
                                       journal_seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, (SELECT COALESCE(MAX(id), 0) FROM journal))",
                params![
                    channel.id.to_string(),
                    channel.name,
                    json(&channel.settings)?,
                    channel.language,
                    channel.time_zone,
                    json(&channel.wants)?,
                    json(&channel.plan_ids)?,
                    channel.has_secret,
                    opt_time(channel.paused_at),
                    time_text(channel.created_at)
                ],
            )?;
            by_id(c, &channel.id.to_string())
        })
    }

    /// The channel with this exact name, or this id.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn channel(&self, name_or_id: &str) -> Result<Channel> {
        self.read(|c| by_id(c, &CHANNEL.resolve(c, name_or_id)?))
    }

    /// Every channel, by name.
    pub fn channels(&self) -> Result<Vec<Channel>> {
        self.read(|c| {
            let sql = "SELECT * FROM channels WHERE removed_at IS NULL ORDER BY name";
            all(c, "channels", sql, [], read)
        })
    }

    /// Whether there ever was a channel here.
    pub fn knew_channels(&self) -> Result<bool> {
        self.read(|c| Ok(count(c, "SELECT COUNT(*) FROM channels", [])? > 0))
    }

    /// Writes every field of a channel, and lets it try again what was given up since `again_since`: what was in the way may be out of it.
    ///
    /// # Errors
    /// `NOT_FOUND`, `REFUSED` (`name_taken`), `USAGE`.
    pub fn update_channel(&self, channel: &Channel, again_since: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            CHANNEL.must_live(c, &channel.id)?;
            CHANNEL.must_be_free(c, &channel.name, &channel.id)?;
            let id = channel.id.to_string();
            change(
                c,
                "UPDATE channels SET name = ?2, settings = ?3, language = ?4, time_zone = ?5, wants = ?6, plan_ids = ?7, has_secret = ?8
                 WHERE id = ?1",
                params![
                    id,
                    channel.name,
                    json(&channel.settings)?,
                    channel.language,
                    channel.time_zone,
                    json(&channel.wants)?,
                    json(&channel.plan_ids)?,
                    channel.has_secret
                ],
            )?;
            change(
                c,
                "UPDATE deliveries SET state = 'pending', next_try_at = ?3, ended_at = NULL
                 WHERE channel_id = ?1 AND state = 'given_up' AND created_at >= ?2 AND event_key NOT LIKE 'test:%'",
                params![id, time_text(again_since), time_text(now)],
            )?;
            change(
                c,
                "UPDATE deliveries SET next_try_at = ?2 WHERE channel_id = ?1 AND state = 'pending'",
                params![id, time_text(now)],
            )?;
            Ok(())
        })
    }

    /// Pauses a channel, or lets it listen again: from now on. What happened meanwhile and is over it never hears; what still stands it does.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn pause_channel(&self, id: &Id, paused: bool, now: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            CHANNEL.must_live(c, id)?;
            let sql = match paused {
                true => "UPDATE channels SET paused_at = ?2 WHERE id = ?1 AND paused_at IS NULL",
                false => {
                    "UPDATE channels SET paused_at = NULL, since = ?2, journal_seen = (SELECT COALESCE(MAX(id), 0) FROM journal)
                     WHERE id = ?1 AND paused_at IS NOT NULL"
                }
            };
            change(c, sql, params![id.to_string(), time_text(now)]).map(drop)
        })
    }

    /// Removes a channel with everything that was to be sent to it.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn remove_channel(&self, id: &Id, at: DateTime<Utc>) -> Result<()> {
        self.write(|c| {
            CHANNEL.mark_removed(c, id, at)?;
            for table in ["channel_told", "deliveries"] {
                change(c, &format!("DELETE FROM {table} WHERE channel_id = ?1"), [id.to_string()])?;
            }
            Ok(())
        })
    }
}

fn by_id(connection: &Connection, id: &str) -> Result<Channel, Fault> {
    one(connection, "channels", "SELECT * FROM channels WHERE id = ?1", [id], read)?.ok_or_else(|| CHANNEL.absent(id))
}

pub(super) fn read(row: &Reading<'_, '_>) -> Result<Channel, Fault> {
    Ok(Channel {
        id: row.id("id")?,
        name: row.text("name")?,
        settings: row.json("settings")?,
        language: row.text("language")?,
        time_zone: row.text("time_zone")?,
        wants: row.json("wants")?,
        plan_ids: row.json("plan_ids")?,
        has_secret: row.flag("has_secret")?,
        paused_at: row.opt_time("paused_at")?,
        created_at: row.time("created_at")?,
    })
}
