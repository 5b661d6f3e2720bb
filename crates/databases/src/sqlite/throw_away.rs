//! A throw-away database: a file in a private folder, gone with the value. Opened to read only; what is taken out of it is written by
//! `taking`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use coffre_model::address::Address;
use coffre_model::database::Access;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::throw_away::{ExportFormat, RowPage, ThrowAway};
use coffre_model::{Code, Error, Id, Result};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::errors::reading;
use super::facts::{self, Depth, quoted};
use super::reading::connect_immutable;
use super::taking;
use super::vfs::stand_in_for_collations;
use super::{path_of, taking::Shape};

/// The most letters of a value that a page shows.
pub(super) const SHOWN: usize = 1000;

/// The file and its folder.
pub(super) struct FileThrowAway {
    folder: PathBuf,
    file: PathBuf,
    access: Access,
    /// Opened at the first question, when the restore has given the file its name.
    connection: Option<Connection>,
}

impl FileThrowAway {
    /// Makes the private folder. The file comes with the restore.
    pub(super) fn new(access: Access) -> Result<FileThrowAway> {
        let folder = access.runtime.join(format!("throw-away-{}", Id::new().short()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|e| Error::writing_home("make a private folder", &folder, &e))?;
        Ok(FileThrowAway {
            file: folder.join("database.db"),
            folder,
            access,
            connection: None,
        })
    }

    fn open(&mut self) -> Result<()> {
        if self.connection.is_none() {
            let connection = connect_immutable(&self.file, &self.file)?;
            stand_in_for_collations(&connection).map_err(|e| reading(&e, &self.file))?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Works on a table of the file, and stops when that is asked for.
    fn with<T: Send>(&mut self, table: &str, work: impl FnOnce(&Connection, &Shape) -> rusqlite::Result<Result<T>>) -> Result<T> {
        self.open()?;
        let connection = self
            .connection
            .as_ref()
            .ok_or_else(|| Error::internal("open a throw-away database", "no connection"))?;
        let fail = |e: rusqlite::Error| reading(&e, &self.file);
        facts::interruptible(connection, &|| self.access.cancel.check(), || {
            let shape = Shape::find(connection, table).map_err(fail)??;
            work(connection, &shape).map_err(fail)?
        })
    }
}

impl Drop for FileThrowAway {
    fn drop(&mut self) {
        self.connection = None;
        // What stays goes with the private folder of the run, at the latest at the next start.
        let _swept_later = fs::remove_dir_all(&self.folder);
    }
}

impl ThrowAway for FileThrowAway {
    fn source(&self) -> Source {
        let address = Address {
            scheme: "sqlite".to_owned(),
            user: None,
            host: None,
            port: None,
            path: self.file.to_string_lossy().into_owned(),
            query: BTreeMap::new(),
        };
        Source {
            id: Id::new(),
            name: "throw-away".to_owned(),
            address: address.to_string(),
            options: SourceOptions::default(),
            has_secret: false,
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn access(&self) -> Access {
        self.access.clone()
    }

    fn version(&self) -> String {
        facts::library_version()
    }

    fn check(&mut self) -> Result<Option<Vec<String>>> {
        // A connection of its own: the check looks at the order of keys, which stand-ins for collations would spoil.
        let connection = connect_immutable(&self.file, &self.file)?;
        let findings = facts::interruptible(&connection, &|| self.access.cancel.check(), || {
            facts::check(&connection, Depth::Full).map_err(|e| reading(&e, &self.file))
        })?;
        Ok(Some(findings.said))
    }

    fn rows(&mut self, table: &str, search: Option<&str>, page: u64, per_page: u64) -> Result<RowPage> {
        let needle = search.filter(|text| !text.is_empty()).map(str::to_lowercase);
        let skip = page.max(1).saturating_sub(1).saturating_mul(per_page);
        let (columns, rows, total) = self.with(table, |connection, shape| {
            let columns = shape.readable(connection)?;
            let names = columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
            let sql = shape.select(&columns);
            let mut shown = Vec::new();
            let total = if let Some(needle) = &needle {
                let mut found = 0_u64;
                let mut statement = connection.prepare(&sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let mut holds = false;
                    for at in 0..columns.len() {
                        holds = holds || text_of(row.get_ref(at)?).is_some_and(|text| text.to_lowercase().contains(needle));
                    }
                    if holds {
                        if found >= skip && (shown.len() as u64) < per_page {
                            shown.push(short_row(row, columns.len())?);
                        }
                        found += 1;
                    }
                }
                found
            } else {
                let mut statement = connection.prepare(&format!("{sql} LIMIT ?1 OFFSET ?2"))?;
                let limits = [per_page, skip].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
                let mut rows = statement.query(limits)?;
                while let Some(row) = rows.next()? {
                    shown.push(short_row(row, columns.len())?);
                }
                let count = format!("SELECT count(*) FROM main.{}", quoted(&shape.name));
                u64::try_from(connection.query_row(&count, [], |row| row.get::<_, i64>(0))?).unwrap_or(0)
            };
            Ok(Ok((names, shown, total)))
        })?;
        Ok(RowPage {
            columns,
            rows,
            total,
            page: page.max(1),
            per_page,
        })
    }

    fn export(&mut self, table: &str, format: ExportFormat, name: Option<&str>, out: &mut dyn Write) -> Result<u64> {
        self.with(table, |connection, shape| match format {
            ExportFormat::Csv => taking::as_csv(connection, shape, out),
            ExportFormat::Sql => taking::as_sql(connection, shape, name.unwrap_or(&shape.name), out),
        })
    }

    fn copy_table(&mut self, table: &str, into: &Source, access: Access, name: &str) -> Result<u64> {
        let target = path_of(into)?;
        self.with(table, |connection, shape| {
            // Its errors are about the target: said there.
            Ok(taking::copy(connection, shape, &target, &access, name))
        })
    }
}

fn short_row(row: &rusqlite::Row<'_>, columns: usize) -> rusqlite::Result<Vec<Option<String>>> {
    (0..columns).map(|at| Ok(short(row.get_ref(at)?))).collect()
}

/// A value as a page shows it: cut where it is very long.
fn short(value: ValueRef<'_>) -> Option<String> {
    let (text, cut) = match value {
        ValueRef::Blob(bytes) if bytes.len() > SHOWN / 2 => (taking::hex(&bytes[..SHOWN / 2]), true),
        // A letter has four bytes at most: what is shown is in the first so many, and the rest is not looked at.
        ValueRef::Text(bytes) if bytes.len() > SHOWN * 4 + 4 => {
            (String::from_utf8_lossy(&bytes[..SHOWN * 4 + 4]).into_owned(), true)
        }
        other => (text_of(other)?, false),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Some(format!("{}…", &text[..end])),
        None if cut => Some(format!("{}…", text.trim_end_matches('\''))),
        None => Some(text),
    }
}

/// A value as SQLite writes it; text as it is.
pub(super) fn text_of(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(taking::real(number)),
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Some(taking::hex(bytes)),
    }
}

/// The table that a person asked for is not there.
pub(super) fn unknown(table: &str) -> Error {
    Error::new(Code::NotFound, "inside_table_unknown").with("table", table)
}
