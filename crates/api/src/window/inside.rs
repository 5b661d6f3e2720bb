//! A backup, open in the window: its tables, their rows, one table as a file, one table back under a new name.
//!
//! One is open at a time. What it is made of (a server, a folder) goes when the window closes it, opens another one, leaves it alone for long, or
//! ends.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coffre_engine::secrets::source_secret;
use coffre_model::backup::Backup;
use coffre_model::cancel::Reason;
use coffre_model::database::TableCount;
use coffre_model::throw_away::{ExportFormat, RowPage};
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::backups::{backup_by_id, check_page, search_text};
use super::commands::ById;
use super::drills::about_backup;
use super::events::Noun;
use super::restore_targets::{ReplaceableSource, nothing_to_restore};
use super::running::RunningNoun;
use super::sources::source_by_id;
use super::{Window, tags};
use crate::Coffre;
use crate::inside::{Exported, Inside, TableRestored, usual_name};
use crate::restores::Target;

/// So long an open backup may be left alone.
pub(super) const UNUSED: Duration = Duration::from_secs(30 * 60);
/// The longest name of a table that is taken at all; what its database allows is less.
const NAME_MAX: usize = 1000;

/// A table of an open backup.
#[derive(Debug, Serialize, TS)]
pub struct OpenedTable {
    /// Its name, as lists show it.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// What it is called when it is brought back, unless another name is given.
    pub new_name: String,
}

/// A backup that was opened.
#[derive(Debug, Serialize, TS)]
pub struct OpenedBackup {
    /// What the other commands call it by; `close_opened` ends it.
    pub id: Id,
    /// The backup.
    pub backup: Backup,
    /// Its tables, by name.
    pub tables: Vec<OpenedTable>,
    /// The version of what serves it.
    pub server_version: String,
    /// What a person should know of how it was loaded.
    pub remarks: Vec<Error>,
    /// Sources that one of its tables can be brought back into; its own first.
    pub sources: Vec<ReplaceableSource>,
}

/// The arguments of `read_rows`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadRows {
    /// The open backup.
    id: Id,
    table: String,
    /// Text that a value of a row holds, whatever the case of its letters.
    search: Option<String>,
    /// From 1.
    page: u64,
    per_page: u64,
}

/// The arguments of `export_table`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportTable {
    /// The open backup.
    id: Id,
    table: String,
    format: ExportFormat,
}

/// The arguments of `restore_table`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreTable {
    /// The open backup.
    id: Id,
    table: String,
    /// The source that it is brought back into, beside what is there.
    source_id: Id,
    /// What it is to be called.
    name: String,
}

/// What is open.
#[derive(Default)]
pub(super) struct Insides(Mutex<Option<Open>>);

struct Open {
    id: Id,
    /// Ends what is being read of it.
    cancel: Cancel,
    inside: Arc<Mutex<Option<Inside>>>,
    used: Instant,
}

impl Open {
    /// Ends what is being read, and waits until nothing is left of it.
    fn close(self) {
        self.cancel.cancel(Reason::Interrupt);
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        drop(inside.take());
    }
}

impl Insides {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Only a whole entry is put in and taken out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, inside: Inside, cancel: Cancel) -> Id {
        let id = Id::new();
        let open = Open {
            id,
            cancel,
            inside: Arc::new(Mutex::new(Some(inside))),
            used: Instant::now(),
        };
        let before = self.lock().replace(open);
        if let Some(before) = before {
            before.close();
        }
        id
    }

    fn find(&self, id: &Id) -> Result<(Arc<Mutex<Option<Inside>>>, Cancel)> {
        let mut open = self.lock();
        let found = open.as_mut().filter(|open| open.id == *id).ok_or_else(closed)?;
        found.used = Instant::now();
        Ok((Arc::clone(&found.inside), found.cancel.clone()))
    }

    /// Whether a person looks into a backup.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Closes one; nothing where it is closed already.
    fn close(&self, id: &Id) {
        let found = self.lock().take_if(|open| open.id == *id);
        if let Some(found) = found {
            found.close();
        }
    }

    /// Closes what is open, whatever it is.
    pub(super) fn close_all(&self) {
        let found = self.lock().take();
        if let Some(found) = found {
            found.close();
        }
    }

    /// Closes what nobody has asked anything of for so long, and is not being read.
    pub(super) fn close_unused(&self, limit: Duration) {
        let idle = |open: &mut Open| open.used.elapsed() >= limit && open.inside.try_lock().is_ok();
        let found = self.lock().take_if(idle);
        if let Some(found) = found {
            found.close();
        }
    }
}

fn closed() -> Error {
    Error::new(Code::NotFound, "inside_closed")
}

impl Window {
    /// Proves a backup and loads it into a throw-away database. It is running work, and can be cancelled; the answer comes when it is open.
    pub(super) fn open_backup(&self, ById { id }: ById) -> Result<OpenedBackup> {
        let coffre = self.coffre()?;
        let backup = backup_by_id(&coffre, &id)?;
        let manifest = coffre.manifest(&backup)?.ok_or_else(|| nothing_to_restore(Some(&backup)))?;
        let about = about_backup(&coffre, &backup, RunningNoun::Open)?;
        let cancel = Cancel::new();
        let inside = self.attend_with(about, &cancel, |coffre, observer, cancel| {
            coffre.open_inside(&backup, observer, cancel)
        })?;
        self.changed(tags(&[Noun::Journal]));
        let (remarks, server_version) = (inside.remarks().to_vec(), inside.version());
        let schemas = manifest.database == "postgres";
        let counts = manifest.table_counts.into_iter();
        let tables = counts.map(|TableCount { table, rows }| OpenedTable {
            new_name: usual_name(&table, super::now(), schemas),
            table,
            rows,
        });
        let tables = tables.collect();
        let sources = sources_of_kind(&coffre, &backup, &manifest.database)?;
        let opened = self.0.insides.keep(inside, cancel);
        if self.is_closing() {
            // The end of Coffre may have looked a moment ago, when nothing was open yet.
            self.0.insides.close_all();
            return Err(Error::new(Code::Busy, "closing"));
        }
        Ok(OpenedBackup {
            id: opened,
            backup,
            tables,
            server_version,
            remarks,
            sources,
        })
    }

    fn inside<T>(&self, id: &Id, work: impl FnOnce(&mut Inside, &Cancel) -> Result<T>) -> Result<T> {
        let (inside, cancel) = self.0.insides.find(id)?;
        let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
        let open = inside.as_mut().ok_or_else(closed)?;
        work(open, &cancel)
    }

    pub(super) fn read_rows(&self, asked: ReadRows) -> Result<RowPage> {
        check_name(&asked.table)?;
        check_page(asked.page, asked.per_page)?;
        let search = search_text(asked.search)?;
        self.inside(&asked.id, |inside, _| {
            inside.rows(&asked.table, search.as_deref(), asked.page, asked.per_page)
        })
    }

    /// Asks where to, then writes one table there. Nothing where the person thought better of it.
    pub(super) fn export_table(&self, ExportTable { id, table, format }: ExportTable) -> Result<Option<Exported>> {
        check_name(&table)?;
        let coffre = self.coffre()?;
        // Before anybody is asked for a place.
        self.0.insides.find(&id)?;
        let Some(to) = self.ask_where(&file_name(&table, format))? else {
            return Ok(None);
        };
        let exported = self.inside(&id, |inside, cancel| {
            coffre.export_table(inside, &table, format, Path::new(&to), cancel)
        });
        self.changed(tags(&[Noun::Journal]));
        exported.map(Some)
    }

    /// Brings one table back into a source, beside what is there.
    pub(super) fn restore_table(&self, asked: RestoreTable) -> Result<TableRestored> {
        check_name(&asked.table)?;
        check_name(&asked.name)?;
        let coffre = self.coffre()?;
        let source = source_by_id(&coffre, &asked.source_id)?;
        let target = Target {
            address: Some(source.address.clone()),
            password: match source.has_secret {
                true => Some(coffre.engine.secret(&source_secret(&source.id), &source.name)?),
                false => None,
            },
            options: source.options,
        };
        let restored = self.inside(&asked.id, |inside, cancel| {
            coffre.restore_table(inside, &asked.table, target, Some(&asked.name), cancel)
        });
        self.changed(tags(&[Noun::Journal]));
        restored
    }

    pub(super) fn close_opened(&self, ById { id }: ById) -> Result<()> {
        self.0.insides.close(&id);
        Ok(())
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
        let shown: String = name.replace('\0', "\u{2400}").chars().take(100).collect();
        return Err(Error::new(Code::Usage, "inside_name").with("name", shown));
    }
    Ok(())
}

/// A name for a file, of a table with whatever name: nothing in it leads elsewhere, hides it, or turns its letters round.
fn file_name(table: &str, format: ExportFormat) -> String {
    let plain = |letter: char| {
        if letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | ' ') {
            letter
        } else {
            '_'
        }
    };
    let name: String = table.chars().take(60).map(plain).collect();
    let name = name.trim_matches(['.', ' ', '_']);
    format!("{}.{}", if name.is_empty() { "table" } else { name }, format.as_str())
}

/// Sources of the same kind of database, the backup's own first.
fn sources_of_kind(coffre: &Coffre, backup: &Backup, database: &str) -> Result<Vec<ReplaceableSource>> {
    let mut found = Vec::new();
    for source in coffre.sources()? {
        let kind = coffre.engine.adapters.database(&source.parsed()?.scheme)?;
        if kind.name() == database {
            found.push((source.id != backup.source_id, ReplaceableSource::from(&source)));
        }
    }
    found.sort_by_key(|(other, _)| *other);
    Ok(found.into_iter().map(|(_, source)| source).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_s_name_makes_a_harmless_file_name() {
        for (table, name) in [
            ("public.orders", "public.orders.csv"),
            ("../../etc/passwd", "etc_passwd.csv"),
            ("public.\"Order\"", "public._Order.csv"),
            ("\u{202e}\n;$()", "table.csv"),
            ("...", "table.csv"),
            ("Größe", "Größe.csv"),
        ] {
            assert_eq!(file_name(table, ExportFormat::Csv), name);
        }
        assert!(file_name(&"x".repeat(500), ExportFormat::Sql).len() < 70);
    }
}
