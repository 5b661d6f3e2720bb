//! What the tests of this adapter share: databases of every shape, and an independent look at the result.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::DateTime;
use coffre_model::cancel::Cancel;
use coffre_model::database::{Access, Database, DatabaseKind, DumpFacts, DumpFormat, Parsed, TableCount};
use coffre_model::source::Source;
use coffre_model::{Id, Result};
use rusqlite::Connection;

use crate::sqlite::Sqlite;

/// A folder with a place for databases and a place for the run's private files.
pub(super) struct Ground {
    folder: tempfile::TempDir,
    pub(super) access: Access,
}

impl Ground {
    pub(super) fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().join("runtime");
        fs::create_dir(&runtime).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let access = Access {
            password: None,
            runtime,
            tool_paths: Vec::new(),
            stall: Duration::from_secs(60),
            lock_wait: Duration::from_secs(30),
            cancel: Cancel::new(),
        };
        Ground { folder, access }
    }

    /// Where databases lie.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    pub(super) fn open(&self, path: &Path) -> Box<dyn Database> {
        Sqlite.open(&source(path), self.access.clone()).unwrap()
    }

    /// Dumps with a buffer of a size that fits no page.
    pub(super) fn dump(&self, path: &Path) -> Result<(Vec<u8>, DumpFacts)> {
        let mut database = self.open(path);
        database.probe()?;
        let mut dump = database.dump()?;
        let (mut all, mut piece) = (Vec::new(), vec![0; 10_007]);
        loop {
            let got = dump
                .read(&mut piece)
                .map_err(|e| coffre_model::error::from_io(e, |e| panic!("{e}")))?;
            if got == 0 {
                break;
            }
            all.extend_from_slice(&piece[..got]);
        }
        Ok((all, dump.finish()?))
    }

    /// Restores bytes into a new file.
    pub(super) fn restore(&self, path: &Path, bytes: &[u8]) -> Result<Vec<TableCount>> {
        let mut database = self.open(path);
        database.prepare_target()?;
        let mut load = database.load(DumpFormat::Sqlite)?;
        load.write_all(bytes)
            .map_err(|e| coffre_model::error::from_io(e, |e| panic!("{e}")))?;
        load.finish()?;
        let counts = database.counts()?;
        database.settle_target()?;
        Ok(counts)
    }
}

pub(super) fn source(path: &Path) -> Source {
    let address = coffre_model::address::Address {
        scheme: "sqlite".to_owned(),
        user: None,
        host: None,
        port: None,
        path: path.to_str().unwrap().to_owned(),
        query: BTreeMap::new(),
    };
    Source {
        id: Id::new(),
        name: "shop".to_owned(),
        address: address.to_string(),
        options: Default::default(),
        has_secret: false,
        created_at: DateTime::UNIX_EPOCH,
    }
}

/// Feeds bytes in pieces of one size.
pub(super) fn checked(bytes: &[u8], piece: usize) -> Result<Parsed> {
    let mut checker = Sqlite.checker(DumpFormat::Sqlite);
    for part in bytes.chunks(piece) {
        checker.feed(part)?;
    }
    checker.finish()
}

/// Every file of a folder with its bytes; of shared memory only the name, because readers write their marks into it.
pub(super) fn folder_state(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = if name.ends_with("-shm") {
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            (name, bytes)
        })
        .collect()
}

/// Rows of every table, counted the plain way, without any of the adapter's code.
pub(super) fn plain_counts(connection: &Connection) -> BTreeMap<String, u64> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(lower(name), 1, 7) != 'sqlite_'";
    let mut statement = connection.prepare(sql).unwrap();
    let names: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    names
        .into_iter()
        .map(|name| {
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM \"{}\")", name.replace('"', "\"\""));
            let rows: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            (name, u64::try_from(rows).unwrap())
        })
        .collect()
}

pub(super) fn as_map(counts: &[TableCount]) -> BTreeMap<String, u64> {
    counts.iter().map(|c| (c.table.clone(), c.rows)).collect()
}

/// Names of the ordinary tables: those with a tree of their own.
pub(super) fn with_pages(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<rusqlite::Result<_>>().unwrap()
}

/// What a database can be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) page_size: u32,
    /// 0 none, 1 full, 2 incremental.
    pub(super) auto_vacuum: u32,
    pub(super) encoding: &'static str,
    pub(super) journal: &'static str,
    /// Bytes left free at the end of each page, as extensions for encryption do.
    pub(super) reserved: i32,
}

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        page_size: 512,
        auto_vacuum: 0,
        encoding: "UTF-8",
        journal: "delete",
        reserved: 0,
    },
    Shape {
        page_size: 512,
        auto_vacuum: 1,
        encoding: "UTF-8",
        journal: "delete",
        reserved: 12,
    },
    Shape {
        page_size: 1024,
        auto_vacuum: 2,
        encoding: "UTF-16le",
        journal: "wal",
        reserved: 0,
    },
    Shape {
        page_size: 4096,
        auto_vacuum: 0,
        encoding: "UTF-8",
        journal: "wal",
        reserved: 0,
    },
    Shape {
        page_size: 4096,
        auto_vacuum: 1,
        encoding: "UTF-16be",
        journal: "truncate",
        reserved: 0,
    },
    Shape {
        page_size: 8192,
        auto_vacuum: 2,
        encoding: "UTF-8",
        journal: "persist",
        reserved: 32,
    },
    Shape {
        page_size: 65536,
        auto_vacuum: 0,
        encoding: "UTF-8",
        journal: "wal",
        reserved: 0,
    },
    Shape {
        page_size: 65536,
        auto_vacuum: 1,
        encoding: "UTF-8",
        journal: "delete",
        reserved: 0,
    },
];

/// Names that a careless program would trip over.
pub(super) const ODD_NAMES: &[&str] = &[
    "a\"b'c;--`",
    "naïve ☃ table",
    "../up",
    "%s %00?x=1&y#z",
    "line\nbreak",
    "\u{202e}right to left",
    "select",
];

/// Makes a database with everything SQLite has: both kinds of tables, rows over many pages, free pages, search indexes, views,
/// triggers, generated columns. The connection stays open, so that a log stays where it is.
pub(super) fn make(path: &Path, shape: Shape) -> Connection {
    let db = Connection::open(path).unwrap();
    if shape.reserved > 0 {
        let mut reserved = shape.reserved;
        // SAFETY: SQLITE_FCNTL_RESERVE_BYTES reads and writes one integer.
        let code = unsafe {
            rusqlite::ffi::sqlite3_file_control(
                db.handle(),
                c"main".as_ptr(),
                rusqlite::ffi::SQLITE_FCNTL_RESERVE_BYTES,
                (&raw mut reserved).cast(),
            )
        };
        assert_eq!(code, 0);
    }
    db.execute_batch(&format!(
        "PRAGMA page_size={}; PRAGMA auto_vacuum={}; PRAGMA encoding='{}'; PRAGMA synchronous=OFF;
         PRAGMA user_version=4711; PRAGMA application_id=1129270086;",
        shape.page_size, shape.auto_vacuum, shape.encoding
    ))
    .unwrap();
    db.pragma_update(None, "journal_mode", shape.journal).unwrap();
    db.execute_batch(
        "BEGIN;
         CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, upper TEXT AS (upper(name)));
         CREATE TABLE orders(customer INTEGER, at TEXT, total REAL, PRIMARY KEY(customer, at)) WITHOUT ROWID;
         CREATE TABLE files(id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB);
         CREATE TABLE strict_one(a INT, b TEXT, c ANY) STRICT;
         CREATE TABLE empty_one(a);
         CREATE TABLE gone(a);
         CREATE INDEX by_total ON orders(total);
         CREATE INDEX some_names ON customers(name) WHERE id % 2 = 0;
         CREATE VIEW spent AS SELECT customer, sum(total) FROM orders GROUP BY customer;
         CREATE TRIGGER looked AFTER DELETE ON files BEGIN SELECT 1; END;
         CREATE VIRTUAL TABLE search USING fts5(title, body);
         CREATE VIRTUAL TABLE old_search USING fts4(body);
         CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 700)
           INSERT INTO customers(name, email) SELECT 'customer ' || i, i || '@example.com' FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2500)
           INSERT INTO orders SELECT i % 700, printf('2026-01-01 %08d', i * 7919 % 2501), i / 7.0 FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 40)
           INSERT INTO files(body) SELECT randomblob(i * i * 20) FROM n;
         INSERT INTO strict_one VALUES (1, 'x', 2.5), (2, NULL, x'00');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 900)
           INSERT INTO gone SELECT randomblob(300) FROM n;
         INSERT INTO search SELECT name, email || ' some words' FROM customers;
         INSERT INTO old_search SELECT name FROM customers;
         INSERT INTO boxes SELECT id, id, id + 1 FROM customers;
         COMMIT;
         DELETE FROM gone WHERE rowid % 3 > 0;
         DELETE FROM files WHERE id % 4 = 0;
         ANALYZE;",
    )
    .unwrap();
    for name in ODD_NAMES {
        let quoted = name.replace('"', "\"\"");
        db.execute_batch(&format!(
            "CREATE TABLE \"{quoted}\"(a); INSERT INTO \"{quoted}\" VALUES (1), (2);"
        ))
        .unwrap();
    }
    db
}

/// A connection as an application has it.
pub(super) fn application(path: &Path, journal: &str) -> Connection {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "journal_mode", journal).unwrap();
    db.pragma_update(None, "synchronous", "OFF").unwrap();
    db
}
