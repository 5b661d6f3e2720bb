//! Others read and write all along, in processes of their own, through connections that they have had open since before.
#![allow(
    clippy::disallowed_methods,
    reason = "the other process is this test program itself, and is killed with the test"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use coffre_model::Code;
use coffre_model::replace::Standing;
use rusqlite::Connection;

use super::common::{Ground, SHAPES, make};
use super::replacing_common::{assert_same, assert_sound, backup, journal, loaded, masked, names, open, pages};

/// Another process that works until its input ends, and then tells.
pub(super) struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
    input: Option<ChildStdin>,
}

impl Worker {
    fn start(role: &str, path: &Path) -> Worker {
        Worker::of("sqlite::tests::replacing_held::as_another_process", role, path)
    }

    /// With one test of this program as its work.
    pub(super) fn of(test: &str, role: &str, path: &Path) -> Worker {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("COFFRE_TEST_WORKER", role)
            .env("COFFRE_TEST_FILE", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take();
        let mut worker = Worker { child, answers, input };
        assert_eq!(worker.answer(), "begun");
        worker
    }

    pub(super) fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "it said nothing");
            if let Some((_, answer)) = line.trim_end().split_once("answer: ") {
                return answer.to_owned();
            }
        }
    }

    /// Lets it come to its end; answers what it tells.
    pub(super) fn end(mut self) -> String {
        drop(self.input.take());
        let answer = self.answer();
        assert!(self.child.wait().unwrap().success());
        answer
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// What the other process does; nothing in an ordinary run of the tests.
#[test]
fn as_another_process() {
    let (Ok(role), Some(path)) = (std::env::var("COFFRE_TEST_WORKER"), std::env::var_os("COFFRE_TEST_FILE")) else {
        return;
    };
    let enough = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::spawn({
        let enough = std::sync::Arc::clone(&enough);
        move || {
            let _its_end = std::io::stdin().read_line(&mut String::new());
            enough.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let over = || enough.load(std::sync::atomic::Ordering::SeqCst);
    let db = Connection::open(PathBuf::from(path)).unwrap();
    println!("\nanswer: begun");
    match role.as_str() {
        // Never waits inside SQLite: how long it cannot read is what it measures.
        "reads" => {
            db.busy_timeout(Duration::ZERO).unwrap();
            let (mut reads, mut longest, mut slowest) = (0_u64, Duration::ZERO, Duration::ZERO);
            let mut since: Option<Instant> = None;
            let mut seen = BTreeSet::new();
            while !over() {
                let begun = Instant::now();
                // One state: the tag of the first, the last and any row, and the number that goes with it.
                let sql = "SELECT (SELECT tag FROM t WHERE id = 1), (SELECT tag FROM t WHERE id = (SELECT max(id) FROM t)),
                                  (SELECT tag FROM t WHERE id = (SELECT max(id) FROM t) * (abs(random()) % 97) / 97 + 1), (SELECT total FROM s)
                                  - (SELECT max(id) FROM t)";
                let got = db.query_row(sql, [], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, i64>(3)?,
                    ))
                });
                match got {
                    Ok((first, last, any, difference)) => {
                        assert!(
                            first == last && last == any && difference == 0,
                            "a mix: {first} {last} {any} {difference}"
                        );
                        seen.insert(first);
                        reads += 1;
                        slowest = slowest.max(begun.elapsed());
                        if let Some(since) = since.take() {
                            longest = longest.max(since.elapsed());
                        }
                    }
                    Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                        since.get_or_insert(begun);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            let seen: Vec<String> = seen.into_iter().collect();
            println!(
                "\nanswer: {reads} reads saw {}; longest without {} ms, slowest {} ms",
                seen.join(" and "),
                longest.as_millis(),
                slowest.as_millis()
            );
        }
        // As applications do: waits, and what it was told is committed must be somewhere.
        "writes" => {
            db.busy_timeout(Duration::from_secs(60)).unwrap();
            let (mut written, mut slowest) = (0, Duration::ZERO);
            while !over() {
                let begun = Instant::now();
                db.execute("INSERT INTO written VALUES (?1)", [written]).unwrap();
                slowest = slowest.max(begun.elapsed());
                written += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            println!("\nanswer: {written} slowest {} ms", slowest.as_millis());
        }
        "holds" => {
            db.execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
            println!("\nanswer: held");
            while !over() {
                std::thread::sleep(Duration::from_millis(5));
            }
            println!("\nanswer: ended");
        }
        "idles" => {
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).unwrap();
            println!("\nanswer: idle");
            while !over() {
                std::thread::sleep(Duration::from_millis(5));
            }
            println!("\nanswer: ended");
        }
        other => panic!("{other}"),
    }
}

/// A database of so many megabytes, all of whose rows are of one state; with a table that applications write to.
fn filled(path: &Path, mode: &str, page_size: u32, megabytes: u32, tag: &str) {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "page_size", page_size).unwrap();
    db.pragma_update(None, "journal_mode", mode).unwrap();
    db.execute_batch(&format!(
        "PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, tag TEXT, body BLOB); CREATE TABLE s(total INT);
         CREATE TABLE written(n INTEGER PRIMARY KEY); BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {megabytes} * 256)
           INSERT INTO t SELECT i, '{tag}', randomblob(3900) FROM n;
         INSERT INTO s SELECT max(id) FROM t; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .unwrap();
}

fn written(path: &Path) -> BTreeSet<i64> {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare("SELECT n FROM written").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// More of it when asked for, so that figures can be had for real sizes.
pub(super) fn megabytes(usual: u32) -> u32 {
    std::env::var("COFFRE_TEST_MEGABYTES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(usual)
}

fn read_and_written_all_along(mode: &str, page_sizes: [u32; 2], megabytes: u32) {
    let source = Ground::new();
    filled(&source.file("b.db"), mode, page_sizes[1], megabytes + 1, "backup");
    let (bytes, _) = source.dump(&source.file("b.db")).unwrap();
    drop(source);
    let ground = Ground::new();
    let path = ground.file("shop.db");
    filled(&path, mode, page_sizes[0], megabytes, "live");
    let writer = Worker::start("writes", &path);
    let undisturbed = Worker::start("reads", &path);
    std::thread::sleep(Duration::from_secs(1));
    println!("  before: reader {}", undisturbed.end());
    let readers = [Worker::start("reads", &path), Worker::start("reads", &path)];
    let mut replace = open(&ground.access, &path);
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    drop(bytes);
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    replace.swap(&mut plan).unwrap();
    let swapped = begun.elapsed();
    std::thread::sleep(Duration::from_millis(200));
    let told = writer.end();
    println!("{mode} {page_sizes:?} {megabytes} MB: swap {swapped:?}; writer {told}");
    for reader in readers {
        let told = reader.end();
        println!("  reader {told}");
        assert!(told.contains("backup and live") || told.contains("live and backup"), "{told}");
    }
    let all: i64 = told.split(' ').next().unwrap().parse().unwrap();
    let (before, after) = (written(&ground.file(&plan.kept)), written(&path));
    assert!(!before.is_empty() && !after.is_empty(), "{} {}", before.len(), after.len());
    assert!(before.is_disjoint(&after));
    assert_eq!(
        before.union(&after).copied().collect::<Vec<_>>(),
        (0..all).collect::<Vec<_>>(),
        "a committed row is lost"
    );
    assert_sound(&ground.file(&plan.kept));
    assert_sound(&path);
    assert_eq!(replace.recover(&plan).unwrap(), Standing::After);

    // And back, with the same people. What was written since the swap is not lost either.
    let readers = [Worker::start("reads", &path), Worker::start("reads", &path)];
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    replace.undo(&plan).unwrap();
    println!("  undo {:?}", begun.elapsed());
    std::thread::sleep(Duration::from_millis(100));
    for reader in readers {
        println!("  reader {}", reader.end());
    }
    assert_eq!(written(&path), before);
    assert_eq!(written(&ground.file(&plan.scratch)), after);
    assert_sound(&path);
    let told: Vec<String> = replace.remarks().iter().map(|e| e.text().to_owned()).collect();
    println!("  {told:?} {:?}", names(&ground.data()));
    assert!(told.iter().all(|text| text == "sqlite_log_stays"), "{told:?}");
}

#[test]
fn with_a_log_nobody_waits_to_read() {
    read_and_written_all_along("wal", [4096, 4096], megabytes(40));
}

#[test]
fn with_a_rollback_journal_nobody_waits_to_read() {
    read_and_written_all_along("delete", [4096, 4096], megabytes(40));
}

#[test]
fn with_a_rollback_journal_and_another_page_size() {
    read_and_written_all_along("delete", [4096, 8192], megabytes(20));
}

/// Typical: a backup of this very database, of which little has changed since.
#[test]
fn little_has_changed() {
    for mode in ["wal", "delete"] {
        let megabytes = megabytes(40);
        let ground = Ground::new();
        let path = ground.file("shop.db");
        filled(&path, mode, 4096, megabytes, "live");
        let (bytes, _) = ground.dump(&path).unwrap();
        let db = Connection::open(&path).unwrap();
        db.execute_batch("UPDATE t SET body = randomblob(3900) WHERE id % 200 = 0")
            .unwrap();
        let before = pages(&path);
        let reader = Worker::start("reads", &path);
        let mut replace = open(&ground.access, &path);
        let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
        let begun = Instant::now();
        replace.swap(&mut plan).unwrap();
        let swapped = begun.elapsed();
        let begun = Instant::now();
        replace.undo(&plan).unwrap();
        println!(
            "{mode} {megabytes} MB, a little: swap {swapped:?}, undo {:?}; reader {}",
            begun.elapsed(),
            reader.end()
        );
        assert_same(&pages(&path), &before, mode);
        drop(db);
        // A small commit needs no log, so the mode never changes.
        assert_eq!(journal(&path), mode);
    }
}

#[test]
fn a_lock_that_stays_is_a_lock_timeout() {
    for mode in ["wal", "delete"] {
        let mut ground = Ground::new();
        let path = ground.file("shop.db");
        filled(&path, mode, 4096, 1, "live");
        let bytes = backup(&ground, SHAPES[3], "");
        ground.access.lock_wait = Duration::from_millis(300);
        let mut replace = open(&ground.access, &path);
        let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
        let before = pages(&path);
        let mut holder = Worker::start("holds", &path);
        assert_eq!(holder.answer(), "held");
        let error = replace.swap(&mut plan).unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::LockTimeout, "sqlite_locked"), "{error}");
        drop(holder);
        assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
        assert_same(&pages(&path), &before, mode);
        // Somebody reads without an end: with a log that is nobody's business, without one it is.
        let reading = Connection::open(&path).unwrap();
        reading.execute_batch("BEGIN; SELECT count(*) FROM t;").unwrap();
        let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
        let swapped = replace.swap(&mut plan);
        match mode {
            "wal" => {
                swapped.unwrap();
                let total: i64 = reading.query_row("SELECT total FROM s", [], |row| row.get(0)).unwrap();
                assert_eq!(total, 256, "the state that it began with");
                reading.execute_batch("COMMIT").unwrap();
                assert!(
                    reading.query_row("SELECT total FROM s", [], |_| Ok(())).is_err(),
                    "no such table"
                );
            }
            _ => {
                assert_eq!(swapped.unwrap_err().code(), Code::LockTimeout);
                reading.execute_batch("COMMIT").unwrap();
                assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
                assert_same(&pages(&path), &before, mode);
                assert_eq!(names(&ground.data()).len(), 1);
            }
        }
    }
}

/// With a log, the page size can change only while nobody else has the file open. Then nothing happens, and it is said.
#[test]
fn another_page_size_while_somebody_has_the_log_open() {
    let mut ground = Ground::new();
    let path = ground.file("shop.db");
    drop(make(&path, SHAPES[3]));
    let (before, bytes) = (pages(&path), backup(&ground, SHAPES[6], ""));
    ground.access.lock_wait = Duration::from_millis(300);
    let mut idle = Worker::start("idles", &path);
    assert_eq!(idle.answer(), "idle");
    let mut replace = open(&ground.access, &path);
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    let error = replace.swap(&mut plan).unwrap_err();
    assert_eq!(
        (error.code(), error.text()),
        (Code::LockTimeout, "sqlite_page_size_held"),
        "{error}"
    );
    assert_eq!(replace.recover(&plan).unwrap(), Standing::Before);
    assert_same(&pages(&path), &before, "as before");
    idle.end();
    let mut plan = loaded(replace.as_mut(), &bytes).unwrap();
    replace.swap(&mut plan).unwrap();
    assert_same(&masked(std::fs::read(ground.file(&plan.kept)).unwrap()), &before, "kept");
    assert_eq!(journal(&path), "wal");
}
