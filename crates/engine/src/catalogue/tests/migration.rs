//! Migrations, killed and failing at every point: the old schema or the new one, never between.

use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite_migration::{M, Migrations};

use super::super::open::migrate;
use super::child::{Running, argument};
use super::*;

/// The released schemas, and one more that changes and fills tables.
static NEXT: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    let mut all = super::super::open::released();
    all.push(M::up(
        "ALTER TABLE sources ADD COLUMN colour TEXT NOT NULL DEFAULT 'none';
             UPDATE sources SET colour = upper(name);
             CREATE TABLE extra (source_id TEXT PRIMARY KEY REFERENCES sources (id), size INTEGER) STRICT;
             INSERT INTO extra SELECT id, length(name) FROM sources;
             CREATE INDEX extra_size ON extra (size);
             DROP TRIGGER journal_update;
             CREATE TRIGGER journal_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'journal_append'); END;",
    ));
    Migrations::new(all)
});

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection
}

/// What a schema is, as text.
fn schema(connection: &Connection) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn version(connection: &Connection) -> u32 {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// A file with a released schema and something in it.
fn released(path: &Path, version: usize) {
    let mut connection = open(path);
    let mut all = super::super::open::released();
    all.truncate(version);
    migrate(&mut connection, &Migrations::new(all)).unwrap();
    for n in 0..200 {
        connection
            .execute(
                "INSERT INTO sources (id, name, address, options, has_secret, created_at)
                 VALUES (?1, ?2, '', '{}', 0, '2026-02-05T21:13:02.000Z')",
                [Id::new().to_string(), format!("source {n}")],
            )
            .unwrap();
    }
}

/// Runs the migrations on the file and does `at_step` at every step of SQLite's machine; answers how many there were.
fn migrate_with(path: &Path, mut at_step: impl FnMut(u64) -> bool + Send + 'static) -> (u64, bool) {
    let mut connection = open(path);
    let count = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&count);
    connection
        .progress_handler(1, Some(move || at_step(seen.fetch_add(1, Ordering::Relaxed) + 1)))
        .unwrap();
    let done = migrate(&mut connection, &NEXT).is_ok();
    (count.load(Ordering::Relaxed), done)
}

/// Old or new, and nothing else.
fn is_one_of(path: &Path, old: &[String], new: &[String], old_version: u32, at: &str) -> bool {
    let connection = open(path);
    let found = schema(&connection);
    let version = version(&connection);
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "{at}");
    if version == super::super::open::SCHEMA + 1 {
        assert_eq!(found, new, "{at}");
        true
    } else {
        assert_eq!(version, old_version, "{at}");
        assert_eq!(found, old, "{at}");
        false
    }
}

/// Points spread over `total` steps: the first ones, the last ones, and some between.
fn points(total: u64, some: u64) -> Vec<u64> {
    let mut points: Vec<u64> = (1..=3)
        .chain((1..some).map(|n| n * total / some))
        .chain(total - 2..=total + 1)
        .collect();
    points.sort_unstable();
    points.dedup();
    points
}

#[test]
fn a_migration_that_fails_anywhere_leaves_the_old_schema() {
    let dir = tempfile::tempdir().unwrap();
    for (name, old_version) in [("empty", 0), ("first", 1), ("second", 2), ("third", 3), ("released", 4)] {
        let prepare = |path: &Path| match old_version {
            0 => {}
            version => released(path, version as usize),
        };
        let path = dir.path().join(name);
        prepare(&path);
        let old = schema(&open(&path));
        let (total, done) = migrate_with(&path, |_| false);
        assert!(done && total > 1_000, "{total}");
        let new = schema(&open(&path));
        assert_ne!(old, new);
        let path = dir.path().join(format!("{name} again"));
        prepare(&path);
        for point in points(total, 300) {
            let (_, done) = migrate_with(&path, move |n| n == point);
            let migrated = is_one_of(&path, &old, &new, old_version, &format!("{name} at {point}"));
            assert!(migrated || !done, "{name} at {point}");
            if migrated {
                // Past the commit, where only the move from the log into the file was left.
                assert!(point > total - 20, "{name} at {point} of {total}");
                break;
            }
        }
    }
}

#[test]
fn killed_child() {
    let Some(given) = argument("catalogue::tests::migration::killed_child") else {
        return;
    };
    let (point, path) = given.split_once(' ').unwrap();
    let point: u64 = point.parse().unwrap();
    migrate_with(Path::new(path), move |n| {
        if n == point {
            // As a power cut does it: no destructor, no rollback.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        false
    });
}

#[test]
fn a_process_killed_while_migrating_leaves_the_old_schema_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    for (name, old_version) in [("empty", 0), ("first", 1), ("second", 2), ("third", 3), ("released", 4)] {
        let prepare = |path: &Path| match old_version {
            0 => {}
            version => released(path, version as usize),
        };
        let path = dir.path().join(name);
        prepare(&path);
        let old = schema(&open(&path));
        let (total, _) = migrate_with(&path, |_| false);
        let new = schema(&open(&path));
        let path = dir.path().join(format!("{name} killed"));
        prepare(&path);
        let mut killed = 0;
        for point in points(total, 25) {
            let argument = format!("{point} {}", path.display());
            let mut child = Running::start("catalogue::tests::migration::killed_child", &argument);
            killed += u32::from(!child.end());
            if is_one_of(&path, &old, &new, old_version, &format!("{name} killed at {point}")) {
                break;
            }
        }
        assert!(killed > 20, "{killed}");
        // And what was left can be migrated.
        migrate_with(&path, |_| false);
        assert!(is_one_of(&path, &old, &new, old_version, name));
    }
}

#[test]
fn what_an_unfinished_first_start_left_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(&dir.path().join("home")).unwrap();
    for suffix in ["", "-wal", "-shm", "-journal"] {
        std::fs::write(home.root().join(format!("catalogue.db.new{suffix}")), b"half").unwrap();
    }
    Catalogue::open(&home).unwrap().close().unwrap();
    let names: Vec<_> = super::opening::files(home.root()).into_keys().collect();
    assert_eq!(names, ["catalogue.db"]);
}

#[test]
fn the_released_migration_is_valid_and_never_changes() {
    super::super::open::MIGRATIONS.validate().unwrap();
    NEXT.validate().unwrap();
}
