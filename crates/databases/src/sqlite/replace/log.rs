//! Which pages changed between two moments, by the write-ahead log: every page that a transaction changed has a frame there, whose head
//! names it (<https://www.sqlite.org/walformat.html>).
//!
//! A [`Position`] is where the log ended: how many frames were committed, and the salts, which are others each time the log starts over.
//! Pages are compared after a position was read, so the state in which each was compared is that position's or a later one. What can have
//! changed since is named by the frames behind the position, up to where the log ends now. None is missing:
//!
//! - *The same log.* A log that starts over gets new salts (one is counted up, the other is random), also one that was cut to nothing or made
//!   anew. Other salts than remembered, or fewer frames, mean that nothing is known: then everything is compared.
//! - *The same frames.* A frame's checksum covers all frames before it. The last remembered frame must still have the checksum that the index
//!   gave for it, and each frame behind it the log's salts.
//! - *Checkpoints* copy the newest committed content of pages that have a frame into the database, which changes nothing that a reader sees. A page
//!   without a frame behind the position is, in the log or the database, what it was.
//! - *Rolled back writers* leave frames behind the committed end. They are not looked at; the next commit overwrites them.
//! - *A database that shrank and grew again* (vacuum, automatic or not) may have pages that were never written since: a checkpoint cuts the
//!   file, and what is added reads as zeros. Each commit says in its last frame how many pages there are, so whatever lies behind the least of these
//!   numbers counts as changed.
//!
//! A page too many is only compared in vain.
//!
//! While a [`Watch`] reads, the log can start over once at most: where the whole log was home already when it began, the next writer may
//! start it over, but what that one commits cannot be brought home, because the reader relies on the database file alone; where it
//! was not, the reader needs the log itself.

use coffre_model::Result;
use coffre_model::database::Access;
use rusqlite::Connection;

use crate::sqlite::header::be32;
use crate::sqlite::vfs::{LogIndex, MainFile};

use super::live::Live;

/// Bytes before the first frame of a log.
const LOG_HEAD: u64 = 32;
/// Bytes before the page in a frame.
const FRAME_HEAD: usize = 24;
/// The only version of the index that there is.
const VERSION: u32 = 3_007_000;
/// How often the index is read again while somebody writes its header: that takes nanoseconds, or until somebody repairs it.
const TORN: u32 = 1000;
/// How much longer a log may become because it cannot start over. As for a dump.
const GROWTH: u64 = 256 << 20;

/// Where a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// As they are in the log.
    salts: [u8; 8],
    /// Frames that are committed.
    frames: u32,
    /// The checksum of the last of them.
    sum: [u32; 2],
    page_size: usize,
}

/// What changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// Pages with frames, in order, each once.
    pages: Vec<u32>,
    /// The least number of pages that there were after a commit; nothing without a commit.
    least: Option<u32>,
}

/// The sum over a header, as SQLite computes it over words in the machine's order.
fn sum(words: &[u32]) -> [u32; 2] {
    words.chunks_exact(2).fold([0, 0], |[one, two], pair| {
        let one = one.wrapping_add(pair[0]).wrapping_add(two);
        [one, two.wrapping_add(pair[1]).wrapping_add(one)]
    })
}

impl Position {
    /// Where the log ends now, or ended a moment ago; nothing where this connection has no log, or its index is not whole.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Option<Position>> {
        let file = MainFile::of(connection)?;
        for _ in 0..TORN {
            match file.log_index()? {
                None => return Ok(None),
                Some([first, second]) if first == second => return Ok(Position::read(&first)),
                Some(_) => std::hint::spin_loop(),
            }
        }
        Ok(None)
    }

    fn read(index: &LogIndex) -> Option<Position> {
        let [version, _, _, kinds, frames, _, sum0, sum1, salt0, salt1, check @ ..] = *index;
        // One byte each: whether there is an index, and how the log's checksums are computed; then the page size.
        let [ready, _, size @ ..] = kinds.to_ne_bytes();
        let page_size = match u16::from_ne_bytes(size) {
            1 => 65536,
            size => usize::from(size),
        };
        if version != VERSION || ready != 1 || check != sum(&index[..10]) {
            return None;
        }
        let mut salts = [0; 8];
        salts[..4].copy_from_slice(&salt0.to_ne_bytes());
        salts[4..].copy_from_slice(&salt1.to_ne_bytes());
        Some(Position {
            salts,
            frames,
            sum: [sum0, sum1],
            page_size,
        })
    }

    /// What changed from here until now; nothing where the log does not tell. Others may go on writing meanwhile: then more is named than
    /// the caller's transaction sees. To be called inside a transaction, which began after this position was read.
    pub(super) fn changed(&self, connection: &Connection) -> rusqlite::Result<Option<Changed>> {
        let (Some(now), Some(log)) = (Position::of(connection)?, MainFile::log_of(connection)?) else {
            return Ok(None);
        };
        if now.salts != self.salts || now.frames < self.frames {
            return Ok(None);
        }
        let mut changed = Changed {
            pages: Vec::new(),
            least: None,
        };
        if now.frames == self.frames {
            return Ok((now == *self).then_some(changed));
        }
        if (self.frames > 0 && now.page_size != self.page_size) || now.page_size < 512 {
            return Ok(None);
        }
        for frame in self.frames.max(1)..=now.frames {
            let mut head = [0; FRAME_HEAD];
            let at = LOG_HEAD + u64::from(frame - 1) * (now.page_size + FRAME_HEAD) as u64;
            log.read_at(&mut head, at)?;
            let (page, size) = (be32(&head, 0), be32(&head, 4));
            if head[8..16] != self.salts || page == 0 {
                return Ok(None);
            }
            if frame == self.frames {
                // Up to here nothing is asked but whether it is still the same.
                if [be32(&head, 16), be32(&head, 20)] != self.sum {
                    return Ok(None);
                }
                continue;
            }
            changed.pages.push(page);
            if size > 0 {
                changed.least = Some(changed.least.map_or(size, |least| least.min(size)));
            }
        }
        // Where it started over meanwhile, the heads may have been of another log.
        if Position::of(connection)?.is_none_or(|again| again.salts != self.salts) {
            return Ok(None);
        }
        changed.pages.sort_unstable();
        changed.pages.dedup();
        Ok(Some(changed))
    }
}

impl Changed {
    /// The pages to be compared, of a state with so many, where a state with `before` pages was compared last.
    pub(super) fn pages(&self, before: u32, now: u32) -> impl Iterator<Item = u32> + '_ {
        let least = self.least.map_or(before, |least| least.min(before));
        let named = self.pages.iter().copied().take_while(move |page| *page <= least.min(now));
        named.chain(least.saturating_add(1)..=now)
    }
}

/// Keeps the log from starting over, and remembers from where on it is to be looked at.
pub(super) struct Watch {
    /// Reads all the time.
    guard: Option<Live>,
    base: Option<Position>,
}

impl Watch {
    /// From now on. `live` has the log open.
    pub(super) fn begin(live: &Live, access: &Access) -> Result<Watch> {
        let guard = live.again(access)?;
        guard.begin_reading(access)?;
        let base = Position::of(&live.connection).map_err(|e| live.error(&e))?;
        Ok(Watch {
            guard: Some(guard),
            base,
        })
    }

    /// From `position` on; what lies before has been looked at.
    pub(super) fn go_on(&mut self, position: Option<Position>) {
        self.base = position;
    }

    /// Lets go of the log; what is remembered stays.
    pub(super) fn let_go(&mut self) {
        self.guard = None;
    }

    /// Whether the log has started over since. Then this begins anew, too, and what was compared before has to be compared again. Outside of
    /// transactions.
    pub(super) fn began_anew(&mut self, live: &Live) -> Result<bool> {
        let now = Position::of(&live.connection).map_err(|e| live.error(&e))?;
        let (Some(base), Some(now)) = (self.base, now) else {
            self.base = now;
            return Ok(now.is_some());
        };
        if base.salts != now.salts || now.frames < base.frames {
            self.base = Some(now);
            return Ok(true);
        }
        if u64::from(now.frames - base.frames) * (now.page_size + FRAME_HEAD) as u64 > GROWTH {
            self.let_go();
        }
        Ok(false)
    }

    /// What changed since; nothing where that is not known. Inside a transaction.
    pub(super) fn changed(&self, live: &Live) -> Result<Option<Changed>> {
        match self.base {
            Some(base) => base.changed(&live.connection).map_err(|e| live.error(&e)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use coffre_model::cancel::Cancel;
    use proptest::prelude::*;

    use super::*;

    /// What somebody who writes can do.
    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Insert(u32),
        Update(u32),
        Delete(u32),
        /// The last so many percent of the rows.
        Cut(u32),
        /// So large that it is in the log before it is rolled back.
        RollBack,
        RollBackToSavepoint(u32),
        Checkpoint(&'static str),
        Vacuum,
        IncrementalVacuum,
        Schema,
        Reconnect,
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            4 => (1_u32..60).prop_map(Deed::Insert),
            4 => (0_u32..50).prop_map(Deed::Update),
            2 => (0_u32..20).prop_map(Deed::Delete),
            2 => (1_u32..90).prop_map(Deed::Cut),
            2 => Just(Deed::RollBack),
            1 => (0_u32..20).prop_map(Deed::RollBackToSavepoint),
            3 => prop_oneof![Just("PASSIVE"), Just("FULL"), Just("RESTART"), Just("TRUNCATE")].prop_map(Deed::Checkpoint),
            1 => Just(Deed::Vacuum),
            1 => Just(Deed::IncrementalVacuum),
            1 => Just(Deed::Schema),
            1 => Just(Deed::Reconnect),
        ]
    }

    fn connect(path: &Path) -> Connection {
        let db = Connection::open(path).unwrap();
        db.busy_timeout(Duration::ZERO).unwrap();
        db.execute_batch("PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=5;")
            .unwrap();
        db
    }

    /// Does it; answers whether anything was committed.
    fn do_it(db: &mut Connection, path: &Path, deed: Deed) -> bool {
        let version = "SELECT total_changes()";
        let changes = |db: &Connection| db.query_row(version, [], |row| row.get::<_, i64>(0)).unwrap();
        let before = changes(db);
        let sql = match deed {
            Deed::Insert(rows) => format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {rows}) INSERT INTO t(body) SELECT randomblob(300) FROM n"
            ),
            Deed::Update(at) => format!("UPDATE t SET body = randomblob(200) WHERE id % 50 = {at}"),
            Deed::Delete(at) => format!("DELETE FROM t WHERE id % 20 = {at}"),
            Deed::Cut(percent) => format!("DELETE FROM t WHERE id > (SELECT max(id) FROM t) * {percent} / 100"),
            Deed::RollBack => {
                db.execute_batch("BEGIN IMMEDIATE; UPDATE t SET body = randomblob(500); ROLLBACK").unwrap();
                return false;
            }
            Deed::RollBackToSavepoint(at) => format!(
                "BEGIN IMMEDIATE; UPDATE t SET body = randomblob(100) WHERE id % 20 = {at}; SAVEPOINT s; UPDATE t SET body = randomblob(400);
                 ROLLBACK TO s; DELETE FROM t WHERE id % 19 = {at}; COMMIT"
            ),
            Deed::Checkpoint(how) => {
                // Somebody may be in its way.
                let _busy = db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()));
                return false;
            }
            Deed::Vacuum => {
                db.execute_batch("VACUUM").unwrap();
                return true;
            }
            Deed::IncrementalVacuum => "PRAGMA incremental_vacuum".to_owned(),
            Deed::Schema => {
                db.execute_batch("CREATE TABLE IF NOT EXISTS more(a); DROP TABLE more;").unwrap();
                return true;
            }
            Deed::Reconnect => {
                *db = connect(path);
                return false;
            }
        };
        db.execute_batch(&sql).unwrap();
        changes(db) != before
    }

    fn all_pages(connection: &Connection) -> Vec<Vec<u8>> {
        let mut statement = connection.prepare("SELECT data FROM sqlite_dbpage").unwrap();
        let pages = statement.query_map([], |row| row.get(0)).unwrap();
        pages.collect::<rusqlite::Result<_>>().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
        #[test]
        fn every_page_that_differs_is_named(
            page_size in prop_oneof![Just(512), Just(1024), Just(4096), Just(65536)],
            auto_vacuum in 0..3,
            guarded in any::<bool>(),
            earlier in proptest::collection::vec(deed(), 0..6),
            between in proptest::collection::vec(deed(), 0..5),
            later in proptest::collection::vec(deed(), 0..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("live.db");
            let mut db = connect(&path);
            db.execute_batch(&format!(
                "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)"
            )).unwrap();
            for deed in earlier.into_iter().chain([Deed::Insert(50)]) {
                do_it(&mut db, &path, deed);
            }
            let access = Access {
                password: None,
                runtime: folder.path().to_owned(),
                tool_paths: Vec::new(),
                stall: Duration::from_secs(60),
                lock_wait: Duration::from_secs(5),
                cancel: Cancel::new(),
            };
            let live = Live::open(&path, &path, &access).unwrap();
            let position = Position::of(&live.connection).unwrap().expect("a log is there");
            let watched = live.again(&access).unwrap();
            let mut watch = Watch::begin(&watched, &access).unwrap();
            if !guarded {
                watch.let_go();
            }
            let mut wrote = false;
            for deed in between {
                wrote |= do_it(&mut db, &path, deed);
            }
            let anew = watch.began_anew(&watched).unwrap();
            let before = all_pages(&live.connection);
            let count = u32::try_from(before.len()).unwrap();
            for deed in later {
                do_it(&mut db, &path, deed);
            }
            for under_the_lock in [false, true] {
                live.connection.execute_batch(if under_the_lock { "BEGIN IMMEDIATE" } else { "BEGIN" }).unwrap();
                let after = all_pages(&live.connection);
                let now = u32::try_from(after.len()).unwrap();
                let told = [position.changed(&live.connection).unwrap(), watch.changed(&live).unwrap()];
                // While it is watched a log starts over once at most.
                prop_assert!(told[1].is_some() || !guarded || !(anew || wrote));
                for named in told.iter().flatten() {
                    let named: Vec<u32> = named.pages(count, now).collect();
                    prop_assert!(named.is_sorted() && named.last().is_none_or(|last| *last <= now));
                    for number in 1..=now {
                        let at = number as usize - 1;
                        if before.get(at) != after.get(at) {
                            prop_assert!(named.binary_search(&number).is_ok(), "page {number} of {now}, before {count}");
                        }
                    }
                }
                live.roll_back();
            }
        }
    }

    #[test]
    fn what_was_cut_off_meanwhile_counts_as_changed() {
        let pages = |named: &[u32], least: Option<u32>, before: u32, now: u32| -> Vec<u32> {
            let pages = named.to_vec();
            Changed { pages, least }.pages(before, now).collect()
        };
        assert!(pages(&[], None, 9, 9).is_empty());
        assert_eq!(pages(&[], None, 7, 9), [8, 9], "grown without a frame");
        assert_eq!(pages(&[1, 3, 8], Some(6), 9, 9), [1, 3, 7, 8, 9], "shrunk, and grown again");
        assert_eq!(pages(&[1, 3, 8], Some(4), 9, 4), [1, 3]);
        assert_eq!(pages(&[1, 9], Some(12), 9, 12), [1, 9, 10, 11, 12]);
    }

    #[test]
    fn an_index_that_is_not_whole_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("live.db");
        let db = connect(&path);
        assert_eq!(Position::of(&db).unwrap(), None, "a file without a log");
        db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a)").unwrap();
        assert!(!path.with_extension("db-journal").exists());
        let [index, other] = MainFile::of(&db).unwrap().log_index().unwrap().unwrap();
        assert_eq!(index, other);
        let whole = Position::read(&index).unwrap();
        assert_eq!((whole.page_size, whole.frames > 0), (4096, true));
        for word in 0..index.len() {
            let mut wrong = index;
            wrong[word] ^= 0x0100;
            assert_eq!(Position::read(&wrong), None, "{word}");
        }
        // A log of the same salts whose frames are others.
        let other = Position {
            sum: [whole.sum[0] ^ 1, whole.sum[1]],
            ..whole
        };
        db.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert!(whole.changed(&db).unwrap().is_some());
        assert_eq!(other.changed(&db).unwrap(), None);
    }
}
