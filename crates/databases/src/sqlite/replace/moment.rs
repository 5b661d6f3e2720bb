//! The moment: the pages of one file become those of the live one, in one transaction of SQLite's, and what was live is kept.
//!
//! Everything that takes time happens before it, without a lock (finding the pages that differ, and writing down those that go out:
//! `compare`), or after it. Under the writer's lock remains: looking what was written in the last moment, and writing the pages that come in.
//! Readers go on reading the old state meanwhile; a file with a rollback journal, in which a commit has to keep them out, gets a
//! write-ahead log for the time being where that commit would be large.

use std::path::Path;
use std::time::{Duration, Instant};

use coffre_model::database::Access;
use coffre_model::{Code, Error, Result};
use rusqlite::backup::{Backup, StepResult};

use crate::sqlite::errors::{about, is_busy, live_error};
use crate::sqlite::reading::connect_immutable;

use super::checkpoint::{Checkpoint, bring_home, shorten};
use super::compare::{Known, LOOK_PAGES};
use super::live::{COOKIE, Live, PAGES, State, VERSIONS, is_ours_to_create_beside, is_shared_between_machines};
use super::part::{Pages, Part, sync_folder};

/// Pages that are read at once from the file that becomes live.
const AT_ONCE: u32 = 256;
/// How long readers may be kept from beginning, while those who have begun come to their end.
const GATHERING: Duration = Duration::from_millis(50);
/// How long they are left alone after that.
const REST: Duration = Duration::from_millis(200);
/// How large a commit into a file with a rollback journal may be: readers are kept out while it is written.
const SMALL: u64 = 8 << 20;
/// Page cache for writing, in KiB; what is beyond goes to the log before the commit.
const WRITE_CACHE_KIB: i64 = 16 << 10;
/// How often, and how far apart, something is tried that can be done without.
const TRIES: u32 = 20;

/// What is exchanged.
pub(super) struct Exchange<'a> {
    pub(super) access: &'a Access,
    /// The live file as the person named it.
    pub(super) named: &'a Path,
    pub(super) live: &'a Path,
    /// The file whose pages become live. It is only read.
    pub(super) from: &'a Path,
    /// What goes out is written down here; nothing where nothing is to be kept.
    pub(super) part: Option<&'a Path>,
    /// The schema's version that the live file gets; nothing for that of `from`.
    pub(super) cookie: Option<u32>,
}

/// How the pages get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One commit into the write-ahead log.
    Log,
    /// One commit with a rollback journal; from memory, so that readers are kept out for a moment only.
    Small,
    /// The same, too large for that, where there can be no log.
    Large,
    /// With another page size: SQLite's backup.
    Repage,
}

/// How one attempt ended.
enum Tried {
    Done(Option<Checkpoint>),
    /// Others held locks; nothing changed.
    Busy(rusqlite::Error),
}

/// After the moment: what may go on in peace.
pub(super) struct After {
    live: Live,
    checkpoint: Option<Checkpoint>,
    /// Whether the file had a log before.
    wal: bool,
}

impl Exchange<'_> {
    /// Up to the moment, and no further. With an error, nothing of the live file has changed, unless the error came from the commit.
    pub(super) fn run(&self) -> Result<After> {
        let mut live = Live::open(self.live, self.named, self.access)?;
        let mut from = Pages::open(self.from)?;
        let before = live.state(self.access)?;
        let part = match self.part {
            Some(path) => Some(Part::create(path, before.page_size)?),
            None => None,
        };
        if part.is_none() && before.pages > 0 {
            return Err(about(Code::Refused, "sqlite_live_replaced", self.named));
        }
        let mut known = Known::new(part);
        self.gather_first(&live, before, &mut known, &mut from)?;
        let way = self.choose(&live, before, &from, known.part.as_ref())?;
        let done = self.attempts(&mut live, before, way, &mut known, &mut from);
        // It would keep the log from coming home.
        known.watch = None;
        // The journal that is gone must not come back with a power cut.
        match done.and_then(|checkpoint| sync_folder(self.live).map(|()| checkpoint)) {
            Ok(checkpoint) => Ok(After {
                live,
                checkpoint,
                wal: before.wal,
            }),
            Err(error) => {
                live.roll_back();
                // Gives the room of what was written back. The error is the one to tell; whatever stays is a log that others go on with.
                let _gives_room_back = shorten(&live.connection, Duration::ZERO);
                let _tried_again_by_recover = restore_journal(&live, before.wal, 1);
                Err(error)
            }
        }
    }

    /// How the pages get in, after the journal mode is as that way needs it.
    fn choose(&self, live: &Live, before: State, from: &Pages, part: Option<&Part>) -> Result<Way> {
        if before.pages > 0 && before.page_size != from.state.page_size {
            from.without_log()?;
            if before.wal {
                self.leave_log(live)?;
            }
            return Ok(Way::Repage);
        }
        if before.wal {
            return Ok(Way::Log);
        }
        let grown = from.state.pages.saturating_sub(before.pages) as usize;
        let differing = part.map_or(0, Part::len) + grown;
        if differing as u64 * from.state.page_size as u64 <= SMALL {
            return Ok(Way::Small);
        }
        // Nobody reads an empty file for long.
        if before.pages == 0 || is_shared_between_machines(self.live) || !is_ours_to_create_beside(self.live) {
            return Ok(Way::Large);
        }
        self.until_done(|| match live.set_wal(true, GATHERING) {
            Ok(true) => Ok(Some(())),
            Ok(false) => Ok(None),
            Err(e) => Err(live.error(&e)),
        })?
        .ok_or_else(|| self.locked("journal_mode"))?;
        Ok(Way::Log)
    }

    /// Another page size needs a rollback journal, and that nobody has the log open.
    fn leave_log(&self, live: &Live) -> Result<()> {
        let done = self.until_done(|| match live.set_wal(false, Duration::ZERO) {
            Ok(true) => Ok(Some(())),
            Ok(false) => Ok(None),
            Err(e) => Err(live.error(&e)),
        })?;
        done.ok_or_else(|| {
            about(Code::LockTimeout, "sqlite_page_size_held", self.named).with("seconds", self.access.lock_wait.as_secs())
        })
    }

    /// Tries until something is done, or nothing when the wait for locks is over.
    fn until_done<T>(&self, mut work: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let started = Instant::now();
        loop {
            self.access.cancel.check()?;
            if let Some(done) = work()? {
                return Ok(Some(done));
            }
            let left = self.access.lock_wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(REST.min(left));
        }
    }

    fn locked(&self, cause: &str) -> Error {
        about(Code::LockTimeout, "sqlite_locked", self.named)
            .with("cause", cause)
            .with("seconds", self.access.lock_wait.as_secs())
    }

    fn attempts(
        &self,
        live: &mut Live,
        before: State,
        way: Way,
        known: &mut Known,
        from: &mut Pages,
    ) -> Result<Option<Checkpoint>> {
        let mut last = None;
        let done = self.until_done(|| {
            let tried = match way {
                Way::Repage => self.repage(live, known, from),
                _ => self.commit(live, before, way, known, from),
            };
            match tried? {
                Tried::Done(checkpoint) => Ok(Some(checkpoint)),
                Tried::Busy(error) => {
                    last = Some(live.error(&error));
                    Ok(None)
                }
            }
        })?;
        done.ok_or_else(|| {
            last.unwrap_or_else(|| self.locked("busy"))
                .with("seconds", self.access.lock_wait.as_secs())
        })
    }

    /// One attempt to write the pages in one transaction.
    fn commit(&self, live: &Live, before: State, way: Way, known: &mut Known, from: &mut Pages) -> Result<Tried> {
        let fail = |e: rusqlite::Error| live.error(&e);
        if before.pages == 0 {
            let connection = &live.connection;
            connection
                .pragma_update(None, "page_size", from.state.page_size as i64)
                .map_err(fail)?;
        }
        self.follow(live, known, from, way == Way::Log)?;
        live.patiently(self.access, |connection| connection.execute_batch("BEGIN IMMEDIATE"))?;
        self.bring_up_to_date(live, known, from)?;
        let checkpoint = match way {
            Way::Log => Some(Checkpoint::await_commit(self.live)?),
            _ => None,
        };
        let cache = match way {
            Way::Small => -(i64::try_from((2 * SMALL) >> 10).unwrap_or(WRITE_CACHE_KIB) + WRITE_CACHE_KIB),
            _ => -WRITE_CACHE_KIB,
        };
        let connection = &live.connection;
        connection.pragma_update(None, "cache_size", cache).map_err(fail)?;
        connection
            .pragma_update(None, "cache_spill", way != Way::Small)
            .map_err(fail)?;
        match self.write(live, way, known, from)? {
            None => {}
            Some(busy) => {
                live.roll_back();
                return Ok(Tried::Busy(busy));
            }
        }
        let gathering = Instant::now();
        loop {
            match connection.execute_batch("COMMIT") {
                Ok(()) => break,
                Err(e) if is_busy(&e) && gathering.elapsed() < GATHERING => std::thread::sleep(Duration::from_millis(1)),
                Err(e) if is_busy(&e) => {
                    live.roll_back();
                    return Ok(Tried::Busy(e));
                }
                Err(e) => return Err(fail(e)),
            }
        }
        if let Some(checkpoint) = &checkpoint {
            checkpoint.begin();
        }
        Ok(Tried::Done(checkpoint))
    }

    /// Writes the pages, inside the transaction. Answers what others held.
    fn write(&self, live: &Live, way: Way, known: &Known, from: &mut Pages) -> Result<Option<rusqlite::Error>> {
        let fail = |e: rusqlite::Error| live.error(&e);
        let connection = &live.connection;
        let now = live.state(self.access)?;
        if now.full_auto_vacuum {
            // Otherwise SQLite would move pages at the commit, by a free list that is not its own any more. The header that this changes is
            // overwritten below.
            connection.pragma_update(Some("main"), "auto_vacuum", 2).map_err(fail)?;
        }
        let (total, size) = (from.state.pages, from.state.page_size);
        let lock_page = u32::try_from((1u64 << 30) / size as u64 + 1).unwrap_or(u32::MAX);
        let pages = known.pages;
        let differs = |number: u32| number > pages || known.part.as_ref().is_none_or(|part| part.has(number));
        {
            let mut insert = connection
                .prepare("INSERT INTO sqlite_dbpage(pgno, data) VALUES (?1, ?2)")
                .map_err(fail)?;
            let mut ahead = 0;
            for number in 2..=total {
                if number % LOOK_PAGES == 0 {
                    self.access.cancel.check()?;
                }
                if !differs(number) {
                    ahead = 0;
                    continue;
                }
                if ahead == 0 {
                    // Only what is needed is read.
                    let rest = number..=total.min(number.saturating_add(AT_ONCE - 1));
                    ahead = rest.take_while(|number| differs(*number)).count() as u32;
                }
                let page = from.page(number, ahead)?;
                ahead -= 1;
                if number == lock_page {
                    continue;
                }
                match insert.execute((number, page)) {
                    Ok(_) => {}
                    Err(e) if is_busy(&e) => return Ok(Some(e)),
                    Err(e) => return Err(fail(e)),
                }
            }
        }
        let mut first = from.page(1, 1)?.unwrap_or_default().to_vec();
        first[VERSIONS].fill(if way == Way::Log { 2 } else { 1 });
        first[PAGES].copy_from_slice(&total.to_be_bytes());
        if let Some(cookie) = self.cookie {
            first[COOKIE].copy_from_slice(&cookie.to_be_bytes());
        }
        // One statement for both, and the last one: after it the schema is another one, and every statement would read it anew.
        let shorter = pages > total;
        let done = if shorter {
            let sql = "INSERT INTO sqlite_dbpage(pgno, data) VALUES (1, ?1), (?2, NULL)";
            connection.execute(sql, (first, total + 1))
        } else {
            connection.execute("INSERT INTO sqlite_dbpage(pgno, data) VALUES (1, ?1)", [first])
        };
        match done {
            Ok(_) => Ok(None),
            Err(e) if is_busy(&e) => Ok(Some(e)),
            Err(e) => Err(fail(e)),
        }
    }

    /// One attempt with another page size, which SQLite's backup alone can change. Nobody can read while the pages are written.
    fn repage(&self, live: &mut Live, known: &mut Known, from: &mut Pages) -> Result<Tried> {
        let tried = self.repage_locked(live, known, from);
        // Closing gives the lock back. What this connection knew of encoding and schema is not so any more.
        live.reopen(self.access)?;
        known.forget_version();
        let tried = tried?;
        if matches!(tried, Tried::Done(_)) {
            // Killed before this, `recover` knows by the page size what happened, and does it.
            set_cookie(live, self.access, self.cookie.unwrap_or(from.state.cookie))?;
        }
        Ok(tried)
    }

    fn repage_locked(&self, live: &mut Live, known: &mut Known, from: &mut Pages) -> Result<Tried> {
        self.follow(live, known, from, false)?;
        live.patiently(self.access, |connection| connection.execute_batch("BEGIN IMMEDIATE"))?;
        self.bring_up_to_date(live, known, from)?;
        // From here on locks that were had are kept, so that nobody writes in between. Not before: who waits for a lock must not hold another.
        let keep = live.connection.pragma_update(None, "locking_mode", "EXCLUSIVE");
        // Nothing was written; to commit that, SQLite would wait for readers.
        keep.and_then(|()| live.connection.execute_batch("ROLLBACK"))
            .map_err(|e| live.error(&e))?;
        let source = connect_immutable(self.from, self.named)?;
        let named = self.named;
        {
            let backup = Backup::new(&source, &mut live.connection).map_err(|e| live_error(&e, named, 0))?;
            let gathering = Instant::now();
            loop {
                match backup.step(-1) {
                    Ok(StepResult::Done) => break,
                    Ok(StepResult::More) => {}
                    Ok(_) if gathering.elapsed() < GATHERING => std::thread::sleep(Duration::from_millis(1)),
                    Ok(_) => {
                        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                        return Ok(Tried::Busy(rusqlite::Error::SqliteFailure(busy, None)));
                    }
                    Err(e) => return Err(live_error(&e, named, 0)),
                }
            }
        }
        Ok(Tried::Done(None))
    }
}

/// Sets the schema's version in a commit of its own.
pub(super) fn set_cookie(live: &Live, access: &Access, cookie: u32) -> Result<()> {
    live.patiently(access, |connection| {
        connection.pragma_update(Some("main"), "schema_version", i64::from(cookie.cast_signed()))
    })
}

/// Brings a file back into the journal mode that it had. Answers whether it is in it.
pub(super) fn restore_journal(live: &Live, wal: bool, tries: u32) -> rusqlite::Result<bool> {
    for again in (0..tries).rev() {
        if live.set_wal(wal, Duration::ZERO)? {
            return Ok(true);
        }
        if again > 0 {
            std::thread::sleep(REST / 4);
        }
    }
    Ok(false)
}

impl After {
    /// After a kill, when nobody is at work any more.
    pub(super) fn of(live: Live, wal: bool) -> After {
        After {
            live,
            checkpoint: None,
            wal,
        }
    }

    /// Everything that can be done in peace: brings the log home, and the journal mode back. Answers what a person should know.
    pub(super) fn finish(mut self, named: &Path, access: &Access) -> Vec<Error> {
        let home = match self.checkpoint.take() {
            Some(checkpoint) => checkpoint.finish(),
            None => Ok(()),
        };
        let had_log = self.wal;
        // What was read through this connection was another state: nothing of it may be kept.
        let (file, live) = (self.live.file.clone(), self.live);
        drop(live);
        let finish = || -> Result<bool> {
            let live = Live::open(&file, named, access)?;
            home.map_err(|e| live.error(&e))?;
            let fail = |e: rusqlite::Error| live.error(&e);
            let wal = live
                .connection
                .query_row("PRAGMA main.journal_mode", [], |row| row.get::<_, String>(0));
            if wal.map_err(fail)? == "wal" {
                for again in (0..TRIES).rev() {
                    // Under the writer's lock only what is quick.
                    if bring_home(&live.connection).map_err(fail)? && shorten(&live.connection, GATHERING / 2).map_err(fail)? {
                        break;
                    }
                    if again > 0 {
                        std::thread::sleep(REST / 4);
                    }
                }
            }
            restore_journal(&live, had_log, TRIES).map_err(fail)
        };
        match finish() {
            Ok(true) => Vec::new(),
            Ok(false) if had_log => Vec::new(),
            Ok(false) => vec![about(Code::LockTimeout, "sqlite_log_stays", named)],
            // The data is what it should be, and durable. What could not be tidied is SQLite's own, and the next one who opens it goes on.
            Err(error) => vec![about(error.code(), "sqlite_log_left", named).with("cause", error.to_string())],
        }
    }
}
