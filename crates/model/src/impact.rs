//! What replacing live data with a backup would mean: shown before anything is done. Pure: the look at the live data and what is known of the backup
//! go in.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::database::TableCount;
use crate::error::Error;
use crate::id::Id;
use crate::replace::{LiveLook, LiveSession, NewestValue, ReplaceWay, TableShape};
use crate::restore::CountComparison;
use crate::storage::Space;

/// One column (or constraint) that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct SchemaDifference {
    /// The table; it is in both.
    pub table: String,
    /// The column or constraint.
    pub column: String,
    /// What it is now; nothing where it is not there.
    pub now: Option<String>,
    /// What it is in the backup; nothing where it is not there.
    pub backup: Option<String>,
}

/// What replacing would mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Impact {
    /// The source's name.
    pub source: String,
    /// Whether there is anything to lose.
    pub exists: bool,
    /// How it would be done; nothing where it cannot be.
    pub way: Option<ReplaceWay>,
    /// Rows now and in the backup, for every table that is in either.
    pub counts: Vec<CountComparison>,
    /// Tables that would appear.
    pub appear: Vec<String>,
    /// Tables that would vanish.
    pub vanish: Vec<String>,
    /// What differs in tables that are in both. Nothing where one of the two does not tell.
    pub schema: Option<Vec<SchemaDifference>>,
    /// The newest moment per table now, the newest first: what is younger than the backup would be lost.
    pub newest: Vec<NewestValue>,
    /// Size of the live data in bytes.
    pub live_bytes: Option<u64>,
    /// Size of the plain backup in bytes.
    pub backup_bytes: Option<u64>,
    /// Room where the second one would lie.
    pub space: Option<Space>,
    /// How long it took the last time, or a drill, in milliseconds.
    pub estimated_ms: Option<u64>,
    /// The version of the server that the backup came from.
    pub backup_version: Option<String>,
    /// The version of the server now.
    pub live_version: Option<String>,
    /// Who is connected now.
    pub sessions: Option<Vec<LiveSession>>,
    /// What forbids it now.
    pub refusals: Vec<Error>,
    /// What a person should know.
    pub remarks: Vec<Error>,
    /// The word that a replacement may carry: it is then refused if anything of this has changed. Good once. Nothing where it is forbidden.
    pub confirmation: Option<Id>,
    /// Until when that is good.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What is known of the backup.
#[derive(Default)]
pub struct BackupSide<'a> {
    /// Rows per table.
    pub counts: &'a [TableCount],
    /// What its tables are made of.
    pub shapes: Option<&'a [TableShape]>,
    /// Size of the plain dump.
    pub bytes: Option<u64>,
    /// The version of the server that it came from.
    pub version: Option<String>,
}

/// Puts the two side by side.
pub fn impact(source: &str, look: &LiveLook, backup: &BackupSide<'_>, estimated_ms: Option<u64>) -> Impact {
    let now: BTreeMap<&str, u64> = look.counts.iter().map(|c| (c.table.as_str(), c.rows)).collect();
    let then: BTreeMap<&str, u64> = backup.counts.iter().map(|c| (c.table.as_str(), c.rows)).collect();
    let tables: BTreeSet<&str> = now.keys().chain(then.keys()).copied().collect();
    let mut newest = look.newest.clone();
    newest.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.table.cmp(&b.table)));
    Impact {
        source: source.to_owned(),
        exists: look.exists,
        way: look.way,
        appear: then
            .keys()
            .filter(|t| !now.contains_key(*t))
            .map(|t| (*t).to_owned())
            .collect(),
        vanish: now
            .keys()
            .filter(|t| !then.contains_key(*t))
            .map(|t| (*t).to_owned())
            .collect(),
        counts: tables
            .into_iter()
            .map(|table| CountComparison {
                table: table.to_owned(),
                before: now.get(table).copied(),
                after: None,
                backup: then.get(table).copied(),
            })
            .collect(),
        schema: look
            .shapes
            .as_deref()
            .zip(backup.shapes)
            .map(|(now, then)| differences(now, then)),
        newest,
        live_bytes: look.bytes,
        backup_bytes: backup.bytes,
        space: look.space,
        estimated_ms,
        backup_version: backup.version.clone(),
        live_version: look.server_version.clone(),
        sessions: look.sessions.clone(),
        refusals: look.refusals.clone(),
        remarks: look.remarks.clone(),
        confirmation: None,
        expires_at: None,
    }
}

/// What differs in tables that are in both, sorted by table and column.
fn differences(now: &[TableShape], then: &[TableShape]) -> Vec<SchemaDifference> {
    let then: BTreeMap<&str, &TableShape> = then.iter().map(|t| (t.table.as_str(), t)).collect();
    let mut found = Vec::new();
    for table in now {
        let Some(other) = then.get(table.table.as_str()) else {
            continue;
        };
        let ours: BTreeMap<&str, &str> = by_name(table);
        let theirs: BTreeMap<&str, &str> = by_name(other);
        for column in ours.keys().chain(theirs.keys()).copied().collect::<BTreeSet<_>>() {
            let (now, backup) = (ours.get(column), theirs.get(column));
            if now != backup {
                found.push(SchemaDifference {
                    table: table.table.clone(),
                    column: column.to_owned(),
                    now: now.map(|t| (*t).to_owned()),
                    backup: backup.map(|t| (*t).to_owned()),
                });
            }
        }
    }
    found.sort_by(|a, b| (&a.table, &a.column).cmp(&(&b.table, &b.column)));
    found
}

fn by_name(table: &TableShape) -> BTreeMap<&str, &str> {
    table
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.definition.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replace::ColumnShape;

    fn count(table: &str, rows: u64) -> TableCount {
        TableCount {
            table: table.into(),
            rows,
        }
    }

    fn shape(table: &str, columns: &[(&str, &str)]) -> TableShape {
        TableShape {
            table: table.into(),
            columns: columns
                .iter()
                .map(|(name, definition)| ColumnShape {
                    name: (*name).into(),
                    definition: (*definition).into(),
                })
                .collect(),
        }
    }

    fn newest(table: &str, value: &str) -> NewestValue {
        NewestValue {
            table: table.into(),
            column: "at".into(),
            value: value.into(),
        }
    }

    #[test]
    fn what_appears_what_vanishes_and_what_differs() {
        let look = LiveLook {
            exists: true,
            way: Some(ReplaceWay::Swap),
            counts: vec![count("orders", 12), count("new", 3)],
            shapes: Some(vec![
                shape("new", &[("id", "integer")]),
                shape("orders", &[("id", "bigint"), ("note", "text")]),
            ]),
            newest: vec![newest("new", "2026-01-01"), newest("orders", "2026-02-02")],
            ..LiveLook::default()
        };
        let then = [shape("old", &[]), shape("orders", &[("id", "integer"), ("sum", "numeric")])];
        let counts = [count("old", 1), count("orders", 10)];
        let backup = BackupSide {
            counts: &counts,
            shapes: Some(&then),
            bytes: Some(7),
            version: None,
        };
        let found = impact("shop", &look, &backup, None);
        assert_eq!((found.appear, found.vanish), (vec!["old".to_owned()], vec!["new".to_owned()]));
        let rows: Vec<_> = found.counts.iter().map(|c| (c.table.as_str(), c.before, c.backup)).collect();
        assert_eq!(
            rows,
            [("new", Some(3), None), ("old", None, Some(1)), ("orders", Some(12), Some(10))]
        );
        let said = |d: &SchemaDifference| (d.column.clone(), d.now.clone(), d.backup.clone());
        let schema: Vec<_> = found.schema.unwrap().iter().map(said).collect();
        assert_eq!(
            schema,
            [
                ("id".to_owned(), Some("bigint".to_owned()), Some("integer".to_owned())),
                ("note".to_owned(), Some("text".to_owned()), None),
                ("sum".to_owned(), None, Some("numeric".to_owned())),
            ]
        );
        assert_eq!(found.newest[0].table, "orders");
        // Where one side does not tell, nothing is claimed.
        let silent = BackupSide { shapes: None, ..backup };
        assert_eq!(impact("shop", &look, &silent, None).schema, None);
    }
}
