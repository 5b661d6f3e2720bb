//! Figures for overviews: counted and summed by SQLite, from indexes wherever there are many rows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coffre_model::backup::{Backup, BackupState};
use coffre_model::restore::Restore;
use coffre_model::source::Source;
use coffre_model::{Id, Result};
use rusqlite::params;

use super::Catalogue;
use super::backups::{SELECT, read};
use super::fault::Fault;
use super::restores;
use super::row::{all, count, number_back, one, time_text};
use crate::aim::aim;

/// Copies that take room. What is `missing` does not, and what is being written is not there yet.
pub(super) const LYING: &str = "'stored', 'verified', 'corrupt', 'deleting'";

/// Slots that left no backup behind; the words of the index `slots_without_run`.
const WITHOUT_RUN: &str = "backup_id IS NULL AND state IN ('failed', 'skipped', 'missed')";
/// For how many slots such a row stands ([`coffre_model::slot::COUNT`]).
const SLOTS_OF_ROW: &str = "COALESCE(json_extract(reason, '$.details.slots_count'), 1)";

/// A stretch of time: from the first moment, up to but without the second.
pub type Span = (DateTime<Utc>, DateTime<Utc>);

/// How runs that began within a stretch of time ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Verified.
    pub verified: u64,
    /// Written, not read back.
    pub stored: u64,
    /// Failed or interrupted.
    pub failed: u64,
    /// Nobody was there.
    pub missed: u64,
    /// Everything else: cancelled, skipped, running. Deleted ones are not counted at all.
    pub other: u64,
}

/// Sums over one plan's backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanFigures {
    /// Verified ones.
    pub successes: u64,
    /// Failed and interrupted ones.
    pub failures: u64,
}

/// Sums over what lies at one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestinationFigures {
    /// Copies that lie there, or should.
    pub copies: u64,
    /// Those of them that are verified.
    pub verified: u64,
    /// Bytes that they take.
    pub stored_bytes: u64,
    /// Bytes of those whose runs began in the asked stretch of time.
    pub recent_bytes: u64,
    /// The largest of them.
    pub largest_bytes: u64,
}

/// Sums over everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Verified backups.
    pub verified: u64,
    /// Backups that lie somewhere: verified and stored ones.
    pub kept: u64,
    /// Bytes of all copies.
    pub stored_bytes: u64,
}

/// Facts about the file itself.
#[derive(Clone, Debug, PartialEq)]
pub struct FileFacts {
    /// Its size with its log, in bytes.
    pub bytes: u64,
    /// `wal`.
    pub journal_mode: String,
    /// The share of pages that hold nothing, 0 to 1.
    pub fragmentation: f64,
}

impl Catalogue {
    /// How runs ended, for each stretch of time.
    pub fn outcomes_within(&self, spans: &[Span]) -> Result<Vec<Outcomes>> {
        self.read_widely(|c| {
            let mut statement = c.prepare_cached(
                "SELECT COALESCE(SUM(state = 'verified'), 0), COALESCE(SUM(state = 'stored'), 0),
                    COALESCE(SUM(state IN ('failed', 'interrupted')), 0), COALESCE(SUM(state = 'missed'), 0),
                    COALESCE(SUM(state IN ('cancelled', 'skipped', 'running')), 0)
                 FROM backups WHERE started_at >= ?1 AND started_at < ?2",
            )?;
            let mut without_run = c.prepare_cached(&format!(
                "SELECT COALESCE(SUM(state = 'failed'), 0),
                    COALESCE(SUM(iif(state = 'missed', {SLOTS_OF_ROW}, 0)), 0), COALESCE(SUM(iif(state = 'skipped', {SLOTS_OF_ROW}, 0)), 0)
                 FROM slots WHERE slot >= ?1 AND slot < ?2 AND {WITHOUT_RUN}"
            ))?;
            let mut found = Vec::with_capacity(spans.len());
            for (from, to) in spans {
                let span = params![time_text(*from), time_text(*to)];
                let sums: [i64; 5] = statement.query_row(span, |row| {
                    Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
                })?;
                // What was due and left no backup behind: a day on which nobody was there is no day on which nothing was due.
                let slots: [i64; 3] = without_run.query_row(span, |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
                found.push(Outcomes {
                    verified: number_back(sums[0])?,
                    stored: number_back(sums[1])?,
                    failed: number_back(sums[2] + slots[0])?,
                    missed: number_back(sums[3] + slots[1])?,
                    other: number_back(sums[4] + slots[2])?,
                });
            }
            Ok(found)
        })
    }

    /// How many bytes lay at all destinations at each of these moments, which must be in order. What was deleted counts up to its
    /// deletion, as the journal tells it; what is missing counts never.
    pub fn stored_at(&self, moments: &[DateTime<Utc>]) -> Result<Vec<u64>> {
        let Some(first) = moments.first() else {
            return Ok(Vec::new());
        };
        self.read_widely(|c| {
            let mut changes = vec![0_i64; moments.len()];
            let mut statement = c.prepare_cached(&format!(
                "SELECT COALESCE(SUM(p.stored_bytes), 0) FROM backups b CROSS JOIN copies p ON p.backup_id = b.id
                 WHERE b.started_at >= ?1 AND b.started_at < ?2 AND +p.state IN ({LYING})"
            ))?;
            let mut from = String::new();
            for (at, moment) in moments.iter().enumerate() {
                let to = time_text(*moment);
                changes[at] += statement.query_row(params![from, to], |row| row.get::<_, i64>(0))?;
                from = to;
            }
            let gone = all(
                c,
                "journal",
                "SELECT j.at AS at, b.started_at AS began,
                    (SELECT COALESCE(SUM(p.stored_bytes), 0) FROM copies p WHERE p.backup_id = b.id AND p.state = 'deleted') AS bytes
                 FROM journal j CROSS JOIN backups b ON b.id = j.subject_id AND b.state = 'deleted'
                 WHERE j.action = 'backup.delete' AND j.result = 'ok' AND j.at >= ?1",
                [time_text(*first)],
                |row| Ok((row.time("began")?, row.time("at")?, row.row.get::<_, i64>("bytes")?)),
            )?;
            for (began, ended, bytes) in gone {
                // There at a moment that comes after its beginning and not after its deletion.
                let from = moments.partition_point(|moment| *moment <= began);
                let to = moments.partition_point(|moment| *moment <= ended);
                if from < to {
                    changes[from] += bytes;
                    if let Some(after) = changes.get_mut(to) {
                        *after -= bytes;
                    }
                }
            }
            let mut lying = 0;
            changes
                .into_iter()
                .map(|change| {
                    lying += change;
                    number_back(lying)
                })
                .collect()
        })
    }

    /// The states of the last runs of a source, oldest first. Deleted ones are left out.
    pub fn last_states(&self, source: &Id, count: u32) -> Result<Vec<BackupState>> {
        self.read(|c| {
            let sql = format!(
                "WITH own AS (SELECT state, started_at AS at, id FROM backups WHERE source_id = ?1 AND state NOT IN ('deleting', 'deleted')
                              ORDER BY started_at DESC, id DESC LIMIT ?2),
                      slotted AS (SELECT state, slot AS at, plan_id AS id FROM slots
                                  WHERE plan_id IN (SELECT id FROM plans WHERE source_id = ?1) AND {WITHOUT_RUN}
                                    AND slot >= iif((SELECT COUNT(*) FROM own) = ?2, (SELECT MIN(at) FROM own), '')
                                  ORDER BY slot DESC LIMIT ?2)
                 SELECT state FROM (SELECT * FROM own UNION ALL SELECT * FROM slotted) ORDER BY at DESC, id DESC LIMIT ?2"
            );
            let mut found = all(c, "backups", &sql, params![source.to_string(), count], |row| {
                row.word("state", BackupState::parse)
            })?;
            found.reverse();
            Ok(found)
        })
    }

    /// The last run of a source that came to an end of its own: neither running, nor skipped, nor stopped by a person.
    pub fn last_run(&self, source: &Id) -> Result<Option<Backup>> {
        self.read(|c| {
            let sql = format!(
                "{SELECT} WHERE b.id = (SELECT id FROM backups WHERE source_id = ?1
                    AND state NOT IN ('running', 'skipped', 'cancelled', 'deleting', 'deleted')
                    ORDER BY started_at DESC, id DESC LIMIT 1)"
            );
            one(c, "backups", &sql, [source.to_string()], |row| read(c, row))
        })
    }

    /// Likewise, of the runs against what the source points to now.
    pub fn last_run_here(&self, source: &Source) -> Result<Option<Backup>> {
        self.read(|c| {
            let sql = format!(
                "{SELECT} WHERE b.id = (SELECT id FROM backups WHERE source_id = ?1 AND aim = ?2
                    AND state NOT IN ('running', 'skipped', 'cancelled', 'deleting', 'deleted')
                    ORDER BY started_at DESC, id DESC LIMIT 1)"
            );
            one(c, "backups", &sql, params![source.id.to_string(), aim(source)], |row| {
                read(c, row)
            })
        })
    }

    /// The last run of a plan, in whatever state.
    pub fn last_of_plan(&self, plan: &Id) -> Result<Option<Backup>> {
        self.read(|c| {
            let sql = format!(
                "{SELECT} WHERE b.id = (SELECT id FROM backups WHERE plan_id = ?1 AND state NOT IN ('deleting', 'deleted')
                    ORDER BY started_at DESC, id DESC LIMIT 1)"
            );
            one(c, "backups", &sql, [plan.to_string()], |row| read(c, row))
        })
    }

    /// The last run of all that is over.
    pub fn last_ended(&self) -> Result<Option<Backup>> {
        self.read(|c| {
            let sql = format!(
                "{SELECT} WHERE b.id = (SELECT id FROM backups WHERE state NOT IN ('running', 'deleting', 'deleted')
                    ORDER BY started_at DESC, id DESC LIMIT 1)"
            );
            one(c, "backups", &sql, [], |row| read(c, row))
        })
    }

    /// Sums for each plan that has backups.
    pub fn plan_figures(&self) -> Result<BTreeMap<Id, PlanFigures>> {
        self.read_widely(|c| {
            let rows = all(
                c,
                "backups",
                "SELECT plan_id, SUM(state = 'verified') AS successes, SUM(state IN ('failed', 'interrupted')) AS failures
                 FROM backups WHERE plan_id IS NOT NULL GROUP BY plan_id",
                [],
                |row| {
                    let figures = PlanFigures {
                        successes: row.number("successes")?,
                        failures: row.number("failures")?,
                    };
                    Ok((row.id("plan_id")?, figures))
                },
            )?;
            Ok(rows.into_iter().collect())
        })
    }

    /// How many backups of a plan lie somewhere: verified and stored ones.
    pub fn kept_of_plan(&self, plan: &Id) -> Result<u64> {
        self.read_widely(|c| {
            count(
                c,
                "SELECT COUNT(*) FROM backups WHERE plan_id = ?1 AND state IN ('verified', 'stored')",
                [plan.to_string()],
            )
        })
    }

    /// Sums for each destination that has copies; `since` begins the stretch of time for `recent_bytes`.
    pub fn destination_figures(&self, since: DateTime<Utc>) -> Result<BTreeMap<Id, DestinationFigures>> {
        self.read_widely(|c| {
            let rows = all(
                c,
                "copies",
                &format!(
                    "SELECT destination_id, COUNT(*) AS copies, SUM(state = 'verified') AS verified,
                        SUM(iif(state IN ({LYING}), stored_bytes, 0)) AS bytes, MAX(stored_bytes) AS largest
                     FROM copies INDEXED BY copies_sum WHERE state NOT IN ('writing', 'deleted') GROUP BY destination_id"
                ),
                [],
                |row| {
                    let figures = DestinationFigures {
                        copies: row.number("copies")?,
                        verified: row.number("verified")?,
                        stored_bytes: row.number("bytes")?,
                        largest_bytes: row.number("largest")?,
                        recent_bytes: 0,
                    };
                    Ok((row.id("destination_id")?, figures))
                },
            )?;
            let mut found: BTreeMap<Id, DestinationFigures> = rows.into_iter().collect();
            let recent = all(
                c,
                "copies",
                &format!(
                    "SELECT p.destination_id AS destination_id, SUM(p.stored_bytes) AS bytes
                     FROM backups b CROSS JOIN copies p ON p.backup_id = b.id
                     WHERE b.started_at >= ?1 AND +p.state IN ({LYING}) GROUP BY p.destination_id"
                ),
                [time_text(since)],
                |row| Ok((row.id("destination_id")?, row.number("bytes")?)),
            )?;
            for (destination, bytes) in recent {
                found.entry(destination).or_default().recent_bytes = bytes;
            }
            Ok(found)
        })
    }

    /// Sums over everything.
    pub fn totals(&self) -> Result<Totals> {
        self.read_widely(|c| {
            let verified = count(c, "SELECT COUNT(*) FROM backups WHERE state = 'verified'", [])?;
            let stored = count(c, "SELECT COUNT(*) FROM backups WHERE state = 'stored'", [])?;
            let sql = format!("SELECT COALESCE(SUM(stored_bytes), 0) FROM copies WHERE +state IN ({LYING})");
            Ok(Totals {
                verified,
                kept: verified + stored,
                stored_bytes: count(c, &sql, [])?,
            })
        })
    }

    /// How many sources ever had a backup, removed ones and those known from manifests alone included.
    pub fn sources_with_backups(&self) -> Result<u64> {
        self.read_widely(|c| {
            count(
                c,
                "SELECT COUNT(*) FROM sources s WHERE EXISTS (SELECT 1 FROM backups b WHERE b.source_id = s.id)",
                [],
            )
        })
    }

    /// Whether there is nothing (any more): no source, no destination, no backup.
    pub fn is_blank(&self) -> Result<bool> {
        self.read(|c| {
            let found = count(
                c,
                "SELECT EXISTS (SELECT 1 FROM sources WHERE removed_at IS NULL)
                    + EXISTS (SELECT 1 FROM destinations WHERE removed_at IS NULL)
                    + EXISTS (SELECT 1 FROM backups WHERE state <> 'deleted')",
                [],
            )?;
            Ok(found == 0)
        })
    }

    /// The restores of a backup, newest first.
    pub fn restores_of(&self, backup: &Id) -> Result<Vec<Restore>> {
        self.restores_where("backup_id = ?1", params![backup.to_string()], u32::MAX)
    }

    /// The newest restore that came to its end, of any backup of this source that was made of this database.
    pub fn last_restore_of_source(&self, source: &Id, aim: Option<&str>) -> Result<Option<Restore>> {
        let sql = "state = 'done' AND backup_id IN (SELECT id FROM backups WHERE source_id = ?1 AND aim IS ?2)";
        let found = self.restores_where(sql, params![source.to_string(), aim], 1)?;
        Ok(found.into_iter().next())
    }

    /// The newest restores, without those that only looked.
    pub fn last_restores(&self, limit: u32) -> Result<Vec<Restore>> {
        self.restores_where("mode <> 'dry_run'", [], limit)
    }

    /// `condition` is ours, never a user's text.
    fn restores_where(&self, condition: &str, values: impl rusqlite::Params, limit: u32) -> Result<Vec<Restore>> {
        self.read(|c| {
            let sql = format!("SELECT * FROM restores WHERE {condition} ORDER BY started_at DESC, id DESC LIMIT {limit}");
            all(c, "restores", &sql, values, |row| restores::read(c, row))
        })
    }

    /// A number that changes when another process has changed the catalogue since the last call; this process's own changes do not
    /// count. Costs no disk access.
    pub fn changes_of_others(&self) -> Result<i64> {
        // Outside of a transaction: inside, the answer would be that of its beginning.
        self.alone(|c| Ok(c.query_row("PRAGMA data_version", [], |row| row.get(0))?))
    }

    /// Facts about the file.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn file_facts(&self) -> Result<FileFacts> {
        let (journal_mode, pages, free) = self.read(|c| {
            let number = |name: &str| -> Result<i64, Fault> { Ok(c.pragma_query_value(None, name, |row| row.get(0))?) };
            let mode: String = c.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            Ok((mode, number("page_count")?, number("freelist_count")?))
        })?;
        let mut bytes = 0;
        for suffix in ["", "-wal"] {
            let file = super::open::beside(self.path(), suffix);
            bytes += match std::fs::metadata(&file) {
                Ok(about) => about.len(),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
                Err(e) => return Err(crate::home::fault(&file, &e)),
            };
        }
        #[allow(clippy::cast_precision_loss, reason = "a share, shown with two digits")]
        let fragmentation = if pages > 0 { free as f64 / pages as f64 } else { 0.0 };
        Ok(FileFacts {
            bytes,
            journal_mode,
            fragmentation,
        })
    }

    /// Reads the whole file and checks it, as every opening does.
    ///
    /// # Errors
    /// `CATALOGUE_CORRUPT`.
    pub fn check(&self) -> Result<()> {
        super::open::quick_check(self.path())
    }
}
