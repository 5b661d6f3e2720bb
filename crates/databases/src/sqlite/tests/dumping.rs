//! A dump is the state of the database, byte for byte, and says exactly what is in it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;

use coffre_model::Code;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::common::{Ground, ODD_NAMES, SHAPES, as_map, checked, make, plain_counts, source, with_pages};
use crate::sqlite::Sqlite;
use coffre_model::database::{DatabaseKind, DumpFormat};

/// Change counter, schema cookie, "version valid for" and library version: the only bytes in which SQLite's own online backup differs,
/// because it commits once more.
fn without_counter(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[24..28].fill(0);
    bytes[40..44].fill(0);
    bytes[92..100].fill(0);
    bytes
}

#[test]
fn every_shape_goes_out_and_comes_back() {
    for shape in SHAPES {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        let db = make(&path, *shape);
        let expected = plain_counts(&db);
        assert!(expected["customers"] == 700 && expected["orders"] == 2500 && expected["search"] == 700);
        for name in ODD_NAMES {
            assert_eq!(expected[*name], 2);
        }

        let (bytes, facts) = ground.dump(&path).unwrap();
        assert_eq!(as_map(&facts.counts), expected, "{shape:?}");
        assert!(facts.counts.is_sorted_by(|a, b| a.table < b.table));
        assert_eq!(facts.remarks, [], "{shape:?}");

        // The oracle: SQLite's own online backup of the same state. By a connection of its own, because the writer keeps pages that it
        // freed in its cache, and need not write them.
        let copy = ground.file("copy.db");
        {
            let from = Connection::open(&path).unwrap();
            let mut to = Connection::open(&copy).unwrap();
            let backup = Backup::new(&from, &mut to).unwrap();
            assert_eq!(backup.step(-1).unwrap(), StepResult::Done);
        }
        assert!(
            without_counter(bytes.clone()) == without_counter(fs::read(&copy).unwrap()),
            "{shape:?}"
        );

        // The checker sees every ordinary table with the same number of rows, whatever the size of the pieces.
        let parsed = checked(&bytes, 1 << 20).unwrap();
        let mut with_trees = expected.clone();
        let ordinary = with_pages(&db);
        with_trees.retain(|name, _| ordinary.contains(name));
        assert_eq!(as_map(&parsed.counts), with_trees, "{shape:?}");
        assert_eq!(parsed.objects, (bytes.len() / shape.page_size as usize) as u64);
        for piece in [1, 511, 4097, bytes.len()] {
            assert_eq!(checked(&bytes, piece).unwrap(), parsed);
        }

        // And it can be restored.
        let back = ground.file("back.db");
        assert_eq!(as_map(&ground.restore(&back, &bytes).unwrap()), expected);
        assert_eq!(fs::read(&back).unwrap(), bytes);
        let restored = Connection::open(&back).unwrap();
        let pragma = |name: &str| -> String {
            restored
                .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| {
                    row.get(0)
                })
                .unwrap()
        };
        assert_eq!(pragma("user_version"), "4711");
        assert_eq!(pragma("application_id"), "1129270086");
        assert_eq!(pragma("page_size"), shape.page_size.to_string());
        assert_eq!(pragma("auto_vacuum"), shape.auto_vacuum.to_string());
        assert_eq!(pragma("encoding"), shape.encoding);
        let mode: String = restored.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, if shape.journal == "wal" { "wal" } else { "delete" });
        assert_eq!(pragma("integrity_check"), "ok");
        assert_eq!(plain_counts(&restored), expected);
        let found: i64 = restored
            .query_row("SELECT count(*) FROM search WHERE search MATCH 'words'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, 700);
    }
}

#[test]
fn what_is_only_in_the_log_is_in_the_dump() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3);",
    )
    .unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= 4096, "the table is not in the file yet");
    let (bytes, facts) = ground.dump(&path).unwrap();
    assert_eq!(as_map(&facts.counts)["t"], 3);
    let alone = ground.file("alone.db");
    fs::write(&alone, bytes).unwrap();
    assert_eq!(plain_counts(&Connection::open(&alone).unwrap())["t"], 3);
}

#[test]
fn a_small_buffer_gets_the_same_bytes_and_an_empty_one_is_not_the_end() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let _open = make(&path, SHAPES[1]);
    let (whole, _) = ground.dump(&path).unwrap();
    let mut database = ground.open(&path);
    database.probe().unwrap();
    let mut dump = database.dump().unwrap();
    let mut all = Vec::new();
    assert_eq!(dump.read(&mut []).unwrap(), 0);
    loop {
        let mut piece = [0; 7];
        match dump.read(&mut piece).unwrap() {
            0 => break,
            got => all.extend_from_slice(&piece[..got]),
        }
    }
    assert_eq!(dump.read(&mut [0; 7]).unwrap(), 0);
    assert!(all == whole);
    dump.finish().unwrap();
}

#[test]
fn a_dump_that_was_not_read_to_its_end_does_not_finish() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let _open = make(&path, SHAPES[3]);
    let mut database = ground.open(&path);
    database.probe().unwrap();
    let mut dump = database.dump().unwrap();
    dump.read_exact(&mut [0; 5000]).unwrap();
    assert_eq!(dump.finish().unwrap_err().code(), Code::DumpTruncated);
}

/// Above 1 GiB there is one page that SQLite never stores anything in, because it locks bytes there. Almost all the other pages of this
/// file are free and take no room on the disk.
#[test]
fn the_page_with_the_lock_bytes() {
    const PAGE: usize = 65536;
    const LOCK_PAGE: u32 = (1 << 30) / PAGE as u32 + 1;
    const PAGES: u32 = LOCK_PAGE + 40;
    let ground = Ground::new();
    let path = ground.file("large.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA page_size=65536; CREATE TABLE t(a); CREATE TABLE u(a); INSERT INTO t VALUES (1), (2);")
        .unwrap();
    {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(u64::from(PAGES) * PAGE as u64).unwrap();
        // Two pages that list the others as free, those behind the lock page first (fileformat2.html, 1.5).
        let free: Vec<u32> = (LOCK_PAGE + 1..=PAGES).chain(6..LOCK_PAGE).collect();
        let (first, second) = free.split_at(PAGE / 4 - 20);
        let list = |next: u32, pages: &[u32]| -> Vec<u8> {
            let numbers = [next, u32::try_from(pages.len()).unwrap()];
            numbers.iter().chain(pages).flat_map(|n| n.to_be_bytes()).collect()
        };
        file.write_all_at(&list(5, first), 3 * PAGE as u64).unwrap();
        file.write_all_at(&list(0, second), 4 * PAGE as u64).unwrap();
        let header = [PAGES, 4, u32::try_from(free.len() + 2).unwrap()];
        let header: Vec<u8> = header.iter().flat_map(|n| n.to_be_bytes()).collect();
        file.write_all_at(&header, 28).unwrap();
    }
    let db = Connection::open(&path).unwrap();
    db.execute_batch("INSERT INTO u VALUES (randomblob(1000000))").unwrap();
    let sql = "SELECT max(pageno) FROM dbstat WHERE name = 'u'";
    let behind: u32 = db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert!(behind > LOCK_PAGE);
    drop(db);
    let length = fs::metadata(&path).unwrap().len();

    let mut database = ground.open(&path);
    assert_eq!(database.probe().unwrap().estimated_bytes, Some(length));
    let mut dump = database.dump().unwrap();
    let mut checker = Sqlite.checker(DumpFormat::Sqlite);
    let mut file = fs::File::open(&path).unwrap();
    let (mut ours, mut theirs, mut at) = (vec![0; 1 << 20], vec![0; 1 << 20], 0);
    loop {
        let got = dump.read(&mut ours).unwrap();
        if got == 0 {
            break;
        }
        file.read_exact(&mut theirs[..got]).unwrap();
        assert!(ours[..got] == theirs[..got], "after {at}");
        checker.feed(&ours[..got]).unwrap();
        at += got as u64;
    }
    // A descriptor that the test opened itself: closing it earlier would have dropped the dump's lock.
    drop(file);
    assert_eq!(at, length);
    let counts = as_map(&dump.finish().unwrap().counts);
    assert_eq!((counts["t"], counts["u"]), (2, 1));
    assert_eq!(as_map(&checker.finish().unwrap().counts), counts);
}

/// Things of the application's own, which are not in this program.
#[test]
fn unknown_modules_functions_and_collations_are_remarks() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE plain(a); INSERT INTO plain VALUES (1), (2);
         CREATE TABLE guarded(a, CHECK (a > 0)); INSERT INTO guarded VALUES (1), (2), (3);
         CREATE TABLE computed(a, b AS (a + 1)); INSERT INTO computed(a) VALUES (1);
         CREATE TABLE named(a TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID; INSERT INTO named VALUES ('x'), ('y');
         CREATE INDEX plain_a ON plain(a);
         PRAGMA writable_schema=ON;
         INSERT INTO sqlite_schema VALUES ('table', 'ghost', 'ghost', 0, 'CREATE VIRTUAL TABLE ghost USING elsewhere(a)');
         UPDATE sqlite_schema SET sql = 'CREATE TABLE guarded(a, CHECK (my_function(a)))' WHERE name = 'guarded';
         UPDATE sqlite_schema SET sql = 'CREATE TABLE computed(a, b INT NOT NULL AS (my_function(a)))' WHERE name = 'computed';
         UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'MY_ORDER') WHERE name = 'named';
         UPDATE sqlite_schema SET sql = 'CREATE INDEX plain_a ON plain(my_function(a))' WHERE name = 'plain_a';",
    )
    .unwrap();
    drop(db);
    let (bytes, facts) = ground.dump(&path).unwrap();
    let counts = as_map(&facts.counts);
    assert_eq!(counts.len(), 4);
    assert_eq!(
        (counts["plain"], counts["guarded"], counts["computed"], counts["named"]),
        (2, 3, 1, 2)
    );
    let remarked: Vec<_> = facts
        .remarks
        .iter()
        .map(|e| (e.text().to_owned(), e.detail("table").unwrap()))
        .collect();
    assert!(
        remarked.contains(&("sqlite_table_uncounted".to_owned(), "ghost".to_owned())),
        "{remarked:?}"
    );
    assert!(
        remarked.contains(&("sqlite_table_unchecked".to_owned(), "computed".to_owned())),
        "{remarked:?}"
    );
    // Its CHECK constraint is left out then, its pages are checked all the same.
    assert!(
        !remarked.iter().any(|(_, table)| table == "guarded" || table == "plain"),
        "{remarked:?}"
    );
    assert_eq!(as_map(&checked(&bytes, 4096).unwrap().counts), counts);
    ground.restore(&ground.file("back.db"), &bytes).unwrap();
}

#[test]
fn an_empty_schema_is_a_database_too() {
    let ground = Ground::new();
    let path = ground.file("nothing.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version=1")
        .unwrap();
    let (bytes, facts) = ground.dump(&path).unwrap();
    assert_eq!((bytes.len(), facts.counts.len()), (4096, 0));
    assert_eq!(checked(&bytes, 100).unwrap().objects, 1);
}

#[test]
fn a_probe_says_what_there_is() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let db = make(&path, SHAPES[0]);
    let probe = ground.open(&path).probe().unwrap();
    assert_eq!(probe.tool.name, "sqlite");
    assert_eq!(probe.tool.path, None);
    assert_eq!(probe.tool.version, rusqlite::version());
    assert_eq!(probe.tables, plain_counts(&db).len() as u64);
    assert_eq!(probe.estimated_bytes, Some(fs::metadata(&path).unwrap().len()));
    assert_eq!(as_map(&ground.open(&path).counts().unwrap()), plain_counts(&db));
    Sqlite.validate(&source(&path)).unwrap();
}

/// The page table is really compiled in; nothing of this adapter works without it.
#[test]
fn the_page_table_is_there() {
    let db = Connection::open_in_memory().unwrap();
    crate::sqlite::facts::assert_page_table(&db).unwrap();
    db.prepare("SELECT data FROM sqlite_dbpage").unwrap();
}
