//! Others write while a dump is made: threads of this process, and processes of their own.
#![allow(
    clippy::disallowed_methods,
    reason = "the other process is this test program itself, and is killed with the test"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coffre_model::Code;
use coffre_model::cancel::Reason;
use rusqlite::Connection;

use super::common::{Ground, application, as_map, checked, folder_state, plain_counts};
use crate::sqlite::dump::{PageDump, Patience};
use crate::sqlite::reading::Reading;
use coffre_model::database::{Access, Dump};

/// Another process with a connection of its own. Killed when dropped.
pub(super) struct Other {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Other {
    /// Starts this test program again, as a writer.
    pub(super) fn start(role: &str, path: &Path) -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sqlite::tests::writers::as_another_process",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("COFFRE_TEST_WRITER", role)
            .env("COFFRE_TEST_FILE", path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Other { child, answers }
    }

    /// The next thing that it says.
    pub(super) fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "it said nothing");
            if let Some((_, answer)) = line.trim_end().split_once("answer: ") {
                return answer.to_owned();
            }
        }
    }

    /// As a power cut would.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// What the other process does; nothing in an ordinary run of the tests.
#[test]
fn as_another_process() {
    let (Ok(role), Some(path)) = (std::env::var("COFFRE_TEST_WRITER"), std::env::var_os("COFFRE_TEST_FILE")) else {
        return;
    };
    let path = PathBuf::from(path);
    let db = Connection::open(&path).unwrap();
    match role.as_str() {
        "once" => {
            db.busy_timeout(Duration::ZERO).unwrap();
            match db.execute_batch("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);") {
                Ok(()) => println!("\nanswer: written"),
                Err(e) => println!("\nanswer: {e}"),
            }
        }
        "for ever" => {
            db.execute_batch("PRAGMA synchronous=OFF; PRAGMA busy_timeout=60000;")
                .unwrap();
            println!("\nanswer: begun");
            loop {
                transfer(&db).unwrap();
                breathe();
            }
        }
        "dies while writing" => {
            db.execute_batch(
                "PRAGMA cache_size=5; BEGIN IMMEDIATE; UPDATE accounts SET filler = randomblob(400); DELETE FROM log;",
            )
            .unwrap();
            println!("\nanswer: in the middle");
            std::thread::sleep(Duration::from_secs(3600));
        }
        "holds it" => {
            db.execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
            println!("\nanswer: held");
            std::thread::sleep(Duration::from_secs(3600));
        }
        other => panic!("{other}"),
    }
}

/// A bank: what leaves one account arrives at another, and is written down, in one transaction. The sum never changes; the log has as
/// many rows as the counter says.
fn bank(path: &Path, journal: &str, accounts: u32) -> Connection {
    let db = application(path, journal);
    db.execute_batch(&format!(
        "CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INT, filler BLOB);
         CREATE TABLE log(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX log_body ON log(body);
         CREATE TABLE counter(n INT); INSERT INTO counter VALUES (0);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {accounts})
           INSERT INTO accounts SELECT i, 100, randomblob(400) FROM n;"
    ))
    .unwrap();
    db
}

/// One transaction.
fn transfer(db: &Connection) -> rusqlite::Result<()> {
    let work = "BEGIN IMMEDIATE;
        UPDATE accounts SET balance = balance - 7, filler = randomblob(380) WHERE id = (SELECT n % 500 + 1 FROM counter);
        UPDATE accounts SET balance = balance + 7 WHERE id = (SELECT n * 7 % 500 + 1 FROM counter);
        INSERT INTO log(body) VALUES (hex(randomblob(30)));
        UPDATE counter SET n = n + 1;
        COMMIT;";
    let done = db.execute_batch(work);
    if done.is_err() && !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    done
}

/// Between two transactions. SQLite's locks know no queue: who waits asks again every 100 ms, and where somebody else holds the file for
/// 99 % of the time, a minute of asking may end with nothing, whether a dump goes on or not.
fn breathe() {
    std::thread::sleep(Duration::from_millis(1));
}

/// What must hold in every state that a transaction left.
fn assert_balanced(bytes: &[u8], ground: &Ground, name: &str) -> u64 {
    let path = ground.access.runtime.join(name);
    std::fs::write(&path, bytes).unwrap();
    let db = Connection::open(&path).unwrap();
    let (logged, counted, wrong): (i64, i64, i64) = db
        .query_row(
            "SELECT (SELECT count(*) FROM log), (SELECT n FROM counter), (SELECT sum(balance) - 100 * count(*) FROM accounts)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(logged, counted, "log and counter are of different transactions");
    assert_eq!(wrong, 0);
    let ok: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(ok, "ok");
    drop(db);
    std::fs::remove_file(path).unwrap();
    u64::try_from(logged).unwrap()
}

/// A thread that commits all along, and counts.
struct Hammer {
    commits: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    enough: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hammer {
    fn start(path: &Path) -> Hammer {
        let (commits, failures, enough): (Arc<AtomicU64>, Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let (path, c, f, e) = (
            path.to_owned(),
            Arc::clone(&commits),
            Arc::clone(&failures),
            Arc::clone(&enough),
        );
        let thread = std::thread::spawn(move || {
            let db = Connection::open(&path).unwrap();
            db.execute_batch("PRAGMA synchronous=OFF; PRAGMA busy_timeout=60000;")
                .unwrap();
            while !e.load(Ordering::SeqCst) {
                match transfer(&db) {
                    Ok(()) => {
                        c.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => f.lock().unwrap().push(error.to_string()),
                }
                breathe();
            }
        });
        Hammer {
            commits,
            failures,
            enough,
            thread: Some(thread),
        }
    }

    fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Waits for more commits.
    fn wait_for(&self, more: u64) {
        let from = self.commits();
        while self.commits() < from + more {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(mut self) -> u64 {
        self.enough.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        assert!(
            self.failures.lock().unwrap().is_empty(),
            "{:?}",
            self.failures.lock().unwrap()
        );
        self.commits()
    }
}

/// Reads a dump slowly: after every piece the writer commits some more.
fn slowly(dump: &mut dyn Dump, piece: usize, mut between: impl FnMut()) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), vec![0; piece]);
    loop {
        let got = dump.read(&mut bytes).unwrap();
        if got == 0 {
            return all;
        }
        all.extend_from_slice(&bytes[..got]);
        between();
    }
}

/// A dump that loses its patience earlier than usual.
fn started(path: &Path, access: &Access, patience: Patience) -> PageDump {
    PageDump::start(Reading::open(path, access).unwrap(), access, patience).unwrap()
}

#[test]
fn in_wal_mode_writers_go_on_and_the_dump_is_one_state() {
    let ground = Ground::new();
    let path = ground.file("bank.db");
    drop(bank(&path, "wal", 3000));
    let mut other = Other::start("for ever", &path);
    assert_eq!(other.answer(), "begun");
    let hammer = Hammer::start(&path);
    hammer.wait_for(20);
    for round in 0..4 {
        let mut database = ground.open(&path);
        database.probe().unwrap();
        let mut dump = database.dump().unwrap();
        let before = hammer.commits();
        let bytes = slowly(dump.as_mut(), 100_000, || hammer.wait_for(3));
        assert!(hammer.commits() > before + 30, "others wrote while pages were read");
        // Counted long after the first page was read, and yet of the very same state.
        let counts = as_map(&dump.finish().unwrap().counts);
        let logged = assert_balanced(&bytes, &ground, &format!("{round}.db"));
        assert_eq!(counts["log"], logged);
        assert_eq!(as_map(&checked(&bytes, 4096).unwrap().counts), counts);
    }
    hammer.end();
    other.kill();
}

/// In the other journal modes nobody can commit while somebody reads. So the dump steps aside, and reads on from a private file.
#[test]
fn in_rollback_mode_writers_wait_a_moment_only() {
    for journal in ["delete", "persist"] {
        let ground = Ground::new();
        let path = ground.file("bank.db");
        drop(bank(&path, journal, 3000));
        let mut other = Other::start("for ever", &path);
        assert_eq!(other.answer(), "begun");
        let hammer = Hammer::start(&path);
        hammer.wait_for(5);
        let mut database = ground.open(&path);
        database.probe().unwrap();
        let mut dump = database.dump().unwrap();
        // Waiting for commits in the middle of the dump: this ends only because the dump gives its lock back.
        let mut all = vec![0; 50_000];
        dump.read_exact(&mut all).unwrap();
        hammer.wait_for(10);
        all.extend(slowly(dump.as_mut(), 100_000, || hammer.wait_for(1)));
        let facts = dump.finish().unwrap();
        let logged = assert_balanced(&all, &ground, "copy.db");
        assert_eq!(as_map(&facts.counts)["log"], logged);
        assert_eq!(facts.remarks, []);
        hammer.end();
        other.kill();
    }
}

#[test]
fn without_room_to_step_aside_writers_wait_and_a_remark_says_so() {
    let mut ground = Ground::new();
    let path = ground.file("bank.db");
    let db = bank(&path, "delete", 1000);
    ground.access.runtime = ground.file("is not there");
    let patience = Patience {
        look: Duration::from_millis(1),
        looks: 1,
        ..Patience::USUAL
    };
    let mut dump = started(&path, &ground.access, patience);
    let mut all = vec![0; 5_000];
    dump.read_exact(&mut all).unwrap();
    db.execute_batch("BEGIN IMMEDIATE; DELETE FROM log;").unwrap();
    while dump.is_watched() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        db.execute_batch("PRAGMA busy_timeout=0; COMMIT").is_err(),
        "the lock was given back"
    );
    dump.read_to_end(&mut all).unwrap();
    let facts = Box::new(dump).finish().unwrap();
    assert_eq!(facts.remarks.len(), 1);
    assert_eq!(facts.remarks[0].text(), "sqlite_writers_waited");
    db.execute_batch("COMMIT").unwrap();
    assert_eq!(as_map(&checked(&all, 4096).unwrap().counts), as_map(&facts.counts));
}

#[test]
fn a_log_that_grows_too_much_ends_the_transaction_early() {
    let ground = Ground::new();
    let path = ground.file("bank.db");
    let db = bank(&path, "wal", 3000);
    let patience = Patience {
        look: Duration::from_millis(1),
        log_growth: 100_000,
        ..Patience::USUAL
    };
    let mut dump = started(&path, &ground.access, patience);
    let mut all = vec![0; 5_000];
    dump.read_exact(&mut all).unwrap();
    // While the snapshot is open, a checkpoint cannot bring the whole log home. Once it is over, one can.
    let mut rounds = 0;
    loop {
        transfer(&db).unwrap();
        let (frames, home): (i64, i64) = db
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))
            .unwrap();
        rounds += 1;
        if frames == home {
            break;
        }
    }
    assert!(rounds > 1);
    dump.read_to_end(&mut all).unwrap();
    let facts = Box::new(dump).finish().unwrap();
    assert_eq!(as_map(&facts.counts)["log"], assert_balanced(&all, &ground, "copy.db"));
}

#[test]
fn killed_writers() {
    for journal in ["wal", "delete"] {
        let ground = Ground::new();
        let path = ground.file("bank.db");
        drop(bank(&path, journal, 2000));
        // Many transactions, cut off anywhere.
        let mut other = Other::start("for ever", &path);
        other.answer();
        let db = Connection::open(&path).unwrap();
        while plain_counts(&db)["log"] < 20 {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(db);
        other.kill();
        // One large one, in the middle of which the file is already half of it.
        let mut other = Other::start("dies while writing", &path);
        other.answer();
        other.kill();
        let before = folder_state(&ground.data());
        assert!(before.len() > 1, "something was left: {:?}", before.keys());
        let (bytes, facts) = ground.dump(&path).unwrap();
        assert!(folder_state(&ground.data()) == before, "{journal}");
        let logged = assert_balanced(&bytes, &ground, "copy.db");
        assert!(logged >= 20);
        assert_eq!(as_map(&facts.counts)["log"], logged);
    }
}

#[test]
fn a_lock_that_stays_is_a_lock_timeout() {
    for journal in ["delete", "wal"] {
        let mut ground = Ground::new();
        let path = ground.file("bank.db");
        drop(bank(&path, journal, 10));
        let mut other = Other::start("holds it", &path);
        assert_eq!(other.answer(), "held");
        ground.access.lock_wait = Duration::from_millis(50);
        let error = ground.open(&path).probe().unwrap_err();
        assert_eq!(
            (error.code(), error.text()),
            (Code::LockTimeout, "sqlite_locked"),
            "{journal}"
        );
        ground.access.lock_wait = Duration::from_secs(3600);
        let cancel = ground.access.cancel.clone();
        let waiting = std::thread::spawn(move || ground.open(&path).probe().unwrap_err().code());
        cancel.cancel(Reason::Interrupt);
        assert_eq!(waiting.join().unwrap(), Code::Cancelled);
    }
}

#[test]
fn cancelling() {
    let ground = Ground::new();
    let path = ground.file("bank.db");
    drop(bank(&path, "delete", 1000));
    let mut database = ground.open(&path);
    database.probe().unwrap();
    let mut dump = database.dump().unwrap();
    dump.read_exact(&mut [0; 5000]).unwrap();
    ground.access.cancel.cancel(Reason::Terminate);
    for _ in 0..2 {
        let error = dump.read(&mut [0; 5000]).unwrap_err();
        let error = coffre_model::error::from_io(error, |e| panic!("{e}"));
        assert_eq!(
            (error.code(), error.detail("status").as_deref()),
            (Code::Cancelled, Some("143"))
        );
    }
    assert_eq!(dump.finish().unwrap_err().code(), Code::Cancelled);
    // The lock is gone with it.
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA busy_timeout=0; DELETE FROM log").unwrap();
}

/// `count(*)` and `quick_check` are single steps that may take minutes: they are interrupted from outside.
#[test]
fn a_long_step_is_interrupted() {
    let db = Connection::open_in_memory().unwrap();
    let cancel = coffre_model::Cancel::new();
    let asked = AtomicBool::new(false);
    let stop = || {
        // The first question comes before the work, the next ones while it goes on for ever.
        if asked.swap(true, Ordering::SeqCst) {
            cancel.cancel(Reason::Interrupt);
        }
        cancel.check()
    };
    let result = crate::sqlite::facts::interruptible(&db, &stop, || {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n";
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|e| crate::sqlite::errors::reading(&e, Path::new("/x")))
    });
    assert_eq!(result.unwrap_err().detail("status").as_deref(), Some("130"));
}

/// Dropping a dump in the middle gives everything back at once, also while pages are being taken aside.
#[test]
fn a_dropped_dump_leaves_nothing() {
    let ground = Ground::new();
    let path = ground.file("bank.db");
    let db = bank(&path, "delete", 3000);
    for _ in 0..5 {
        let patience = Patience {
            look: Duration::from_millis(1),
            looks: 1,
            ..Patience::USUAL
        };
        let mut dump = started(&path, &ground.access, patience);
        dump.read_exact(&mut [0; 5000]).unwrap();
        db.execute_batch("BEGIN IMMEDIATE; DELETE FROM log;").unwrap();
        drop(dump);
        db.execute_batch("COMMIT").unwrap();
        assert_eq!(std::fs::read_dir(&ground.access.runtime).unwrap().count(), 0);
    }
}
