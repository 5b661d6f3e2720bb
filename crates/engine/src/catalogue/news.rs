//! What channels are told of: how the runs of each plan, and those by hand of each source, ended last; what lines of the journal concern.

use std::collections::BTreeMap;

use coffre_model::backup::Backup;
use coffre_model::journal::Entry;
use coffre_model::notice::Named;
use coffre_model::slot::Slot;
use coffre_model::{Id, Result};
use rusqlite::Connection;

use super::Catalogue;
use super::backups;
use super::fault::Fault;
use super::row::{all, one};
use super::slots;

/// What a line of the journal concerns, as far as it concerns a backup or live data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whose {
    /// The backup.
    pub backup: Option<Named>,
    /// The plan that made it.
    pub plan: Option<Named>,
    /// Its source.
    pub source: Option<Named>,
    /// That source is not removed.
    pub lives: bool,
    /// The source whose live data was replaced, or should have been.
    pub replaced: Option<Named>,
}

/// Looks up what a line concerns. Nothing where it is about something else, or that is not there any more.
pub(super) fn whose(connection: &Connection, entry: &Entry) -> Result<Whose, Fault> {
    let Some(id) = entry.subject_id.as_deref() else {
        return Ok(Whose::default());
    };
    let (backup, replaced) = match entry.subject_kind.as_str() {
        "backup" => (Some(id.to_owned()), None),
        "drill" => {
            let sql = "SELECT backup_id FROM drills WHERE id = ?1";
            (one(connection, "drills", sql, [id], |row| row.text("backup_id"))?, None)
        }
        "restore" => {
            let sql = "SELECT r.backup_id, s.id AS source_id, s.name FROM restores r LEFT JOIN sources s ON s.id = r.source_id WHERE r.id = ?1";
            let found = one(connection, "restores", sql, [id], |row| {
                let source = named(row.opt_id("source_id")?, row.opt_text("name")?);
                Ok((row.opt_text("backup_id")?, source))
            })?;
            found.unwrap_or_default()
        }
        _ => (None, None),
    };
    let sql = "SELECT b.id, b.code, b.plan_id, b.plan_name, b.source_id, COALESCE(s.name, b.source_name) AS source, s.removed_at IS NULL AS lives
               FROM backups b LEFT JOIN sources s ON s.id = b.source_id WHERE b.id = ?1";
    let found = match backup {
        None => None,
        Some(backup) => one(connection, "backups", sql, [backup], |row| {
            Ok(Whose {
                backup: named(row.opt_id("id")?, row.opt_text("code")?),
                plan: named(row.opt_id("plan_id")?, row.opt_text("plan_name")?),
                source: named(row.opt_id("source_id")?, row.opt_text("source")?),
                lives: row.flag("lives")?,
                replaced: None,
            })
        })?,
    };
    Ok(Whose {
        replaced,
        ..found.unwrap_or_default()
    })
}

fn named(id: Option<Id>, name: Option<String>) -> Option<Named> {
    Some(Named {
        id: id?,
        name: name.unwrap_or_default(),
    })
}

impl Catalogue {
    /// The last run of each plan that is not removed, and the last one by hand of each source, that came to an end of its own: neither
    /// skipped nor stopped by a person, nor made for the sake of a restore. What has been deleted since is among them, as deleted.
    pub fn last_runs(&self) -> Result<Vec<Backup>> {
        self.read_widely(|c| {
            let ended = "state NOT IN ('running', 'skipped', 'cancelled') ORDER BY started_at DESC, id DESC LIMIT 1";
            let sql = format!(
                "{} WHERE b.id IN (
                    SELECT (SELECT id FROM backups WHERE plan_id = p.id AND {ended}) FROM plans p WHERE p.removed_at IS NULL
                    UNION ALL
                    SELECT (SELECT id FROM backups WHERE source_id = s.id AND plan_id IS NULL AND \"trigger\" IN ('manual', 'api') AND {ended})
                    FROM sources s WHERE s.removed_at IS NULL)",
                backups::SELECT
            );
            all(c, "backups", &sql, [], |row| backups::read(c, row))
        })
    }

    /// For each plan the newest slot that failed or was missed.
    pub fn last_bad_slots(&self) -> Result<BTreeMap<Id, Slot>> {
        self.read_widely(|c| {
            let sql = format!(
                "{} AS outer_slots WHERE state IN ('failed', 'missed') AND slot =
                    (SELECT MAX(slot) FROM slots i WHERE i.plan_id = outer_slots.plan_id AND i.state IN ('failed', 'missed'))",
                slots::COLUMNS
            );
            let rows = all(c, "slots", &sql, [], slots::read)?;
            Ok(rows.into_iter().map(|slot| (slot.plan_id, slot)).collect())
        })
    }
}
