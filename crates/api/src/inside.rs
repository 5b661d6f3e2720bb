//! A look inside a backup without restoring it.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use coffre_engine::context::Engine;
use coffre_engine::inside as engine;
use coffre_model::backup::Backup;
use coffre_model::progress::Observer;
use coffre_model::throw_away::{ExportFormat, RowPage};
use coffre_model::{Cancel, Code, Error, Result};
use serde::Serialize;
use ts_rs::TS;

use crate::Coffre;
use crate::restores::{From, Target};

/// A backup, open: many pages may be asked for. Dropping it leaves nothing.
pub struct Inside {
    opened: engine::Inside,
}

/// One table that was written to a file.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Exported {
    /// The table.
    pub table: String,
    /// How.
    pub format: ExportFormat,
    /// The file.
    pub path: String,
    /// Its rows.
    pub rows: u64,
}

/// One table that was brought back.
#[derive(Clone, Debug, Serialize, TS)]
pub struct TableRestored {
    /// The table in the backup.
    pub table: String,
    /// What it is called now.
    pub name: String,
    /// The address of the database that it is in.
    pub target: String,
    /// Its rows.
    pub rows: u64,
}

impl Inside {
    /// The backup.
    pub fn backup(&self) -> &Backup {
        self.opened.backup()
    }

    /// What a person should know of how it was loaded.
    pub fn remarks(&self) -> &[Error] {
        self.opened.remarks()
    }

    /// The version of what serves it.
    pub fn version(&self) -> String {
        self.opened.version()
    }

    /// A page of a table's rows, from page 1; those that hold a text, if one is given.
    ///
    /// # Errors
    /// `NOT_FOUND` for a table that is not there.
    pub fn rows(&mut self, table: &str, search: Option<&str>, page: u64, per_page: u64) -> Result<RowPage> {
        self.opened.rows(table, search, page, per_page)
    }
}

impl Coffre {
    /// Opens a backup.
    ///
    /// # Errors
    /// As a restore, before anything is shown; `TOOL_…` where this machine has no place for it.
    pub fn open_inside(&self, backup: &Backup, observer: &dyn Observer, cancel: &Cancel) -> Result<Inside> {
        let opened = engine::Inside::open(&self.engine, backup, observer, cancel)?;
        Ok(Inside { opened })
    }

    /// Writes one table to a file (0600) that must not exist.
    ///
    /// # Errors
    /// `REFUSED` where there is a file already.
    pub fn export_table(
        &self,
        inside: &mut Inside,
        table: &str,
        format: ExportFormat,
        path: &Path,
        cancel: &Cancel,
    ) -> Result<Exported> {
        let path = absolute(path)?;
        let rows = inside.opened.export(&self.engine, table, format, &path, cancel)?;
        Ok(Exported {
            table: table.to_owned(),
            format,
            path: path.display().to_string(),
            rows,
        })
    }

    /// Brings one table back into a database under a name that nothing has there. Without a name: the table's own, `_restored_` and the day.
    ///
    /// # Errors
    /// `USAGE` without an address; `REFUSED` where the name is taken; then nothing is changed.
    pub fn restore_table(
        &self,
        inside: &mut Inside,
        table: &str,
        target: Target,
        name: Option<&str>,
        cancel: &Cancel,
    ) -> Result<TableRestored> {
        let from = From::Backup(Box::new(inside.backup().clone()));
        let (into, password) = self.target_of(&from, target)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => usual_name(table, now(&self.engine), into.parsed()?.scheme.starts_with("postgres")),
        };
        let rows = inside
            .opened
            .copy_table(&self.engine, table, &into, password, &name, cancel)?;
        Ok(TableRestored {
            table: table.to_owned(),
            name,
            target: into.address,
            rows,
        })
    }
}

fn now(engine: &Engine) -> DateTime<Utc> {
    (engine.now)()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|_| Error::new(Code::Usage, "file_path").with("path", path.display().to_string()))
}

/// The longest name in bytes that PostgreSQL keeps whole.
const NAME_MAX: usize = 63;

/// What a table is called that was brought back on a day. Of a table in a schema, its own name counts.
pub(crate) fn usual_name(table: &str, at: DateTime<Utc>, schemas: bool) -> String {
    let own = if schemas { last_part(table) } else { table.to_owned() };
    let end = format!("_restored_{}", at.format("%Y%m%d"));
    let room = own.floor_char_boundary(NAME_MAX - end.len());
    format!("{}{end}", &own[..room])
}

/// The last name of `schema."Table"`, without its quotes.
fn last_part(table: &str) -> String {
    let mut part = String::new();
    let mut quoted = false;
    let mut letters = table.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => part.clear(),
            other => part.push(other),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_comes_back_is_called_after_itself() {
        let at = "2026-11-21T08:00:00Z".parse().unwrap();
        for (table, schemas, name) in [
            ("public.orders", true, "orders_restored_20261121"),
            (
                "\"Back Office\".\"Order \"\"x\"\".y\"",
                true,
                "Order \"x\".y_restored_20261121",
            ),
            ("orders", true, "orders_restored_20261121"),
            ("a.b", false, "a.b_restored_20261121"),
        ] {
            assert_eq!(usual_name(table, at, schemas), name);
        }
        let long = usual_name(&"é".repeat(60), at, true);
        assert!(long.len() <= NAME_MAX && long.ends_with("é_restored_20261121"), "{long}");
    }
}
