//! Killed at any system call, and without room: exactly before, or exactly the backup.
#![allow(
    clippy::disallowed_methods,
    reason = "the other process is this test program itself, and ends with the test"
)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use coffre_model::cancel::Cancel;
use coffre_model::database::Access;
use coffre_model::replace::{Replacement, Standing};
use coffre_testkit::disk::{SmallDisk, file_size_limit};
use coffre_testkit::strace::{self, Injection};
use rusqlite::Connection;

use super::common::{Ground, SHAPES, Shape};
use super::replacing_common::{assert_same, assert_sound, journal, loaded, masked, names, open, pages, without_mark};

/// Every call that changes a file or makes it durable.
pub(super) const CALLS: &str =
    "pwrite64,write,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,openat";

/// What another process is to do.
pub(super) struct Work<'a> {
    pub(super) what: &'a str,
    pub(super) path: &'a Path,
    /// Where the plan lies, or is to be written.
    pub(super) plan: &'a Path,
    /// A plain dump, to be loaded.
    pub(super) bytes: &'a Path,
    pub(super) runtime: &'a Path,
}

impl Work<'_> {
    /// What it answered; nothing where it was killed.
    pub(super) fn run(&self, prefix: &[OsString]) -> Option<String> {
        let mut words: Vec<OsString> = prefix.to_vec();
        words.push(std::env::current_exe().unwrap().into_os_string());
        words.extend(
            [
                "--exact",
                "sqlite::tests::replacing_faults::as_another_process",
                "--nocapture",
                "--test-threads=1",
            ]
            .map(OsString::from),
        );
        let done = Command::new(&words[0])
            .args(&words[1..])
            .env("COFFRE_TEST_REPLACE", self.what)
            .env("COFFRE_TEST_FILE", self.path)
            .env("COFFRE_TEST_PLAN", self.plan)
            .env("COFFRE_TEST_BYTES", self.bytes)
            .env("COFFRE_TEST_RUNTIME", self.runtime)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        text.lines()
            .find_map(|line| line.split_once("answer: "))
            .map(|(_, answer)| answer.to_owned())
    }
}

/// What the other process does; nothing in an ordinary run of the tests.
#[test]
fn as_another_process() {
    let Ok(what) = std::env::var("COFFRE_TEST_REPLACE") else {
        return;
    };
    let place = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let access = Access {
        password: None,
        runtime: place("COFFRE_TEST_RUNTIME"),
        tool_paths: Vec::new(),
        stall: Duration::from_secs(60),
        lock_wait: Duration::from_secs(10),
        cancel: Cancel::new(),
    };
    let mut replace = open(&access, &place("COFFRE_TEST_FILE"));
    let plan_path = place("COFFRE_TEST_PLAN");
    let plan = || -> Replacement { serde_json::from_slice(&fs::read(&plan_path).unwrap()).unwrap() };
    let done = match what.as_str() {
        "swap" => replace.swap(&mut plan()).map(|()| "swapped".to_owned()),
        "undo" => replace.undo(&plan()).map(|()| "undone".to_owned()),
        "recover" => replace.recover(&plan()).map(|standing| format!("{standing:?}")),
        "all" => (|| {
            let mut plan = replace.plan(&coffre_model::Id::new())?;
            fs::write(&plan_path, serde_json::to_vec(&plan).unwrap()).unwrap();
            replace.prepare(&mut plan)?;
            let mut load = replace.load(&plan, coffre_model::database::DumpFormat::Sqlite)?;
            std::io::Write::write_all(&mut load, &fs::read(place("COFFRE_TEST_BYTES")).unwrap())
                .map_err(|e| coffre_model::error::from_io(e, |e| panic!("{e}")))?;
            load.finish()?;
            replace.swap(&mut plan).map(|()| "swapped".to_owned())
        })(),
        other => panic!("{other}"),
    };
    match done {
        Ok(done) => println!("\nanswer: {done}"),
        Err(error) => println!("\nanswer: {} {} {error}", error.code(), error.text()),
    }
}

/// A database with so many rows of 4 kB.
fn filled(path: &Path, shape: Shape, rows: u32, tag: &str) {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "page_size", shape.page_size).unwrap();
    db.pragma_update(None, "auto_vacuum", shape.auto_vacuum).unwrap();
    db.pragma_update(None, "journal_mode", shape.journal).unwrap();
    db.execute_batch(&format!(
        "PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, tag TEXT, body BLOB); BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {rows})
           INSERT INTO t SELECT i, '{tag}', randomblob(4000) FROM n; COMMIT;"
    ))
    .unwrap();
}

pub(super) fn write_plan(ground: &Ground, plan: &Replacement) -> PathBuf {
    let path = ground.access.runtime.join("plan.json");
    fs::write(&path, serde_json::to_vec(plan).unwrap()).unwrap();
    path
}

/// Kills a swap, and then an undo, at points all over their course; answers how often each outcome was seen.
fn killed_anywhere(live: Shape, rows: u32, stored: Shape, points: usize, held: bool) -> [usize; 4] {
    let source = Ground::new();
    filled(&source.file("b.db"), stored, rows + 20, "backup");
    let (bytes, _) = source.dump(&source.file("b.db")).unwrap();
    let ground = Ground::new();
    let path = ground.file("shop.db");
    filled(&path, live, rows, "live");
    let mode = journal(&path);
    let before = pages(&path);
    let after = masked(bytes.clone());
    let mut seen = [0; 4];
    let work = |what| -> (Ground, Work<'_>) {
        let work = Work {
            what,
            path: &path,
            plan: Path::new(""),
            bytes: Path::new(""),
            runtime: &ground.access.runtime,
        };
        (Ground::new(), work)
    };
    // How many calls one whole run makes: strace counts them for each thread.
    let log = ground.access.runtime.join("trace");
    let mut calls = [0, 0];
    for round in 0..=points {
        let mut replace = open(&ground.access, &path);
        let plan = loaded(replace.as_mut(), &bytes).unwrap();
        let file = write_plan(&ground, &plan);
        // Somebody who has it open all along, and has read from it.
        let application = held.then(|| {
            let db = Connection::open(&path).unwrap();
            db.busy_timeout(Duration::from_secs(60)).unwrap();
            db
        });
        let tag = |db: &Connection| -> String { db.query_row("SELECT max(tag) FROM t", [], |row| row.get(0)).unwrap() };
        if let Some(db) = &application {
            assert_eq!(tag(db), "live");
        }
        let prefix = |calls: usize| match round {
            0 => strace::trace(&log, CALLS),
            _ => strace::inject(CALLS, Injection::KillBefore, &(1 + (round - 1) * calls / points).to_string()),
        };
        let (_ground, mut swap) = work("swap");
        swap.plan = &file;
        let answer = swap.run(&prefix(calls[0]));
        if round == 0 {
            assert_eq!(answer.as_deref(), Some("swapped"));
            calls[0] = strace::count(&log, CALLS);
        }
        let standing = replace.recover(&plan).unwrap();
        assert_eq!(replace.recover(&plan).unwrap(), standing, "asked twice");
        assert_eq!(replace.remarks(), []);
        assert_sound(&path);
        let what = format!("swap, {round} of {points}, {live:?} {stored:?} {answer:?}");
        match standing {
            Standing::Before => {
                seen[0] += 1;
                assert!(round > 0);
                assert_same(&pages(&path), &before, &what);
                drop(application);
                assert_eq!(journal(&path), mode, "{what}");
                assert_eq!(names(&ground.data()).into_keys().collect::<Vec<_>>(), ["shop.db"], "{what}");
                continue;
            }
            Standing::After => {
                seen[1] += 1;
                assert_same(&without_mark(pages(&path)), &without_mark(after.clone()), &what);
                assert_same(&masked(fs::read(ground.file(&plan.kept)).unwrap()), &before, &what);
                assert!(!ground.file(&plan.scratch).exists(), "{what}");
                if let Some(db) = &application {
                    assert_eq!(tag(db), "backup");
                }
            }
        }
        let (_ground, mut undo) = work("undo");
        undo.plan = &file;
        // Mostly swaps end as `Before`: the undo's points are spread by themselves.
        let answer = match round {
            0 => undo.run(&strace::trace(&log, CALLS)),
            _ => None,
        };
        if round == 0 {
            assert_eq!(answer.as_deref(), Some("undone"));
            calls[1] = strace::count(&log, CALLS);
        }
        let mut at = 1;
        while !replace.is_undone(&plan).unwrap() {
            let answer = undo.run(&strace::inject(CALLS, Injection::KillBefore, &at.to_string()));
            let undone = replace.is_undone(&plan).unwrap();
            assert_eq!(replace.is_undone(&plan).unwrap(), undone, "asked twice");
            let what = format!("undo, {at} of {}, {live:?} {stored:?} {answer:?}", calls[1]);
            assert_sound(&path);
            seen[2 + usize::from(undone)] += 1;
            if !undone {
                assert_same(&without_mark(pages(&path)), &without_mark(after.clone()), &what);
                assert_same(&masked(fs::read(ground.file(&plan.kept)).unwrap()), &before, &what);
            }
            at += (calls[1] / points).max(1);
        }
        assert_same(&pages(&path), &before, "undone");
        if let Some(db) = &application {
            assert_eq!(tag(db), "live");
        }
        drop(application);
        let out = masked(fs::read(ground.file(&plan.scratch)).unwrap());
        assert_same(&without_mark(out), &without_mark(after.clone()), "kept by the undo");
        replace.forget(&plan).unwrap();
        // What a kill during the last tidying left, the next one brings in order.
        let left = names(&ground.data());
        assert!(left.keys().all(|name| name.starts_with("shop.db")), "{left:?}");
        if journal(&path) != mode {
            Connection::open(&path)
                .unwrap()
                .pragma_update(None, "journal_mode", &mode)
                .unwrap();
        }
    }
    println!(
        "swap: {} before, {} after; undo: {} not yet, {} undone, of {calls:?} calls",
        seen[0], seen[1], seen[2], seen[3]
    );
    seen
}

const SMALL: Shape = Shape {
    journal: "delete",
    ..SHAPES[4]
};
const LOG: Shape = SHAPES[3];

#[test]
fn killed_in_a_file_with_a_log() {
    for held in [false, true] {
        let seen = killed_anywhere(LOG, 200, LOG, 20, held);
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }
}

#[test]
fn killed_in_a_small_file_with_a_rollback_journal() {
    for held in [false, true] {
        let seen = killed_anywhere(SMALL, 200, SMALL, 20, held);
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }
}

#[test]
fn killed_in_a_large_file_with_a_rollback_journal() {
    let seen = killed_anywhere(SMALL, 2500, SMALL, 8, false);
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
}

#[test]
fn killed_where_the_page_size_changes() {
    for (live, stored) in [(SMALL, SHAPES[0]), (LOG, SHAPES[6])] {
        let seen = killed_anywhere(live, 200, stored, 16, false);
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }
}

/// On a disk that is full sooner or later: the live file is what it was, and all room is given back.
#[test]
fn without_room() {
    for shape in [LOG, SMALL] {
        let source = Ground::new();
        filled(&source.file("b.db"), shape, 2600, "backup");
        let (bytes, _) = source.dump(&source.file("b.db")).unwrap();
        let stored = source.access.runtime.join("bytes");
        fs::write(&stored, &bytes).unwrap();
        let mut seen = Vec::new();
        for free in [
            0,
            100 << 10,
            9 << 20,
            12 << 20,
            20 << 20,
            23 << 20,
            30 << 20,
            33 << 20,
            36 << 20,
            60 << 20,
        ] {
            let ground = Ground::new();
            let disk = SmallDisk::mount(&ground.data(), 100);
            // SQLite would follow the link into the other file system, and leave it: the test looks at copies.
            let seen_there = || {
                let copy = tempfile::tempdir().unwrap();
                for name in names(&disk.seen()).into_keys().filter(|name| name.starts_with("shop.db")) {
                    fs::copy(disk.seen().join(&name), copy.path().join(&name)).unwrap();
                }
                assert_sound(&copy.path().join("shop.db"));
                pages(&copy.path().join("shop.db"))
            };
            let made = ground.access.runtime.join("made.db");
            filled(&made, shape, 2500, "live");
            fs::copy(&made, disk.seen().join("shop.db")).unwrap();
            let before = seen_there();
            disk.fill(free);
            let room = disk.free();
            let plan = ground.access.runtime.join("plan.json");
            let work = |what| Work {
                what,
                path: Box::leak(ground.file("shop.db").into_boxed_path()),
                plan: Box::leak(plan.clone().into_boxed_path()),
                bytes: Box::leak(stored.clone().into_boxed_path()),
                runtime: Box::leak(ground.access.runtime.clone().into_boxed_path()),
            };
            let answer = work("all").run(&disk.prefix()).unwrap();
            let standing = match plan.exists() {
                true => work("recover").run(&disk.prefix()).unwrap(),
                // Even a look needs room where the log's shared memory has to be made first.
                false => "Before".to_owned(),
            };
            seen.push(format!("{:?} {free}: {answer:.60} {standing}", shape.journal));
            if answer == "swapped" {
                assert_eq!(standing, "After");
                assert_same(&without_mark(seen_there()), &without_mark(masked(bytes.clone())), "swapped");
            } else {
                assert!(answer.starts_with("DEST_FULL sqlite_target_full"), "{answer}");
                assert_eq!(standing, "Before");
                assert_same(&seen_there(), &before, &answer);
                let left = names(&disk.seen());
                // SQLite's own, and empty, where there was no room even for a look.
                let empty = |name: &str| !plan.exists() && name.starts_with("shop.db-");
                assert!(
                    left.keys().all(|name| name == "shop.db" || name == "ballast" || empty(name)),
                    "{left:?}"
                );
                assert!(disk.free() + (256 << 10) >= room, "{} of {room}", disk.free());
            }
        }
        println!("{}", seen.join("\n"));
        assert!(
            seen.last().unwrap().contains("After") && seen.first().unwrap().contains("Before"),
            "{seen:?}"
        );
    }
}

/// A limit of a file's size is no full disk for SQLite; for a person it is.
#[test]
fn a_file_that_may_not_grow() {
    let source = Ground::new();
    filled(&source.file("b.db"), LOG, 600, "backup");
    let (bytes, _) = source.dump(&source.file("b.db")).unwrap();
    let stored = source.access.runtime.join("bytes");
    fs::write(&stored, &bytes).unwrap();
    let ground = Ground::new();
    let path = ground.file("shop.db");
    filled(&path, LOG, 590, "live");
    let before = pages(&path);
    let plan = ground.access.runtime.join("plan.json");
    let work = |what| Work {
        what,
        path: &path,
        plan: &plan,
        bytes: &stored,
        runtime: &ground.access.runtime,
    };
    // Enough for the copy, but not for the log, whose frames have a head of their own.
    for limit in [1 << 20, bytes.len() as u64 + 8192] {
        let answer = work("all").run(&file_size_limit(limit)).unwrap();
        assert!(answer.starts_with("DEST_FULL sqlite_target_full"), "{limit} {answer}");
        assert_eq!(work("recover").run(&[]).unwrap(), "Before");
        assert_same(&pages(&path), &before, &answer);
        assert_eq!(names(&ground.data()).len(), 1);
    }
}
