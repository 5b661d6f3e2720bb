//! The sentinel's work: compares a new backup with the ones before it. What is far is decided by [`coffre_model::sentinel`].

use coffre_model::backup::{Backup, BackupState};
use coffre_model::database::TableCount;
use coffre_model::sentinel::{self, Figures};
use coffre_model::{Code, Error, Result};

use crate::catalogue::Filter;
use crate::context::Engine;

/// How many unusual tables are named.
const REMARKED_TABLES: usize = 10;

/// Flags what is not as backups of this source usually are: its backup is whole, but where something fell far
/// it must not push good ones out. Answers what is to be remarked.
pub(crate) fn flag(engine: &Engine, backup: &mut Backup, counts: &[TableCount]) -> Result<Vec<Error>> {
    let verified = Filter {
        source: Some(backup.source_id),
        state: Some(BackupState::Verified),
        ..Filter::default()
    };
    let page = engine.catalogue.list(&verified, 1, 50)?;
    // Compared with those that were themselves as expected, or that a person has found to be right: a second small one must not look
    // normal. Another database may be of any size.
    let same = page.backups.iter().filter(|b| b.aim == backup.aim && !b.is_unusual());
    let mut history = Vec::new();
    for before in same.take(sentinel::HISTORY) {
        history.push(figures(before, &engine.catalogue.table_counts(&before.id)?));
    }
    let found = sentinel::compare(&history, &figures(backup, counts));
    let mut remarks = Vec::new();
    for finding in found {
        let flag = finding.flag();
        if !backup.flags.iter().any(|known| known == flag) {
            backup.flags.push(flag.to_owned());
        }
        if let Some(table) = finding.table().filter(|_| remarks.len() < REMARKED_TABLES) {
            let before = history.first().and_then(|last| last.tables.get(table));
            let now = counts.iter().find(|count| count.table == table);
            remarks.push(
                Error::new(Code::Refused, "table_unusual")
                    .with("table", table)
                    .with("before", before.copied().unwrap_or_default())
                    .with("now", now.map_or(0, |count| count.rows)),
            );
        }
    }
    Ok(remarks)
}

fn figures(backup: &Backup, counts: &[TableCount]) -> Figures {
    Figures {
        rows: backup.rows,
        bytes: backup.raw_bytes,
        duration_ms: backup.duration_ms,
        tables: counts.iter().map(|count| (count.table.clone(), count.rows)).collect(),
    }
}
