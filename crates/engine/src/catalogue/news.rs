//! What channels are told of: how the runs of each plan, and those by hand of each source, ended last.

use std::collections::BTreeMap;

use coffre_model::backup::Backup;
use coffre_model::slot::Slot;
use coffre_model::{Id, Result};

use super::Catalogue;
use super::backups;
use super::row::all;
use super::slots;

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
