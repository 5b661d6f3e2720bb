//! A look at the live file: what is in it, who has it open, what forbids that it is replaced. Nothing is made, nothing is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use coffre_model::database::{Access, TableCount};
use coffre_model::replace::{LiveLook, NewestValue, ReplaceWay, TableShape};
use coffre_model::storage::Space;
use coffre_model::{Code, Error, Result};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::sqlite::errors::{about, is_interrupt, reading_live, shown, writing};
use crate::sqlite::facts::{self, quoted};
use crate::sqlite::reading::{PATH_MAX, Reading, suffixed};
use crate::sqlite::shapes;

use super::live::is_ours_to_create_beside;
use super::names::Names;
use super::part::exists;
use super::sessions::sessions;

/// Rows of a table whose columns of times are searched without an index.
const SEARCHED_ROWS: u64 = 20_000;

/// What lies at the place of the live file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A database, or what was one.
    File(PathBuf),
    /// A file without bytes: nothing is lost with it, but somebody may have it open.
    Empty(PathBuf),
    /// Nothing yet.
    Nothing(PathBuf),
}

impl Place {
    /// Where the live file is or will be, links resolved.
    pub(super) fn path(&self) -> &Path {
        match self {
            Place::File(path) | Place::Empty(path) | Place::Nothing(path) => path,
        }
    }

    /// Looks, without opening anything.
    ///
    /// # Errors
    /// `UNREACHABLE` where there is no folder, or something that is no file; `REFUSED` for a link that leads nowhere.
    pub(super) fn of(named: &Path) -> Result<Place> {
        use std::io::ErrorKind;
        match fs::canonicalize(named) {
            Ok(file) => {
                let meta = fs::metadata(&file)
                    .map_err(|e| about(Code::Unreachable, "sqlite_cannot_open", named).with("cause", e.to_string()))?;
                if meta.is_dir() {
                    return Err(about(Code::Unreachable, "sqlite_is_folder", named));
                }
                if !meta.is_file() {
                    return Err(about(Code::Unreachable, "sqlite_not_file", named));
                }
                Ok(if meta.len() == 0 {
                    Place::Empty(file)
                } else {
                    Place::File(file)
                })
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                if exists(named)? {
                    return Err(about(Code::Refused, "sqlite_link_dangling", named));
                }
                let (Some(parent), Some(name)) = (named.parent(), named.file_name()) else {
                    return Err(about(Code::Usage, "sqlite_path_folder", named));
                };
                let folder = fs::canonicalize(parent).map_err(|e| match writing(&e, named) {
                    other if other.code() == Code::Internal => about(Code::Unreachable, "sqlite_folder_missing", named),
                    error => error,
                })?;
                Ok(Place::Nothing(folder.join(name)))
            }
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Err(about(Code::Privilege, "sqlite_denied", named)),
            Err(e) if e.kind() == ErrorKind::InvalidFilename => {
                Err(about(Code::Usage, "sqlite_path_long", named).with("max", PATH_MAX))
            }
            Err(e) if e.kind() == ErrorKind::NotADirectory => Err(about(Code::Unreachable, "sqlite_folder_missing", named)),
            Err(e) => Err(about(Code::Unreachable, "sqlite_cannot_open", named).with("cause", e.to_string())),
        }
    }

    /// Which file this is, however it is called.
    pub(super) fn identity(&self) -> Result<(u64, u64)> {
        let meta = match self {
            Place::File(path) | Place::Empty(path) => fs::metadata(path),
            Place::Nothing(path) => fs::metadata(path.parent().unwrap_or(path)),
        };
        let meta = meta.map_err(|e| about(Code::Unreachable, "sqlite_cannot_open", self.path()).with("cause", e.to_string()))?;
        Ok((meta.dev(), meta.ino()))
    }

    pub(super) fn identity_text(&self) -> Result<String> {
        let (device, inode) = self.identity()?;
        Ok(match self {
            Place::File(_) | Place::Empty(_) => format!("{device}:{inode}"),
            Place::Nothing(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!("nothing in {device}:{inode} called {name}")
            }
        })
    }

    /// What forbids that it is replaced, as far as the files around it tell.
    pub(super) fn refusals(&self, named: &Path) -> Result<Vec<Error>> {
        use rustix::fs::{Access, AtFlags, CWD};
        let path = self.path();
        let folder = path.parent().unwrap_or(path);
        let mut refusals = Vec::new();
        if let Err(errno) = rustix::fs::accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            refusals.push(writing(&errno.into(), folder));
        }
        if !Names::fit(path) {
            refusals.push(about(Code::Usage, "sqlite_path_long", named).with("max", PATH_MAX));
        }
        match self {
            Place::File(_) => {}
            Place::Empty(_) | Place::Nothing(_) => {
                for suffix in ["-wal", "-journal"] {
                    let left = suffixed(path, suffix);
                    let has_bytes = fs::symlink_metadata(&left).is_ok_and(|m| m.len() > 0);
                    if has_bytes || (matches!(self, Place::Nothing(_)) && exists(&left)?) {
                        refusals.push(about(Code::Refused, "sqlite_target_leftover", named).with("leftover", shown(&left)));
                    }
                }
            }
        }
        if matches!(self, Place::File(_) | Place::Empty(_)) {
            if let Err(errno) = rustix::fs::accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
                refusals.push(about(Code::Privilege, "sqlite_live_denied", named).with("cause", errno.to_string()));
            }
            if !is_ours_to_create_beside(path) {
                refusals.push(about(Code::Privilege, "sqlite_live_other_owner", named));
            }
        }
        Ok(refusals)
    }
}

/// Looks.
pub(super) fn look(named: &Path, access: &Access) -> Result<LiveLook> {
    let mut look = LiveLook {
        way: Some(ReplaceWay::Swap),
        server_version: Some(facts::library_version()),
        ..LiveLook::default()
    };
    let place = match Place::of(named) {
        Ok(place) => place,
        // A link is somebody's decision: what it should lead to is not ours to make.
        Err(error) if error.text() == "sqlite_link_dangling" => {
            look.refusals.push(error);
            return Ok(look);
        }
        Err(error) => return Err(error),
    };
    let path = place.path();
    look.identity = place.identity_text()?;
    look.refusals = place.refusals(named)?;
    let folder = path.parent().unwrap_or(path);
    let room = rustix::fs::statvfs(folder).map_err(|errno| writing(&errno.into(), folder))?;
    look.space = Some(Space {
        free: room.f_bavail.saturating_mul(room.f_frsize),
        total: room.f_blocks.saturating_mul(room.f_frsize),
    });
    match &place {
        Place::Nothing(_) => return Ok(look),
        Place::Empty(_) => {
            look.sessions = sessions(path);
            look.remarks.push(about(Code::NotFound, "sqlite_live_empty", named));
            return Ok(look);
        }
        Place::File(_) => {}
    }
    look.exists = true;
    look.sessions = sessions(path);
    let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    look.bytes = Some(length(path) + length(&suffixed(path, "-wal")));
    if let Err(error) = contents(named, access, &mut look) {
        let error = reading_live(error, named);
        match error.text() {
            // Told already, in better words.
            "sqlite_denied" | "sqlite_wal_denied" | "sqlite_other_owner" if !look.refusals.is_empty() => {}
            "sqlite_live_damaged" | "sqlite_wal_denied" | "sqlite_other_owner" => look.refusals.push(error),
            _ => return Err(error),
        }
    }
    Ok(look)
}

/// What is in it, out of one read transaction.
fn contents(named: &Path, access: &Access, look: &mut LiveLook) -> Result<()> {
    let reading = Reading::open(named, access)?;
    look.remarks.extend(reading.remarks().iter().cloned());
    let connection = reading.connection()?;
    let fail = |e: &rusqlite::Error| reading.error(e);
    let stop = || access.cancel.check();
    let (counts, uncounted) = facts::interruptible(connection, &stop, || facts::counts(connection, false, &fail))?;
    look.remarks.extend(uncounted);
    look.shapes = Some(table_shapes(connection).map_err(|e| fail(&e))?);
    look.newest = facts::interruptible(connection, &stop, || newest(connection, &counts).map_err(|e| fail(&e)))?;
    look.counts = counts;
    reading.close()
}

/// The names of the tables, out of one read transaction.
pub(super) fn tables(named: &Path, access: &Access) -> Result<Vec<String>> {
    let read = || {
        let reading = Reading::open(named, access)?;
        let tables = facts::tables(reading.connection()?).map_err(|e| reading.error(&e))?;
        reading.close()?;
        Ok(tables.into_iter().map(|table| table.name).collect())
    };
    read().map_err(|error| reading_live(error, named))
}

/// What the tables are made of.
fn table_shapes(connection: &Connection) -> rusqlite::Result<Vec<TableShape>> {
    let mut statement = connection.prepare("SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1")?;
    let tables = facts::tables(connection)?;
    tables
        .iter()
        .map(|table| {
            let mut rows = statement.query([&table.name])?;
            let sql = match rows.next()? {
                Some(row) => String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned(),
                None => String::new(),
            };
            Ok(shapes::shape(&table.name, &sql))
        })
        .collect()
}

/// How much a column tells about when its row was written, the smallest first; nothing for a column that is no time.
fn time_rank(name: &str, declared: &str) -> Option<u8> {
    let (lower, declared) = (name.to_ascii_lowercase(), declared.to_ascii_uppercase());
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    let is_named = lower.ends_with("_at")
        || name.ends_with("At")
        || lower.ends_with("date")
        || lower.ends_with("timestamp")
        || lower.ends_with("_time")
        || ["time", "datetime", "created", "updated", "modified", "changed"].contains(&lower.as_str());
    let is_declared = declared.starts_with("DATE") || declared.starts_with("TIMESTAMP") || declared == "TIME";
    match () {
        () if !is_named && !is_declared => None,
        () if begins(&["updat", "modif", "chang"]) => Some(0),
        () if begins(&["creat", "insert", "add"]) => Some(1),
        () if is_declared => Some(2),
        () => Some(3),
    }
}

/// The newest moment of each table, where that takes moments to find: by an index, or because the table is small.
fn newest(connection: &Connection, counts: &[TableCount]) -> rusqlite::Result<Vec<NewestValue>> {
    let mut found = Vec::new();
    for table in facts::tables(connection)?.into_iter().filter(|table| !table.is_virtual) {
        let rows = counts.iter().find(|c| c.table == table.name).map_or(0, |c| c.rows);
        if rows == 0 {
            continue;
        }
        let mut columns = connection.prepare("SELECT name, type FROM pragma_table_info(?1)")?;
        let columns = columns.query_map([&table.name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut columns: Vec<(u8, String)> = columns
            .filter_map(|column| column.ok())
            .filter_map(|(name, declared)| Some((time_rank(&name, &declared)?, name)))
            .collect();
        columns.sort();
        for (_, column) in columns {
            if rows > SEARCHED_ROWS && !is_indexed(connection, &table.name, &column)? {
                continue;
            }
            let sql = format!("SELECT max({}) FROM main.{}", quoted(&column), quoted(&table.name));
            let value = connection.query_row(&sql, [], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
                    ValueRef::Integer(number) => Some(number.to_string()),
                    ValueRef::Real(number) => Some(number.to_string()),
                    ValueRef::Null | ValueRef::Blob(_) => None,
                })
            });
            match value {
                Ok(Some(value)) => {
                    found.push(NewestValue {
                        table: table.name.clone(),
                        column,
                        value,
                    });
                    break;
                }
                Err(e) if is_interrupt(&e) => return Err(e),
                // A column without values, or one that needs a function of the application's: it tells nothing, and nothing rests on it.
                Ok(None) | Err(_) => {}
            }
        }
    }
    Ok(found)
}

/// Whether the greatest value of a column is at the end of an index.
fn is_indexed(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM pragma_index_list(?1) AS l
               WHERE l.partial = 0 AND (SELECT i.name FROM pragma_index_info(l.name) AS i WHERE i.seqno = 0) = ?2";
    connection
        .query_row(sql, [table, column], |row| row.get::<_, i64>(0))
        .map(|n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_columns_are_times() {
        let rank = |name, declared| time_rank(name, declared);
        assert!(rank("updated_at", "TEXT") < rank("created_at", "TEXT"));
        assert!(rank("createdAt", "") < rank("x", "DATETIME"));
        assert_eq!(rank("lifetime", "INT"), None);
        assert_eq!(rank("format", "TEXT"), None);
        assert_eq!(rank("total", "REAL"), None);
        assert!(rank("order_date", "TEXT").is_some() && rank("x", "timestamp").is_some());
    }
}
