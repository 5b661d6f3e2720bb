//! Whatever a dump finds beside a database, it leaves it there, and adds nothing.

use std::fs;
use std::path::{Path, PathBuf};

use coffre_model::Code;
use rusqlite::Connection;

use super::common::{Ground, application, as_map, checked, folder_state, plain_counts};

/// A database with two tables that always have the same number of rows, and enough of them for many pages.
fn filled(path: &Path, journal: &str) -> Connection {
    let db = application(path, journal);
    db.execute_batch(
        "CREATE TABLE a(x); CREATE TABLE b(x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) INSERT INTO a SELECT randomblob(200) FROM n;
         INSERT INTO b SELECT x FROM a;",
    )
    .unwrap();
    db
}

/// Dumps, and asserts that the folder is as before, and that both tables have `rows` rows.
fn dumped(ground: &Ground, path: &Path, rows: u64) -> Vec<String> {
    let before = folder_state(&ground.data());
    let (bytes, facts) = ground.dump(path).unwrap();
    let after = folder_state(&ground.data());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before == after, "some file has other bytes");
    assert_eq!(
        fs::read_dir(&ground.access.runtime).unwrap().count(),
        0,
        "private files are left"
    );
    let counts = as_map(&facts.counts);
    assert_eq!((counts["a"], counts["b"]), (rows, rows));
    assert_eq!(as_map(&checked(&bytes, 1 << 16).unwrap().counts), counts);
    facts.remarks.iter().map(|e| e.text().to_owned()).collect()
}

#[test]
fn closed_databases() {
    for journal in ["delete", "truncate", "persist", "wal"] {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        drop(filled(&path, journal));
        assert!(!ground.file("shop.db-wal").exists(), "SQLite removes its log");
        let files = folder_state(&ground.data()).len();
        assert!(dumped(&ground, &path, 2000).is_empty());
        ground.open(&path).counts().unwrap();
        ground.open(&path).probe().unwrap();
        assert_eq!(folder_state(&ground.data()).len(), files);
    }
}

#[test]
fn open_databases() {
    for journal in ["delete", "truncate", "persist", "wal"] {
        let ground = Ground::new();
        let path = ground.file("shop.db");
        let db = filled(&path, journal);
        db.execute_batch("PRAGMA wal_autocheckpoint=0; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);")
            .unwrap();
        assert!(dumped(&ground, &path, 2001).is_empty());
        // The application goes on as if nothing had been.
        db.execute_batch("INSERT INTO a VALUES (2)").unwrap();
        assert_eq!(plain_counts(&db)["a"], 2002);
    }
}

/// Copies what a power cut would have left: the files as they are in the middle of everything.
fn power_cut(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        let name = |path: &Path| -> PathBuf {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        fs::copy(name(from), name(to)).unwrap();
    }
}

#[test]
fn a_log_left_by_a_crash() {
    for suffixes in [["", "-wal"].as_slice(), &["", "-wal", "-shm"]] {
        let ground = Ground::new();
        let elsewhere = Ground::new();
        let live = elsewhere.file("live.db");
        let db = filled(&live, "wal");
        db.execute_batch("PRAGMA wal_autocheckpoint=0; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);")
            .unwrap();
        let path = ground.file("shop.db");
        power_cut(&live, &path, suffixes);
        assert!(fs::metadata(ground.file("shop.db-wal")).unwrap().len() > 0);
        assert!(dumped(&ground, &path, 2001).is_empty());
        // A second time, and then the application comes back.
        assert!(dumped(&ground, &path, 2001).is_empty());
        assert_eq!(plain_counts(&Connection::open(&path).unwrap())["a"], 2001);
    }
}

#[test]
fn an_empty_log_stays_and_nothing_joins_it() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    drop(filled(&path, "wal"));
    fs::write(ground.file("shop.db-wal"), b"").unwrap();
    assert!(dumped(&ground, &path, 2000).is_empty());
    assert!(ground.file("shop.db-wal").exists() && !ground.file("shop.db-shm").exists());
}

/// A transaction that was being written into the file when the application died: what was there before is in the journal.
#[test]
fn a_journal_left_by_a_crash_is_rolled_back_in_a_copy() {
    let ground = Ground::new();
    let elsewhere = Ground::new();
    let live = elsewhere.file("live.db");
    let db = filled(&live, "delete");
    let intact = fs::read(&live).unwrap();
    // So small a cache that the unfinished transaction is written into the file.
    db.execute_batch("PRAGMA cache_size=5; BEGIN IMMEDIATE; UPDATE a SET x = randomblob(300); DELETE FROM b WHERE rowid % 2;")
        .unwrap();
    let path = ground.file("shop.db");
    power_cut(&live, &path, &["", "-journal"]);
    assert!(
        fs::read(&path).unwrap() != intact,
        "the unfinished transaction is not in the file"
    );
    let remarks = dumped(&ground, &path, 2000);
    assert_eq!(remarks, ["sqlite_recovered"]);
    let probe = ground.open(&path).probe().unwrap();
    assert_eq!(probe.remarks.len(), 1);
    // What lies there is still what the crash left, for the application to roll back itself.
    assert!(fs::metadata(ground.file("shop.db-journal")).unwrap().len() > 0);
    assert_eq!(plain_counts(&Connection::open(&path).unwrap())["b"], 2000);
    assert!(!ground.file("shop.db-journal").exists());
}

#[test]
fn while_another_transaction_is_being_prepared() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let db = filled(&path, "delete");
    db.execute_batch("BEGIN IMMEDIATE; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);")
        .unwrap();
    assert!(ground.file("shop.db-journal").exists());
    assert!(dumped(&ground, &path, 2000).is_empty());
    db.execute_batch("COMMIT").unwrap();
    assert!(dumped(&ground, &path, 2001).is_empty());
}

#[test]
fn names_are_only_names() {
    for name in [
        "file:evil?mode=memory",
        "a b%41#?&;$(x)`y'\"z\\",
        "-rf",
        "new\nline",
        "\u{202e}bd.pohs",
        "ünï☃.db",
        ":memory:",
        &"n".repeat(240),
    ] {
        for journal in ["delete", "wal"] {
            let ground = Ground::new();
            let path = ground.file(name);
            drop(filled(&path, journal));
            assert!(dumped(&ground, &path, 2000).is_empty());
            let (bytes, _) = ground.dump(&path).unwrap();
            let back = ground.data().join("to");
            fs::create_dir(&back).unwrap();
            let counts = ground.restore(&back.join(name), &bytes).unwrap();
            assert_eq!(as_map(&counts)["a"], 2000);
            assert_eq!(folder_state(&back).into_keys().collect::<Vec<_>>(), [name]);
        }
    }
}

#[test]
fn a_symbolic_link_leads_to_the_database_and_its_log() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let db = filled(&path, "wal");
    db.execute_batch("PRAGMA wal_autocheckpoint=0; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);")
        .unwrap();
    let other = ground.access.runtime.join("link.db");
    std::os::unix::fs::symlink(&path, &other).unwrap();
    let (_, facts) = ground.dump(&other).unwrap();
    assert_eq!(as_map(&facts.counts)["a"], 2001);
    assert_eq!(fs::read_dir(&ground.access.runtime).unwrap().count(), 1);
}

/// The process reads other files, too: none of that may take a dump's lock away (POSIX locks belong to a process, not to a
/// descriptor).
#[test]
fn looking_at_a_database_takes_no_lock_from_a_dump() {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    drop(filled(&path, "delete"));
    let mut database = ground.open(&path);
    database.probe().unwrap();
    let mut dump = database.dump().unwrap();
    let mut all = vec![0; 10_000];
    dump.read_exact(&mut all).unwrap();
    ground.open(&path).probe().unwrap();
    ground.open(&path).counts().unwrap();
    assert_eq!(ground.restore(&path, b"").unwrap_err().code(), Code::Refused);
    // Another process: a lock of this one does not stop a connection of its own.
    let mut other = super::writers::Other::start("once", &path);
    assert_eq!(other.answer(), "database is locked");
    dump.read_to_end(&mut all).unwrap();
    assert_eq!(as_map(&dump.finish().unwrap().counts)["a"], 2000);
    let mut other = super::writers::Other::start("once", &path);
    assert_eq!(other.answer(), "written");
    assert_eq!(as_map(&checked(&all, 4096).unwrap().counts)["a"], 2000);
}
