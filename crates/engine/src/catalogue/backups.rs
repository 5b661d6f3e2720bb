//! Reading backups: one, lists, sums. And the few things that a person changes about one: note, pin, flags.

use chrono::{DateTime, Utc};
use coffre_model::backup::{Backup, BackupState, BackupType, Copy, CopyState, Kind, Tool, Trigger};
use coffre_model::database::TableCount;
use coffre_model::plan::Plan;
use coffre_model::source::Source;
use coffre_model::{BackupCode, Code, Error, Id, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::Catalogue;
use super::fault::{Fault, strange};
use super::row::{Reading, all, change, json, number_back, one};
use super::search::{among, containing};
use crate::aim::aim;

/// Which backups. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this source.
    pub source: Option<Id>,
    /// Of this plan.
    pub plan: Option<Id>,
    /// In this state. Deleted ones appear only when asked for by `Some(Deleted)`.
    pub state: Option<BackupState>,
    /// Of this type.
    pub backup_type: Option<BackupType>,
    /// With this text in code, source, plan, note or error; capitals do not matter.
    pub text: Option<String>,
    /// Keys of errors whose words hold the text: the catalogue knows keys and facts, not words.
    pub errors: Vec<String>,
}

/// One page of a list, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The backups of this page.
    pub backups: Vec<Backup>,
    /// How many there are on all pages.
    pub total: u64,
}

/// Sums over what a filter lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Bytes of all copies that lie somewhere.
    pub stored_bytes: u64,
    /// Backups that are verified.
    pub verified: u64,
    /// Backups that failed.
    pub failed: u64,
    /// When a copy of the newest verified backup was last read back.
    pub last_verified_at: Option<DateTime<Utc>>,
}

/// Every column of a backup, and the name that its key has now.
pub(super) const SELECT: &str = "SELECT b.*, k.name AS key_name FROM backups b LEFT JOIN keys k ON k.id = b.key_id";

impl Catalogue {
    /// The backup with this id or this code.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn backup(&self, id_or_code: &str) -> Result<Backup> {
        self.read(|c| {
            let sql = format!("{SELECT} WHERE b.id = ?1 OR b.code = ?1");
            one(c, "backups", &sql, [id_or_code], |row| read(c, row))?.ok_or_else(|| absent(id_or_code))
        })
    }

    /// The newest backup of a source that can be restored: `verified`, or else (unless `verified_only`) `stored`, whichever is newer.
    pub fn latest(&self, source_id: &Id, verified_only: bool) -> Result<Option<Backup>> {
        self.read(|c| {
            let states = if verified_only { "'verified'" } else { "'verified', 'stored'" };
            let sql = format!(
                // By the source's index: the sign keeps the planner from reading the verified ones of all others on its way.
                "{SELECT} WHERE b.source_id = ?1 AND +b.state IN ({states}) ORDER BY b.started_at DESC, b.id DESC LIMIT 1"
            );
            one(c, "backups", &sql, [source_id.to_string()], |row| read(c, row))
        })
    }

    /// The newest verified backup of what the source points to now. Backups of what it pointed to before prove nothing of it.
    pub fn latest_proof(&self, source: &Source) -> Result<Option<Backup>> {
        self.read(|c| {
            let sql = format!(
                "{SELECT} WHERE b.source_id = ?1 AND b.aim = ?2 AND +b.state = 'verified'
                 ORDER BY b.started_at DESC, b.id DESC LIMIT 1"
            );
            one(c, "backups", &sql, params![source.id.to_string(), aim(source)], |row| {
                read(c, row)
            })
        })
    }

    /// When the newest verified backup began that keeps what a plan promises: one of its own, or another one of what the source points to
    /// now with a verified copy at each of the plan's destinations.
    pub fn proved_for(&self, source: &Source, plan: &Plan) -> Result<Option<DateTime<Utc>>> {
        self.read(|c| {
            let wanted: Vec<String> = plan.destination_ids.iter().map(Id::to_string).collect();
            one(
                c,
                "backups",
                "SELECT started_at FROM backups b WHERE b.source_id = ?1 AND b.aim = ?2 AND +b.state = 'verified'
                    AND (b.plan_id = ?3 OR NOT EXISTS (SELECT 1 FROM json_each(?4) d WHERE NOT EXISTS (
                        SELECT 1 FROM copies p WHERE p.backup_id = b.id AND p.destination_id = d.value AND p.state = 'verified')))
                 ORDER BY b.started_at DESC, b.id DESC LIMIT 1",
                params![source.id.to_string(), aim(source), plan.id.to_string(), json(&wanted)?],
                |row| row.time("started_at"),
            )
        })
    }

    /// How many verified backups there are of what the source points to now.
    pub fn proofs(&self, source: &Source) -> Result<u64> {
        self.read(|c| {
            super::row::count(
                c,
                "SELECT COUNT(*) FROM backups WHERE source_id = ?1 AND aim = ?2 AND +state = 'verified'",
                params![source.id.to_string(), aim(source)],
            )
        })
    }

    /// A page of the list, newest first. Pages count from 1.
    pub fn list(&self, filter: &Filter, page: u64, per_page: u64) -> Result<Page> {
        self.read_widely(|c| {
            let (condition, mut values) = filter.condition();
            let total = count_where(c, &condition, &values)?;
            let per_page = i64::try_from(per_page).unwrap_or(i64::MAX);
            let skip = i64::try_from(page.saturating_sub(1))
                .unwrap_or(i64::MAX)
                .saturating_mul(per_page);
            values.push(Value::Integer(per_page));
            values.push(Value::Integer(skip));
            // First the ids, from an index alone; then only this page's rows.
            let sql = format!(
                "SELECT b.id FROM backups b WHERE {condition} ORDER BY b.started_at DESC, b.id DESC LIMIT ?{} OFFSET ?{}",
                values.len() - 1,
                values.len()
            );
            let ids = all(c, "backups", &sql, params_from_iter(values), |row| row.text("id"))?;
            let mut backups = Vec::with_capacity(ids.len());
            for id in ids {
                backups.push(by_listed_id(c, &id)?);
            }
            Ok(Page { backups, total })
        })
    }

    /// Sums over a filter.
    pub fn stats(&self, filter: &Filter) -> Result<Stats> {
        self.read_widely(|c| stats_within(c, filter))
    }

    /// Every backup in a live state: running or being deleted.
    pub fn live_runs(&self) -> Result<Vec<Backup>> {
        self.read(|c| {
            let sql = format!("{SELECT} WHERE b.state IN ('running', 'deleting') ORDER BY b.started_at, b.id");
            all(c, "backups", &sql, [], |row| read(c, row))
        })
    }

    /// Exact rows per table of a backup, by table. Empty once it is deleted.
    pub fn table_counts(&self, backup_id: &Id) -> Result<Vec<TableCount>> {
        self.read(|c| {
            all(
                c,
                "table_counts",
                "SELECT table_name, rows FROM table_counts WHERE backup_id = ?1 ORDER BY table_name",
                [backup_id.to_string()],
                |row| {
                    Ok(TableCount {
                        table: row.text("table_name")?,
                        rows: row.number("rows")?,
                    })
                },
            )
        })
    }

    /// The manifest of a backup, to the byte as it was written beside the artifact. Nothing before it is written and after its deletion.
    pub fn manifest(&self, backup_id: &Id) -> Result<Option<String>> {
        self.read(|c| {
            one(
                c,
                "manifests",
                "SELECT json FROM manifests WHERE backup_id = ?1",
                [backup_id.to_string()],
                |row| row.text("json"),
            )
        })
    }

    /// Writes a person's remark.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn set_note(&self, backup_id: &Id, note: &str) -> Result<()> {
        self.write(|c| {
            let changed = change(
                c,
                "UPDATE backups SET note = ?2 WHERE id = ?1 AND state <> 'deleted'",
                params![backup_id.to_string(), note],
            )?;
            found(changed, backup_id)
        })
    }

    /// Pins a backup (retention never removes it, and takes it back where it was chosen to leave), or not any more.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn set_pinned(&self, backup_id: &Id, pinned: bool) -> Result<()> {
        self.write(|c| {
            let changed = change(
                c,
                "UPDATE backups SET pinned = ?2, leaves_at = iif(?2 = 1, NULL, leaves_at), leaves_because = iif(?2 = 1, NULL, leaves_because)
                 WHERE id = ?1 AND state <> 'deleted'",
                params![backup_id.to_string(), pinned],
            )?;
            found(changed, backup_id)
        })
    }

    /// Writes the flags, such as `shrunk`.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn set_flags(&self, backup_id: &Id, flags: &[String]) -> Result<()> {
        self.write(|c| {
            let changed = change(
                c,
                "UPDATE backups SET flags = ?2 WHERE id = ?1 AND state <> 'deleted'",
                params![backup_id.to_string(), json(&flags)?],
            )?;
            found(changed, backup_id)
        })
    }
}

impl Filter {
    /// The condition in SQL and its values, numbered from 1. Text from users stands in the values alone.
    pub(super) fn condition(&self) -> (String, Vec<Value>) {
        let mut parts = Vec::new();
        let mut values = Vec::new();
        let mut add = |part: &str, value: String| {
            values.push(Value::Text(value));
            parts.push(part.replace('#', &format!("?{}", values.len())));
        };
        if let Some(id) = &self.source {
            add("b.source_id = #", id.to_string());
        }
        if let Some(id) = &self.plan {
            add("b.plan_id = #", id.to_string());
        }
        if let Some(state) = self.state {
            add("b.state = #", state.as_str().to_owned());
        }
        if let Some(backup_type) = self.backup_type {
            add("b.type = #", backup_type.as_str().to_owned());
        }
        if let Some(text) = self.text.as_deref().filter(|text| !text.is_empty()) {
            let columns = ["b.code", "b.source_name", "b.plan_name", "b.note"];
            let mut any = containing(&columns, "b.error", text, &mut values);
            any.extend(among("json_extract(b.error, '$.text')", &self.errors, &mut values));
            parts.push(format!("({})", any.join(" OR ")));
        }
        if self.state.is_none() {
            parts.push("b.state <> 'deleted'".to_owned());
        }
        (parts.join(" AND "), values)
    }
}

/// Sums over a filter, in the snapshot of a read.
pub(super) fn stats_within(c: &Connection, filter: &Filter) -> Result<Stats, Fault> {
    let (condition, values) = filter.condition();
    let sql = if *filter == Filter::default() {
        "SELECT COALESCE(SUM(stored_bytes), 0) FROM copies WHERE +state IN ('stored', 'verified', 'corrupt', 'deleting')"
            .to_owned()
    } else {
        // In this order, and each backup's copies in one go: the signs keep the planner from four searches for each.
        format!(
            "SELECT COALESCE(SUM(p.stored_bytes), 0) FROM backups b CROSS JOIN copies p ON p.backup_id = b.id
             WHERE {condition} AND +p.state IN ('stored', 'verified', 'corrupt', 'deleting')"
        )
    };
    let stored_bytes: i64 = c.prepare_cached(&sql)?.query_row(
        params_from_iter(if *filter == Filter::default() { &[] } else { &values[..] }),
        |row| row.get(0),
    )?;
    let of_state = |state: &str| count_where(c, &format!("{condition} AND b.state = '{state}'"), &values);
    let newest = format!(
        "SELECT MAX(p.verified_at) AS at FROM copies p WHERE p.state = 'verified' AND p.backup_id =
            (SELECT b.id FROM backups b WHERE {condition} AND b.state = 'verified' ORDER BY b.started_at DESC, b.id DESC LIMIT 1)"
    );
    let last_verified_at = one(c, "copies", &newest, params_from_iter(&values), |row| row.opt_time("at"))?.flatten();
    Ok(Stats {
        stored_bytes: number_back(stored_bytes)?,
        verified: of_state("verified")?,
        failed: of_state("failed")?,
        last_verified_at,
    })
}

/// A pattern for GLOB that finds `text` anywhere, whatever its capitals: each letter becomes the set of its two forms. (LIKE knows the
/// capitals of ASCII alone, and `Été` is a fine name.)
pub(super) fn any_capitals(text: &str) -> String {
    // Nothing that can be searched is longer, and SQLite limits a pattern to 50,000 bytes.
    let text: String = text.chars().take(2_000).collect();
    let mut pattern = String::from("*");
    for c in text.chars() {
        let (mut lower, mut upper) = (c.to_lowercase(), c.to_uppercase());
        match (lower.next(), lower.next(), upper.next(), upper.next()) {
            (Some(small), None, Some(capital), None) if small != capital => pattern.extend(['[', small, capital, ']']),
            // What GLOB takes for its own is taken literally inside a set of one.
            _ if matches!(c, '*' | '?' | '[') => pattern.extend(['[', c, ']']),
            _ => pattern.push(c),
        }
    }
    pattern.push('*');
    pattern
}

fn count_where(connection: &Connection, condition: &str, values: &[Value]) -> Result<u64, Fault> {
    let sql = format!("SELECT COUNT(*) FROM backups b WHERE {condition}");
    super::row::count(connection, &sql, params_from_iter(values))
}

pub(super) fn absent(given: &str) -> Fault {
    Fault::Ours(Error::new(Code::NotFound, "backup_not_found").with("given", given))
}

fn found(changed: usize, id: &Id) -> Result<(), Fault> {
    if changed == 0 { Err(absent(&id.to_string())) } else { Ok(()) }
}

/// One backup with its copies.
pub(super) fn by_id(connection: &Connection, id: &str) -> Result<Backup, Fault> {
    let sql = format!("{SELECT} WHERE b.id = ?1");
    one(connection, "backups", &sql, [id], |row| read(connection, row))?.ok_or_else(|| absent(id))
}

/// One backup whose id came from an index.
pub(super) fn by_listed_id(connection: &Connection, id: &str) -> Result<Backup, Fault> {
    // An index that names what is not there.
    by_id(connection, id).map_err(|e| match e {
        Fault::Ours(e) if e.code() == Code::NotFound => Fault::Ours(strange("backups.id", id)),
        other => other,
    })
}

/// The state of a backup.
pub(super) fn state_of(connection: &Connection, id: &Id) -> Result<BackupState, Fault> {
    let word: Option<String> = connection
        .prepare_cached("SELECT state FROM backups WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?;
    let word = word.ok_or_else(|| absent(&id.to_string()))?;
    BackupState::parse(&word).ok_or_else(|| Fault::Ours(strange("backups.state", word)))
}

pub(super) fn read(connection: &Connection, row: &Reading<'_, '_>) -> Result<Backup, Fault> {
    let id = row.id("id")?;
    let tool = match (row.opt_text("tool_name")?, row.opt_text("tool_version")?) {
        (Some(name), Some(version)) => Some(Tool {
            name,
            path: row.opt_text("tool_path")?,
            version,
        }),
        _ => None,
    };
    Ok(Backup {
        id,
        code: row.word("code", BackupCode::parse)?,
        source: row.text("source_name")?,
        source_id: row.id("source_id")?,
        aim: row.opt_text("aim")?,
        plan: row.opt_text("plan_name")?,
        plan_id: row.opt_id("plan_id")?,
        trigger: row.word("trigger", Trigger::parse)?,
        backup_type: row.word("type", BackupType::parse)?,
        kind: row.word("kind", Kind::parse)?,
        base_id: row.opt_id("base_id")?,
        state: row.word("state", BackupState::parse)?,
        started_at: row.time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
        duration_ms: row.opt_number("duration_ms")?,
        raw_bytes: row.opt_number("raw_bytes")?,
        stored_bytes: row.opt_number("stored_bytes")?,
        sha256: row.opt_text("sha256")?,
        raw_sha256: row.opt_text("raw_sha256")?,
        compression: row.word("compression", |text| text.parse().ok())?,
        encryption: row.opt_text("key_name")?.or(row.opt_text("encryption")?),
        tables: row.opt_number("tables")?,
        rows: row.opt_number("rows")?,
        tool,
        server_version: row.opt_text("server_version")?,
        flags: row.json("flags")?,
        error: row.opt_json("error")?,
        note: row.text("note")?,
        pinned: row.flag("pinned")?,
        leaves_at: row.opt_time("leaves_at")?,
        acknowledged_at: row.opt_time("acknowledged_at")?,
        copies: copies(connection, &id)?,
    })
}

/// The copies that are shown, by the name of their destination.
fn copies(connection: &Connection, backup_id: &Id) -> Result<Vec<Copy>, Fault> {
    all(
        connection,
        "copies",
        "SELECT p.*, d.name AS destination FROM copies p JOIN destinations d ON d.id = p.destination_id
         WHERE p.backup_id = ?1 AND p.state <> 'writing' ORDER BY d.name, d.id",
        [backup_id.to_string()],
        |row| {
            Ok(Copy {
                destination: row.text("destination")?,
                destination_id: row.id("destination_id")?,
                key: row.text("key")?,
                state: row.word("state", CopyState::parse)?,
                stored_bytes: row.number("stored_bytes")?,
                sha256: row.opt_text("sha256")?,
                verified_at: row.opt_time("verified_at")?,
                error: row.opt_json("error")?,
            })
        },
    )
}
