//! Others write all along, in every way there is, while what they write to is replaced and taken back: no page of what was live may be of
//! another moment than the rest.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coffre_model::replace::Standing;
use coffre_testkit::strace::{self, Injection};
use rusqlite::Connection;

use super::common::Ground;
use super::replacing_common::{assert_same, assert_sound, loaded, masked, open, pages, without_mark};
use super::replacing_faults::{CALLS, Work, write_plan};
use super::replacing_held::{Worker, megabytes};

/// What a row with this id holds when it was written by transaction `n`.
const BODY: &str = "replace(printf('%.40c', 'x'), 'x', printf('%08d-%08d ', id, n))";

/// One transaction. The sum over all rows and their number are written down in the same transaction: a page of another moment would
/// show.
fn transaction(db: &Connection, counter: &str) -> rusqlite::Result<()> {
    let done = db.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         UPDATE {counter} SET n = n + 1;
         UPDATE t SET n = (SELECT n FROM {counter}) WHERE id IN (SELECT abs(random()) % (SELECT max(id) FROM t) FROM seven);
         DELETE FROM t WHERE id IN (SELECT abs(random()) % (SELECT max(id) FROM t) FROM seven);
         INSERT INTO t(id, n) SELECT (SELECT max(id) FROM t) + i, (SELECT n FROM {counter}) FROM seven;
         UPDATE t SET body = {BODY} WHERE n = (SELECT n FROM {counter});
         UPDATE {counter} SET rows = (SELECT count(*) FROM t), sum = (SELECT sum(n) FROM t);
         COMMIT;"
    ));
    if done.is_err() && !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    done
}

/// Writes until the counter is gone; answers how many transactions were committed.
fn write_all_along(path: &Path, kind: &str, counter: &str) -> (u32, Duration) {
    let connect = || {
        let db = Connection::open(path).unwrap();
        db.busy_timeout(Duration::from_secs(60)).unwrap();
        db.pragma_update(None, "synchronous", if kind == "anew" { "FULL" } else { "OFF" })
            .unwrap();
        match kind {
            "restarts" => db.pragma_update(None, "wal_autocheckpoint", 1).unwrap(),
            "checkpoints" => db.pragma_update(None, "wal_autocheckpoint", 0).unwrap(),
            "rolls back" => db.pragma_update(None, "cache_size", 10).unwrap(),
            _ => {}
        }
        db
    };
    let mut db = connect();
    let (mut committed, mut slowest) = (0, Duration::ZERO);
    for round in 0_u32.. {
        let begun = Instant::now();
        if kind == "anew" {
            db = connect();
        }
        match transaction(&db, counter) {
            Ok(()) => committed += 1,
            Err(e) if e.to_string().contains("no such table") => break,
            Err(e) => panic!("{e}"),
        }
        slowest = slowest.max(begun.elapsed());
        // Who leaves the lock alone for microseconds only may keep it from others for long.
        std::thread::sleep(Duration::from_micros(300));
        match kind {
            "checkpoints" => {
                let how = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][round as usize % 4];
                // A reader may be in its way for long; who waits for it would hold the writer's lock.
                db.busy_timeout(Duration::from_millis(5)).unwrap();
                db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()))
                    .unwrap_or_default();
                db.busy_timeout(Duration::from_secs(60)).unwrap();
            }
            "rolls back" => {
                let many = format!(
                    "BEGIN IMMEDIATE; UPDATE {counter} SET n = -1; UPDATE t SET body = 'gone' WHERE id % 3 = 0; ROLLBACK;"
                );
                if db.execute_batch(&many).is_err() && !db.is_autocommit() {
                    db.execute_batch("ROLLBACK").unwrap();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            // A few at a time, and then some of the rows at the end: the file shrinks, and grows again.
            "vacuums" if round % 6 == 5 => db.execute_batch("VACUUM").unwrap(),
            "shrinks" if round % 3 == 2 => {
                let cut = format!(
                    "BEGIN IMMEDIATE; DELETE FROM t WHERE id > (SELECT max(id) FROM t) * 9 / 10;
                     UPDATE {counter} SET rows = (SELECT count(*) FROM t), sum = (SELECT sum(n) FROM t);
                     PRAGMA incremental_vacuum; COMMIT;"
                );
                if db.execute_batch(&cut).is_err() && !db.is_autocommit() {
                    db.execute_batch("ROLLBACK").unwrap();
                }
                db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    (committed, slowest)
}

/// What the other process does; nothing in an ordinary run of the tests.
#[test]
fn as_another_process() {
    let (Ok(role), Some(path)) = (std::env::var("COFFRE_TEST_WORKER"), std::env::var_os("COFFRE_TEST_FILE")) else {
        return;
    };
    println!("\nanswer: begun");
    let (kind, counter) = role.split_once(" on ").unwrap();
    let (committed, slowest) = write_all_along(Path::new(&path), kind, counter);
    println!("\nanswer: {committed} slowest {} ms", slowest.as_millis());
}

/// Every row is of one and the same moment, which is that of the writer's last transaction.
fn assert_one_moment(path: &Path, counter: &str, told: &str) {
    let committed: i64 = told.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(one_moment(path, counter), committed, "the last transaction");
}

/// Every row is of one and the same moment; answers after which transaction that was.
fn one_moment(path: &Path, counter: &str) -> i64 {
    assert_sound(path);
    let db = Connection::open(path).unwrap();
    let sql = format!(
        "SELECT (SELECT count(*) FROM t WHERE body <> {BODY}), (SELECT count(*) FROM t) - rows, (SELECT sum(n) FROM t) - sum, n FROM {counter}"
    );
    let (bodies, rows, sum, last): (i64, i64, i64, i64) = db
        .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap();
    assert_eq!((bodies, rows, sum), (0, 0, 0), "wrong bodies, rows, sums");
    last
}

/// Rows of the backup that nobody writes to.
fn beside(path: &Path) -> Vec<(i64, String)> {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare("SELECT id, body FROM beside ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

struct Busy {
    ground: Ground,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// A database that is written to, and a backup of it in which a little is different.
fn busy(mode: &str, auto_vacuum: u32, page_size: u32, megabytes: u32) -> Busy {
    let ground = Ground::new();
    let path = ground.file("shop.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF;
         CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, body TEXT); CREATE INDEX by_n ON t(n); CREATE TABLE beside(id INTEGER PRIMARY KEY, body TEXT);
         CREATE TABLE seven(i); CREATE TABLE live_counter(n INT, rows INT, sum INT); INSERT INTO seven VALUES (1), (2), (3), (4), (5), (6), (7);
         BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {megabytes} * 800) INSERT INTO t(id, n) SELECT i, 0 FROM n;
         UPDATE t SET body = {BODY};
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {megabytes} * 500) INSERT INTO beside SELECT i, printf('%.400c', 'y') || i FROM n;
         INSERT INTO live_counter SELECT 0, count(*), sum(n) FROM t; COMMIT;"
    ))
    .unwrap();
    drop(db);
    let copy = ground.access.runtime.join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let db = Connection::open(&copy).unwrap();
    db.execute_batch(
        "ALTER TABLE live_counter RENAME TO stored_counter; UPDATE beside SET body = 'of the backup' || id WHERE id % 40 = 0;
         DELETE FROM t WHERE id % 97 = 0; UPDATE stored_counter SET rows = (SELECT count(*) FROM t), sum = (SELECT sum(n) FROM t);",
    )
    .unwrap();
    drop(db);
    let (bytes, _) = ground.dump(&copy).unwrap();
    Busy { ground, path, bytes }
}

/// Lets the writer come to anything between its first and some more transactions.
fn a_moment() {
    let random = RandomState::new().build_hasher().finish();
    std::thread::sleep(Duration::from_millis(10 + random % 60));
}

fn writer(kind: &str, counter: &str, path: &Path) -> Worker {
    let test = "sqlite::tests::replacing_written::as_another_process";
    Worker::of(test, &format!("{kind} on {counter}"), path)
}

/// Swaps and takes back with somebody at work.
fn replaced_and_taken_back(kind: &str, mode: &str, auto_vacuum: u32, page_size: u32, rounds: u32) {
    let Busy { ground, path, bytes } = busy(mode, auto_vacuum, page_size, megabytes(12));
    let stored = ground.access.runtime.join("stored.db");
    std::fs::write(&stored, &bytes).unwrap();
    let writer = |counter: &str| writer(kind, counter, &path);
    let mut replace = open(&ground.access, &path);
    let mut before_all = 0;
    for round in 0..rounds {
        let what = format!("{kind}, {mode}, auto_vacuum {auto_vacuum}, round {round}");
        let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
        let mut at_work = writer("live_counter");
        a_moment();
        let begun = Instant::now();
        replace.swap(&mut plan).unwrap();
        let swapped = begun.elapsed();
        let told = at_work.answer();
        let kept = ground.file(&plan.kept);
        let total = before_all + told.split(' ').next().unwrap().parse::<i64>().unwrap();
        assert_one_moment(&kept, "live_counter", &total.to_string());
        before_all = total;
        match kind {
            "vacuums" => {
                assert_sound(&path);
                assert_eq!(beside(&path), beside(&stored), "{what}");
            }
            _ => assert_same(&without_mark(pages(&path)), &without_mark(masked(bytes.clone())), &what),
        }
        let before = masked(std::fs::read(&kept).unwrap());
        let mut at_work_again = writer("stored_counter");
        a_moment();
        let begun = Instant::now();
        replace.undo(&plan).unwrap();
        let undone = begun.elapsed();
        let told_again = at_work_again.answer();
        let out = ground.file(&plan.scratch);
        let written = told_again.split(' ').next().unwrap();
        assert_one_moment(&out, "stored_counter", written);
        assert_eq!(one_moment(&path, "live_counter"), before_all);
        // A vacuum may have come after it.
        if kind != "vacuums" {
            assert_same(&pages(&path), &before, &what);
        }
        println!("{what}: swap {swapped:?}, {told}; undo {undone:?}, {told_again}");
        replace.forget(&plan).unwrap();
    }
    assert!(before_all > 0, "nobody wrote");
}

/// Killed at points all over the swap: before or after, and never of two moments.
#[test]
fn killed_while_somebody_writes() {
    for (kind, mode) in [("writes", "wal"), ("restarts", "wal")] {
        let Busy { ground, path, bytes } = busy(mode, 0, 4096, 4);
        let log = ground.access.runtime.join("trace");
        let (mut calls, points) = (0, 10);
        let mut seen = [0, 0];
        for round in 0..=points {
            let mut replace = open(&ground.access, &path);
            let plan = loaded(replace.as_mut(), &bytes).unwrap();
            let file = write_plan(&ground, &plan);
            let mut at_work = writer(kind, "live_counter", &path);
            let swap = Work {
                what: "swap",
                path: &path,
                plan: &file,
                bytes: Path::new(""),
                runtime: &ground.access.runtime,
            };
            let answer = match round {
                0 => swap.run(&strace::trace(&log, CALLS)),
                _ => swap.run(&strace::inject(
                    CALLS,
                    Injection::KillBefore,
                    &(1 + (round - 1) * calls / points).to_string(),
                )),
            };
            if round == 0 {
                assert_eq!(answer.as_deref(), Some("swapped"));
                calls = strace::count(&log, CALLS);
            }
            let what = format!("{kind}, {mode}, {round} of {points}, {calls} calls, {answer:?}");
            match replace.recover(&plan).unwrap() {
                Standing::Before => {
                    seen[0] += 1;
                    drop(at_work);
                    assert!(one_moment(&path, "live_counter") > 0, "{what}");
                    assert!(
                        !ground.file(&plan.kept).exists() && !ground.file(&plan.scratch).exists(),
                        "{what}"
                    );
                }
                Standing::After => {
                    seen[1] += 1;
                    at_work.answer();
                    let last = one_moment(&ground.file(&plan.kept), "live_counter");
                    assert_same(&without_mark(pages(&path)), &without_mark(masked(bytes.clone())), &what);
                    replace.undo(&plan).unwrap();
                    assert_eq!(one_moment(&path, "live_counter"), last, "{what}");
                    replace.forget(&plan).unwrap();
                }
            }
        }
        println!("{kind}, {mode}: {} before, {} after, of {calls} calls", seen[0], seen[1]);
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }
}

#[test]
fn somebody_writes() {
    replaced_and_taken_back("writes", "wal", 0, 1024, 3);
    replaced_and_taken_back("anew", "wal", 0, 4096, 2);
}

#[test]
fn somebody_writes_and_checkpoints() {
    replaced_and_taken_back("checkpoints", "wal", 0, 1024, 3);
}

#[test]
fn somebody_writes_and_the_log_starts_over_each_time() {
    replaced_and_taken_back("restarts", "wal", 2, 1024, 3);
}

#[test]
fn somebody_writes_and_vacuums() {
    replaced_and_taken_back("vacuums", "wal", 0, 4096, 3);
}

#[test]
fn somebody_writes_and_the_file_shrinks_and_grows() {
    replaced_and_taken_back("shrinks", "wal", 1, 1024, 2);
    replaced_and_taken_back("shrinks", "wal", 2, 1024, 2);
}

#[test]
fn somebody_writes_and_rolls_back_what_was_in_the_log() {
    replaced_and_taken_back("rolls back", "wal", 0, 1024, 2);
}

#[test]
fn somebody_writes_with_a_rollback_journal() {
    for kind in ["writes", "shrinks", "rolls back"] {
        replaced_and_taken_back(kind, "delete", 2, 1024, 2);
    }
}
