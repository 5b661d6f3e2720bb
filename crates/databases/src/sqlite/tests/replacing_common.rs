//! What the tests of replacing share: a plan carried out up to the swap, and an independent look at a file's pages.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coffre_model::database::{Access, DatabaseKind, DumpFormat};
use coffre_model::replace::{Replace, Replacement};
use coffre_model::{Error, Id, Result};
use rusqlite::{Connection, OpenFlags};

use super::common::{Ground, Shape, make, source};
use crate::sqlite::Sqlite;

pub(super) fn open(access: &Access, path: &Path) -> Box<dyn Replace> {
    Sqlite.replace(&source(path), access.clone()).unwrap()
}

/// Everything before the swap.
pub(super) fn loaded(replace: &mut dyn Replace, bytes: &[u8]) -> Result<Replacement> {
    let mut plan = replace.plan(&Id::new())?;
    replace.prepare(&mut plan)?;
    let mut load = replace.load(&plan, DumpFormat::Sqlite)?;
    load.write_all(bytes)
        .map_err(|e| coffre_model::error::from_io(e, |e| Error::internal("write", e)))?;
    load.finish()?;
    replace.counts(&plan)?;
    Ok(plan)
}

/// The bytes of a backup of a database of this shape.
pub(super) fn backup(ground: &Ground, shape: Shape, more: &str) -> Vec<u8> {
    let path = ground.access.runtime.join("backed up.db");
    let db = make(&path, shape);
    db.execute_batch(more).unwrap();
    let (bytes, _) = ground.dump(&path).unwrap();
    drop(db);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        let _not_all_are_there = std::fs::remove_file(PathBuf::from(name));
    }
    bytes
}

/// All pages of a file as SQLite sees them, less what SQLite counts by itself: journal mode, change counter, its own version.
pub(super) fn pages(path: &Path) -> Vec<u8> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    let mut statement = db.prepare("SELECT data FROM sqlite_dbpage").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        all.extend_from_slice(row.get_ref(0).unwrap().as_blob().unwrap());
    }
    masked(all)
}

pub(super) fn masked(mut all: Vec<u8>) -> Vec<u8> {
    for range in [18..20, 24..28, 92..100] {
        all[range].fill(0);
    }
    all
}

/// The same, less the schema's version, which a swap sets.
pub(super) fn without_mark(mut all: Vec<u8>) -> Vec<u8> {
    all[40..44].fill(0);
    all
}

/// Asserts without the megabytes.
#[track_caller]
pub(super) fn assert_same(left: &[u8], right: &[u8], what: &str) {
    if left != right {
        let at = left.iter().zip(right).position(|(a, b)| a != b);
        panic!("{what}: {} and {} bytes, first difference at {at:?}", left.len(), right.len());
    }
}

pub(super) fn assert_sound(path: &Path) {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    let said: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok", "{}", path.display());
}

/// What lies in a folder, by name and length.
pub(super) fn names(folder: &Path) -> BTreeMap<String, u64> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.metadata().unwrap().len(),
            )
        })
        .collect()
}

pub(super) fn journal(path: &Path) -> String {
    let db = Connection::open(path).unwrap();
    db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap()
}
