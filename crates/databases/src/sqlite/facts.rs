//! What is known about one state of a database: its tables, their rows, and whether it is sound.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use coffre_model::database::TableCount;
use coffre_model::{Code, Error, Result};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::errors::{is_damage, is_interrupt, is_unknown_extension};
use super::vfs::stand_in_for_collations;

/// How often the cancel flag is looked at while SQLite works.
const LOOK: Duration = Duration::from_millis(50);
/// How many findings of a check are kept.
const FINDINGS: usize = 5;
/// How many bytes of a finding are kept.
const FINDING_BYTES: usize = 300;
/// Page cache while rows are counted and checked, in KiB.
const CHECK_CACHE_KIB: i64 = 4096;

/// A table as `sqlite_schema` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// Made by a module (`CREATE VIRTUAL TABLE`): its rows are what the module says.
    pub(super) is_virtual: bool,
}

/// How thoroughly a database is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// `quick_check`: every page and every record.
    Quick,
    /// `integrity_check`: also that every index agrees with its table. About ten times as long.
    Full,
}

impl Depth {
    fn pragma(self) -> &'static str {
        match self {
            Depth::Quick => "quick_check",
            Depth::Full => "integrity_check",
        }
    }
}

/// Says whether work must stop. Asked several times a second.
pub(super) type Stop<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// Runs work on a connection and interrupts it when `stop` says so: `count(*)` and the checks are one long step each, into which no
/// progress callback reaches.
pub(super) fn interruptible<T>(connection: &Connection, stop: Stop<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    stop()?;
    let handle = connection.get_interrupt_handle();
    let (done, waiting) = mpsc::channel::<()>();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = waiting.recv_timeout(LOOK) {
                if stop().is_err() {
                    handle.interrupt();
                }
            }
        });
        let result = work();
        drop(done);
        result
    });
    match result {
        // An interrupt has one cause; that one is the error to tell.
        Err(e) if e.code() == Code::Cancelled => {
            stop()?;
            Err(e)
        }
        result => result,
    }
}

/// One function quotes identifiers.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The tables that are not SQLite's own, sorted by name.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    // SQLite reserves names that begin with `sqlite_`, in any case. LIKE ignores case.
    let sql = r"SELECT name, coalesce(rootpage, 0) FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut tables = Vec::new();
    while let Some(row) = rows.next()? {
        let name = match row.get_ref(0)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => continue,
        };
        let is_virtual = row.get::<_, i64>(1)? == 0;
        tables.push(Table { name, is_virtual });
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// Rows of every table, and remarks about virtual tables that cannot be counted here.
///
/// `indexes_are_sound` says that `quick_check` found every index as long as its table, so that the shortest of them may be counted
/// instead of the table itself.
pub(super) fn counts(
    connection: &Connection,
    indexes_are_sound: bool,
    fail: &dyn Fn(&rusqlite::Error) -> Error,
) -> Result<(Vec<TableCount>, Vec<Error>)> {
    stand_in_for_collations(connection).map_err(|e| fail(&e))?;
    let mut counts = Vec::new();
    let mut remarks = Vec::new();
    for table in tables(connection).map_err(|e| fail(&e))? {
        let how = if indexes_are_sound || table.is_virtual {
            ""
        } else {
            " NOT INDEXED"
        };
        let sql = format!("SELECT count(*) FROM main.{}{how}", quoted(&table.name));
        match connection.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
            Ok(rows) => counts.push(TableCount {
                table: table.name,
                rows: u64::try_from(rows).map_err(|e| Error::internal("count", e))?,
            }),
            // Its module, tokenizer or content table is the application's affair; its stored pages are in the dump all the same.
            Err(e) if table.is_virtual && !is_interrupt(&e) => {
                remarks.push(remark("sqlite_table_uncounted", &table, &e));
            }
            Err(e) => return Err(fail(&e)),
        }
    }
    Ok((counts, remarks))
}

fn remark(text: &'static str, table: &Table, error: &rusqlite::Error) -> Error {
    Error::new(Code::NotFound, text)
        .with("table", table.name.as_str())
        .with("cause", error.to_string())
}

/// What a check found: nothing, where the database is sound.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings {
    /// The first lines of what SQLite says.
    pub(super) said: Vec<String>,
    /// Tables that could not be checked, because something of the application's is needed for it.
    pub(super) unchecked: Vec<Error>,
}

/// Checks the whole database.
///
/// SQLite compiles all tables into one statement, so that one CHECK constraint with an application's own function makes it refuse
/// altogether. In that case each table is checked for itself, at last without its CHECK constraints, and what still cannot be
/// checked is named.
pub(super) fn check(connection: &Connection, depth: Depth) -> rusqlite::Result<Findings> {
    connection.pragma_update(None, "cache_size", -CHECK_CACHE_KIB)?;
    if depth == Depth::Quick {
        stand_in_for_collations(connection)?;
    }
    match said(connection, &format!("PRAGMA main.{}({FINDINGS})", depth.pragma())) {
        Err(e) if is_unknown_extension(&e) => {}
        other => {
            return other.map(|said| Findings {
                said,
                unchecked: Vec::new(),
            });
        }
    }
    let mut findings = Findings::default();
    for ignore in [false, true] {
        connection.pragma_update(None, "ignore_check_constraints", ignore)?;
        findings = Findings::default();
        for table in tables(connection)? {
            match said(
                connection,
                &format!("PRAGMA main.{}({})", depth.pragma(), quoted(&table.name)),
            ) {
                Ok(said) => findings.said.extend(said),
                Err(e) if is_unknown_extension(&e) => findings.unchecked.push(remark("sqlite_table_unchecked", &table, &e)),
                Err(e) => return Err(e),
            }
        }
        if findings.unchecked.is_empty() {
            break;
        }
    }
    connection.pragma_update(None, "ignore_check_constraints", false)?;
    findings.said.truncate(FINDINGS);
    Ok(findings)
}

/// The lines that a check prints, without its `ok`.
fn said(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut lines = Vec::new();
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let line = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned();
                lines.extend(line.lines().map(shortened));
            }
            Ok(None) => break,
            // Damage can be so bad that the check itself ends with it. What it said before is more than "malformed".
            Err(e) if !lines.is_empty() && is_damage(&e) => break,
            Err(e) => return Err(e),
        }
    }
    match lines.as_slice() {
        [only] if only == "ok" => lines.clear(),
        // A check that says nothing has not checked.
        [] => lines.push("no answer".to_owned()),
        _ => {}
    }
    lines.truncate(FINDINGS);
    Ok(lines)
}

fn shortened(line: &str) -> String {
    let mut end = line.len().min(FINDING_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

/// The library that reads and writes: part of this program.
pub(super) fn library_version() -> String {
    rusqlite::version().to_owned()
}

/// Whether this SQLite has the page table that dumps are read from.
///
/// # Errors
/// `INTERNAL`, where another SQLite than the bundled one was linked in.
pub(super) fn assert_page_table(connection: &Connection) -> Result<()> {
    let sql = "SELECT sqlite_compileoption_used('ENABLE_DBPAGE_VTAB')";
    match connection.query_row(sql, [], |row| row.get::<_, bool>(0)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(Code::Internal, "sqlite_build").with("version", library_version())),
        Err(e) => Err(Error::internal("sqlite_compileoption_used", e)),
    }
}
