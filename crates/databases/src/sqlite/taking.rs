//! Taking one table out of a throw-away file: as CSV, as SQL text, or into another database under a new name.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use coffre_model::database::Access;
use coffre_model::error::from_io;
use coffre_model::{Code, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use super::errors::{about, is_busy, is_unknown_extension, reading};
use super::facts::{quoted, tables};
use super::throw_away::{text_of, unknown};
use super::vfs::stand_in_for_collations;

/// How long one wait for the target's lock lasts before the cancel flag is looked at again.
const TURN: Duration = Duration::from_millis(100);
/// No literal holds a NUL, and the stock program loses a carriage return at the end of a line.
const AWKWARD: [char; 2] = ['\0', '\r'];
/// The most of these that are written one by one: the depth of an expression is limited.
const PARTS: usize = 100;
/// The cancel flag is looked at every so many rows.
const ROWS: u64 = 256;

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Computed from others: shown, never written.
    generated: bool,
    /// The place in the primary key, from 1; 0 for none.
    key: i64,
}

/// What must be known of a table to read it.
pub(super) struct Shape {
    pub(super) name: String,
    is_virtual: bool,
    columns: Vec<Column>,
    without_rowid: bool,
}

impl Shape {
    /// Finds a table by its name: exactly, else without regard to the case of ASCII letters, as SQLite itself does.
    pub(super) fn find(connection: &Connection, given: &str) -> rusqlite::Result<Result<Shape>> {
        let all = tables(connection)?;
        let exact = all.iter().find(|table| table.name == given);
        let Some(table) = exact.or_else(|| all.iter().find(|table| table.name.eq_ignore_ascii_case(given))) else {
            return Ok(Err(unknown(given)));
        };
        let mut statement =
            connection.prepare("SELECT name, hidden, pk FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1")?;
        let columns = statement
            .query_map([&table.name], |row| {
                Ok(Column {
                    name: row.get(0)?,
                    generated: row.get::<_, i64>(1)? >= 2,
                    key: row.get(2)?,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let without_rowid = connection
            .prepare("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE")?
            .query_map([&table.name], |row| row.get::<_, bool>(0))?
            .next()
            .transpose()?
            .unwrap_or(false);
        Ok(Ok(Shape {
            name: table.name.clone(),
            is_virtual: table.is_virtual,
            columns,
            without_rowid,
        }))
    }

    /// The columns that can be read here: all, or where one is computed by a function of the application's own, those that are stored.
    pub(super) fn readable(&self, connection: &Connection) -> rusqlite::Result<Vec<Column>> {
        match connection.prepare(&self.select(&self.columns)) {
            Ok(_) => Ok(self.columns.clone()),
            Err(e) if is_unknown_extension(&e) && self.columns.iter().any(|column| column.generated) => Ok(self.stored()),
            Err(e) => Err(e),
        }
    }

    fn stored(&self) -> Vec<Column> {
        self.columns.iter().filter(|column| !column.generated).cloned().collect()
    }

    /// Reads these columns, in a stable order: the primary key's, else the one in which the rows lie.
    pub(super) fn select(&self, columns: &[Column]) -> String {
        let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.key > 0).collect();
        key.sort_by_key(|column| column.key);
        let mut order: Vec<String> = key.iter().map(|column| quoted(&column.name)).collect();
        if !self.without_rowid && !self.is_virtual {
            let hidden = |alias: &&str| self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias));
            order.extend(
                ["rowid", "_rowid_", "oid"]
                    .iter()
                    .find(|alias| !hidden(alias))
                    .map(|alias| (*alias).to_owned()),
            );
        }
        let order = if order.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", order.join(", "))
        };
        format!("SELECT {} FROM main.{}{order}", listed(columns), quoted(&self.name))
    }

    /// The statement that makes this table, under a name. What refers to the table itself is renamed with it, by SQLite.
    fn made_as(&self, connection: &Connection, name: &str) -> rusqlite::Result<String> {
        // A module's table becomes an ordinary one with the same rows: the module is the application's.
        if self.is_virtual {
            return Ok(format!("CREATE TABLE {} ({})", quoted(name), listed(&self.columns)));
        }
        let sql: String = connection.query_row(
            "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
            [&self.name],
            |row| row.get(0),
        )?;
        let scratch = Connection::open_in_memory()?;
        scratch.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        scratch.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        stand_in_for_collations(&scratch)?;
        scratch.execute(&sql, [])?;
        if name != self.name {
            // Another letter case alone is no new name to SQLite.
            for next in [format!("{name}.coffre"), name.to_owned()] {
                let now: String = scratch.query_row(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
                    [],
                    |row| row.get(0),
                )?;
                scratch.execute(&format!("ALTER TABLE {} RENAME TO {}", quoted(&now), quoted(&next)), [])?;
            }
        }
        scratch.query_row(
            "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            [],
            |row| row.get(0),
        )
    }
}

fn listed(columns: &[Column]) -> String {
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    names.join(", ")
}

/// Bytes as SQLite writes them.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2 + 3);
    text.push_str("X'");
    for byte in bytes {
        // A string takes whatever is written to it.
        let _never_fails = write!(text, "{byte:02X}");
    }
    text.push('\'');
    text
}

/// A number with the fewest digits that mean exactly it.
pub(super) fn real(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    format!("{number:?}")
}

fn unwritten(error: std::io::Error) -> Error {
    from_io(error, |e| Error::internal("write an export", e))
}

/// RFC 4180, with a line of names. NULL is nothing, an empty text is `""`.
pub(super) fn as_csv(connection: &Connection, shape: &Shape, out: &mut dyn Write) -> rusqlite::Result<Result<u64>> {
    let columns = shape.readable(connection)?;
    let names: Vec<String> = columns.iter().map(|column| csv_field(&column.name)).collect();
    if let Err(e) = write!(out, "{}\r\n", names.join(",")) {
        return Ok(Err(unwritten(e)));
    }
    let mut statement = connection.prepare(&shape.select(&columns))?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    let mut line = String::new();
    while let Some(row) = rows.next()? {
        line.clear();
        for at in 0..columns.len() {
            if at > 0 {
                line.push(',');
            }
            if let Some(text) = text_of(row.get_ref(at)?) {
                line.push_str(&csv_field(&text));
            }
        }
        line.push_str("\r\n");
        if let Err(e) = out.write_all(line.as_bytes()) {
            return Ok(Err(unwritten(e)));
        }
        count += 1;
    }
    Ok(Ok(count))
}

fn csv_field(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// SQL text, one transaction: the table and its rows.
pub(super) fn as_sql(connection: &Connection, shape: &Shape, name: &str, out: &mut dyn Write) -> rusqlite::Result<Result<u64>> {
    let made = shape.made_as(connection, name)?;
    let columns = shape.stored();
    let mut statement = connection.prepare(&shape.select(&columns))?;
    let mut rows = statement.query([])?;
    let head = format!("INSERT INTO {} ({}) VALUES (", quoted(name), listed(&columns));
    let mut write = |text: &str| out.write_all(text.as_bytes()).map_err(unwritten);
    if let Err(error) = write(&format!("BEGIN;\n{made};\n")) {
        return Ok(Err(error));
    }
    let mut count = 0;
    let mut line = String::new();
    while let Some(row) = rows.next()? {
        line.clear();
        line.push_str(&head);
        for at in 0..columns.len() {
            if at > 0 {
                line.push_str(", ");
            }
            line.push_str(&literal(row.get_ref(at)?));
        }
        line.push_str(");\n");
        if let Err(error) = write(&line) {
            return Ok(Err(error));
        }
        count += 1;
    }
    Ok(write("COMMIT;\n").map(|()| count))
}

/// A value as SQL writes it.
fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        // SQL has no word for it; this number is too large for anything else.
        ValueRef::Real(number) if number.is_infinite() => if number > 0.0 { "9e999" } else { "-9e999" }.to_owned(),
        ValueRef::Real(number) => real(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if text.matches(AWKWARD).count() <= PARTS => {
                let mut sql = String::with_capacity(text.len() + 2);
                for part in text.split_inclusive(AWKWARD) {
                    let (plain, awkward) = match part.char_indices().next_back() {
                        Some((at, last)) if AWKWARD.contains(&last) => (&part[..at], Some(u32::from(last))),
                        _ => (part, None),
                    };
                    let joined = if sql.is_empty() { "" } else { " || " };
                    sql.push_str(&format!("{joined}'{}'", plain.replace('\'', "''")));
                    sql.extend(awkward.map(|number| format!(" || char({number})")));
                }
                if sql.is_empty() { "''".to_owned() } else { sql }
            }
            // No text, or more parts than a statement may have.
            _ => format!("CAST({} AS TEXT)", hex(bytes)),
        },
        ValueRef::Blob(bytes) => hex(bytes),
    }
}

/// Copies the table into another file, in one transaction.
pub(super) fn copy(connection: &Connection, shape: &Shape, target: &Path, access: &Access, name: &str) -> Result<u64> {
    let fail = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => about(Code::DestFull, "sqlite_target_full", target).with("cause", e.to_string()),
        _ => reading(&e, target),
    };
    if name.is_empty() || name.contains('\0') || name.to_ascii_lowercase().starts_with("sqlite_") {
        return Err(Error::new(Code::Usage, "inside_name").with("name", name.replace('\0', "\u{2400}")));
    }
    let made = shape.made_as(connection, name).map_err(fail)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let into = Connection::open_with_flags(target, flags).map_err(fail)?;
    into.busy_timeout(TURN).map_err(fail)?;
    into.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(fail)?;
    patiently(&into, "BEGIN IMMEDIATE", access, target)?;
    let work = || -> Result<u64> {
        let taken: bool = into
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE)",
                [name],
                |row| row.get(0),
            )
            .map_err(fail)?;
        if taken {
            return Err(Error::new(Code::Refused, "inside_name_taken")
                .with("name", name)
                .with("target", target.to_string_lossy()));
        }
        into.execute(&made, []).map_err(fail)?;
        let columns = shape.stored();
        let places = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT INTO main.{} ({}) VALUES ({places})", quoted(name), listed(&columns));
        let mut insert = into.prepare(&sql).map_err(fail)?;
        let here = |e: rusqlite::Error| reading(&e, target);
        let mut select = connection.prepare(&shape.select(&columns)).map_err(here)?;
        let mut rows = select.query([]).map_err(here)?;
        let mut count = 0_u64;
        while let Some(row) = rows.next().map_err(here)? {
            if count.is_multiple_of(ROWS) {
                access.cancel.check()?;
            }
            for at in 0..columns.len() {
                let value = ToSqlOutput::Borrowed(row.get_ref(at).map_err(here)?);
                insert.raw_bind_parameter(at + 1, value).map_err(fail)?;
            }
            insert.raw_execute().map_err(fail)?;
            count += 1;
        }
        let arrived: i64 = into
            .query_row(
                &format!("SELECT count(*) FROM main.{} NOT INDEXED", quoted(name)),
                [],
                |row| row.get(0),
            )
            .map_err(fail)?;
        if u64::try_from(arrived) != Ok(count) {
            return Err(Error::new(Code::VerifyMismatch, "restored_rows_differ")
                .with("table", name)
                .with("expected_rows", count)
                .with("found_rows", arrived));
        }
        Ok(count)
    };
    let done = work().and_then(|count| patiently(&into, "COMMIT", access, target).map(|()| count));
    if done.is_err() && !into.is_autocommit() {
        // Closing takes it back as well.
        let _closing_does = into.execute_batch("ROLLBACK");
    }
    done
}

/// Runs a statement that needs a lock: asks again for as long as the settings say.
fn patiently(connection: &Connection, sql: &str, access: &Access, target: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        match connection.execute_batch(sql) {
            Err(e) if is_busy(&e) && began.elapsed() < access.lock_wait => access.cancel.check()?,
            other => return other.map_err(|e| reading(&e, target)),
        }
    }
}
