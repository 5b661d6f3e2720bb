//! Finding the pages that differ, and writing down those that go out.
//!
//! All pages are compared without a lock, in slices. Others may write meanwhile: what they wrote is compared again, round after round, until
//! little is left, and the rest under the writer's lock. With a write-ahead log only the pages that the log names are compared again (`log`), so
//! the time under the lock does not grow with the file. A rollback journal leaves no trace of what a commit changed: where somebody wrote
//! since the last round, everything is compared once more under the lock.

use std::time::{Duration, Instant};

use coffre_model::{Code, Result};
use rusqlite::Statement;

use crate::sqlite::errors::about;
use crate::sqlite::header::{HEADER_BYTES, Header};
use crate::sqlite::vfs::MainFile;

use super::live::{Live, State};
use super::log::{Position, Watch};
use super::moment::Exchange;
use super::part::{Pages, Part};

/// How long pages are read at once while no lock is held: a writer of a file with a rollback journal waits so long.
const SLICE: Duration = Duration::from_millis(15);
/// How often the cancel flag is looked at: every so many pages.
pub(super) const LOOK_PAGES: u32 = 256;
/// Pages of the other file that are read at once while pages are compared in order.
const AHEAD: u32 = 256;
/// How many pages may be left for the time under the lock: some milliseconds.
const FEW: usize = 256;
/// How often at most what was written meanwhile is looked at before the lock, with a log.
const ROUNDS: u32 = 8;
/// The same where all pages have to be compared each time: with a rollback journal.
const FULL_ROUNDS: u32 = 2;
/// How often at most comparing begins anew because the log did.
const ANEW: u32 = 3;

/// What is known of the live pages.
pub(super) struct Known {
    /// Those that go out, where they are kept.
    pub(super) part: Option<Part>,
    /// How many there were when they were compared last.
    pub(super) pages: u32,
    /// The version of the data before that; nothing where nothing was compared on this connection.
    seen: Option<i64>,
    /// Whether nobody wrote while all of them were compared.
    quiet: bool,
    /// What tells which of them have changed since.
    pub(super) watch: Option<Watch>,
}

impl Known {
    /// Nothing yet.
    pub(super) fn new(part: Option<Part>) -> Known {
        Known {
            part,
            pages: 0,
            seen: None,
            quiet: true,
            watch: None,
        }
    }

    /// Another connection counts versions in its own way.
    pub(super) fn forget_version(&mut self) {
        self.seen = None;
    }
}

/// What gives the live pages, inside a transaction.
enum Reader<'l> {
    /// SQLite, one by one.
    Pages(Statement<'l>),
    /// The file itself, many at once: without a log a transaction sees just what is in it, and nobody may change that.
    File(FileReader<'l>),
}

struct FileReader<'l> {
    file: MainFile<'l>,
    header: Header,
    window: Vec<u8>,
    /// The first page of the window.
    first: u32,
}

impl<'l> Reader<'l> {
    fn of(live: &'l Live, page_size: usize) -> rusqlite::Result<Reader<'l>> {
        let file = MainFile::of(&live.connection)?;
        let mut start = [0; HEADER_BYTES];
        file.read_at(&mut start, 0)?;
        match Header::parse(&start) {
            Ok(header) if !header.wal && header.page_size == page_size && file.log_index()?.is_none() => {
                Ok(Reader::File(FileReader {
                    file,
                    header,
                    window: Vec::new(),
                    first: 1,
                }))
            }
            _ => live.reader().map(Reader::Pages),
        }
    }
}

impl FileReader<'_> {
    /// One of `pages`, best in order.
    fn page(&mut self, number: u32, pages: u32) -> rusqlite::Result<Option<&[u8]>> {
        let size = self.header.page_size;
        if number < self.first || (number - self.first) as usize >= self.window.len() / size {
            let take = AHEAD.min(pages.saturating_sub(number) + 1) as usize;
            self.window.resize(take * size, 0);
            self.file.read_at(&mut self.window, u64::from(number - 1) * size as u64)?;
            self.first = number;
            // Nothing is ever stored in the page of the locks.
            let locks = self.header.lock_page().wrapping_sub(number) as usize;
            if locks < take {
                self.window[locks * size..][..size].fill(0);
            }
        }
        let at = (number - self.first) as usize * size;
        Ok(self.window.get(at..at + size))
    }
}

impl Exchange<'_> {
    fn version(&self, live: &Live) -> Result<i64> {
        live.patiently(self.access, |_| live.data_version())
    }

    /// Compares all pages for the first time, and makes what goes out durable.
    pub(super) fn gather_first(&self, live: &Live, before: State, known: &mut Known, from: &mut Pages) -> Result<()> {
        if known.part.is_none() {
            known.seen = Some(self.version(live)?);
            return Ok(());
        }
        // Where the page size changes there can be no log at the moment, so nobody may hold one.
        if before.wal && before.page_size == from.state.page_size {
            known.watch = Some(Watch::begin(live, self.access)?);
        }
        self.gather(live, known, from)?;
        if let Some(part) = &mut known.part {
            part.seal(known.pages)?;
            part.sync_folder()?;
        }
        from.reserve(u64::from(known.pages) * before.page_size as u64)
    }

    /// Before the lock: what was written meanwhile, until little is left. `log`: whether there is a log now.
    pub(super) fn follow(&self, live: &Live, known: &mut Known, from: &mut Pages, log: bool) -> Result<()> {
        if known.part.is_none() {
            return Ok(());
        }
        let mut full = 0;
        for _ in 0..ROUNDS {
            self.access.cancel.check()?;
            let version = self.version(live)?;
            if known.seen == Some(version) {
                return Ok(());
            }
            // Where all would have to be compared and somebody writes all along, one more round finds the same again.
            if !log && !known.quiet {
                return Ok(());
            }
            let compared = self.follow_once(live, known, from, log, version)?;
            if let Some(part) = &mut known.part {
                part.seal(known.pages)?;
            }
            match compared {
                Some(pages) if pages <= FEW => return Ok(()),
                Some(_) => {}
                None => full += 1,
            }
            if full == FULL_ROUNDS {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One round; answers how many pages were compared, or nothing where it had to be all of them.
    fn follow_once(&self, live: &Live, known: &mut Known, from: &mut Pages, log: bool, version: i64) -> Result<Option<usize>> {
        if log && known.watch.is_none() {
            known.watch = Some(Watch::begin(live, self.access)?);
            return self.gather(live, known, from).map(|()| None);
        }
        // First the position, then the transaction: so its state is the position's, or later.
        let position = Position::of(&live.connection).map_err(|e| live.error(&e))?;
        let mut changed = None;
        if known.watch.is_some() {
            live.begin_reading(self.access)?;
            let compared = self.compare_changed(live, known, from);
            live.roll_back();
            changed = compared?;
        }
        if let Some(watch) = &mut known.watch {
            watch.go_on(position);
        }
        match changed {
            Some(_) => known.seen = Some(version),
            None => self.gather(live, known, from)?,
        }
        Ok(changed)
    }

    /// Under the writer's lock: makes sure that what was written down is what is live.
    pub(super) fn bring_up_to_date(&self, live: &Live, known: &mut Known, from: &mut Pages) -> Result<()> {
        // Nobody else can write now, so the log stays as it is until we write. The guard would keep what we write from coming home.
        if let Some(watch) = &mut known.watch {
            watch.let_go();
        }
        let now = live.data_version().map_err(|e| live.error(&e))?;
        if known.seen == Some(now) {
            return Ok(());
        }
        if known.part.is_some() {
            if self.compare_changed(live, known, from)?.is_none() {
                self.compare(live, known, from, 1, None)?;
            }
            if let Some(part) = &mut known.part {
                part.seal(known.pages)?;
                from.reserve(u64::from(known.pages) * part.page_size() as u64)?;
            }
        } else {
            // Inside a transaction that writes, SQLite has begun a first page already: what counts is the file.
            let size = MainFile::of(&live.connection).and_then(|file| file.size());
            if size.map_err(|e| live.error(&e))? > 0 {
                return Err(about(Code::Refused, "sqlite_live_replaced", self.named));
            }
        }
        known.seen = Some(now);
        Ok(())
    }

    /// Reads all live pages in slices, each in a read transaction of its own, and writes down those that differ. A watch that is there
    /// has to remember a position of before.
    fn gather(&self, live: &Live, known: &mut Known, from: &mut Pages) -> Result<()> {
        let version = self.version(live)?;
        let (mut next, mut anew) = (1, 0);
        loop {
            self.access.cancel.check()?;
            live.begin_reading(self.access)?;
            let slice = self.compare(live, known, from, next, Some(Instant::now() + SLICE));
            live.roll_back();
            let later = slice?;
            if anew < ANEW
                && let Some(watch) = &mut known.watch
                && watch.began_anew(live)?
            {
                (next, anew) = (1, anew + 1);
                continue;
            }
            match later {
                None => break,
                Some(later) => next = later,
            }
        }
        known.seen = Some(version);
        known.quiet = self.version(live)? == version;
        Ok(())
    }

    /// Compares from page `next` on, inside a transaction. Answers where to go on after `until`.
    fn compare(
        &self,
        live: &Live,
        known: &mut Known,
        from: &mut Pages,
        next: u32,
        until: Option<Instant>,
    ) -> Result<Option<u32>> {
        let fail = |e: rusqlite::Error| live.error(&e);
        known.pages = live.pages().map_err(fail)?;
        let mut reader = Reader::of(live, known.part.as_ref().map_or(0, Part::page_size)).map_err(fail)?;
        for number in next..=known.pages {
            if number % LOOK_PAGES == 0 {
                self.access.cancel.check()?;
            }
            if number > next && number % 16 == 0 && until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Some(number));
            }
            self.look_at(live, &mut reader, known, from, number, AHEAD)?;
        }
        Ok(None)
    }

    /// Compares, in order and inside a transaction, the pages that the log names as changed. Answers how many, or nothing where the log does
    /// not tell.
    fn compare_changed(&self, live: &Live, known: &mut Known, from: &mut Pages) -> Result<Option<usize>> {
        let changed = match &known.watch {
            Some(watch) => watch.changed(live)?,
            None => None,
        };
        let Some(changed) = changed else { return Ok(None) };
        let pages = live.pages().map_err(|e| live.error(&e))?;
        let named: Vec<u32> = changed.pages(known.pages, pages).collect();
        known.pages = pages;
        let mut reader = live.reader().map(Reader::Pages).map_err(|e| live.error(&e))?;
        for numbers in named.chunks(LOOK_PAGES as usize) {
            self.access.cancel.check()?;
            for number in numbers {
                self.look_at(live, &mut reader, known, from, *number, 1)?;
            }
        }
        Ok(Some(named.len()))
    }

    /// Looks at one page, and writes it down where it differs from what is known.
    fn look_at(
        &self,
        live: &Live,
        reader: &mut Reader<'_>,
        known: &mut Known,
        from: &mut Pages,
        number: u32,
        ahead: u32,
    ) -> Result<()> {
        let fail = |e: rusqlite::Error| live.error(&e);
        let Some(part) = &mut known.part else {
            return Ok(());
        };
        let pages = known.pages;
        let missing = || {
            let error = about(Code::DumpFailed, "sqlite_page_missing", self.named);
            error.with("page", number).with("pages", pages)
        };
        let mut rows;
        let page = match reader {
            Reader::Pages(statement) => {
                rows = statement.query([number]).map_err(fail)?;
                let row = rows.next().map_err(fail)?;
                row.and_then(|row| row.get_ref(0).ok()).and_then(|value| value.as_blob().ok())
            }
            Reader::File(file) => file.page(number, pages).map_err(fail)?,
        };
        let page = page.ok_or_else(missing)?;
        // Somebody has made it anew with another page size since the plan: nothing of what is known fits.
        if page.len() != part.page_size() {
            return Err(about(Code::Refused, "sqlite_live_replaced", self.named));
        }
        // The first one always goes out: it tells which state this was.
        if (number == 1 && !part.has(1)) || !part.knows(number, page, from, ahead)? {
            part.put(number, page)?;
        }
        Ok(())
    }
}
