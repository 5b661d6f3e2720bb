//! A dump: the pages of one state of the database, in order, as one stream; then the rows and the check of that very state.
//!
//! Everything is read through one connection inside one read transaction, so there is nothing to keep in step
//! (`docs/decisions/0002-sqlite-one-pass.md`). A second thread watches whether the open transaction is a burden to the application,
//! and if so copies that state aside as fast as it can and gives the lock back.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use coffre_model::cancel::Cancel;
use coffre_model::database::{Access, Dump, DumpFacts};
use coffre_model::manifest::Scope;
use coffre_model::{Code, Error, Result};
use rusqlite::Connection;

use super::errors::{about, reading as reading_error};
use super::facts::{self, Depth};
use super::reading::{Manner, Reading, connect_immutable};

/// When an open read transaction becomes a burden.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How often to look.
    pub(super) look: Duration,
    /// How many looks may find a writer waiting (rollback journal).
    pub(super) looks: u32,
    /// How much the write-ahead log may grow, in bytes: it cannot start over before the transaction ends.
    pub(super) log_growth: u64,
}

impl Patience {
    /// A third of a second for a waiting writer (whose own patience is usually five seconds), 256 MiB of log.
    pub(super) const USUAL: Patience = Patience {
        look: Duration::from_millis(100),
        looks: 3,
        log_growth: 256 << 20,
    };
}

/// Bytes moved at once when the state is copied aside: a multiple of every page size.
const PIECE_BYTES: usize = 1 << 20;

/// Asks for one page. A single page at a time costs about a tenth more than one scan of them all (2.7 GB/s instead of 3.1), and
/// needs no statement that outlives a call.
const PAGE: &str = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1";

/// A dump under way.
pub(super) struct PageDump {
    state: Arc<Mutex<State>>,
    stop: Stop,
    watch: Option<Watch>,
}

/// Why work must stop before its end.
#[derive(Clone)]
struct Stop {
    cancel: Cancel,
    dropped: Arc<AtomicBool>,
}

impl Stop {
    fn check(&self) -> Result<()> {
        if self.dropped.load(Ordering::SeqCst) {
            return Err(Error::new(Code::Cancelled, "cancelled"));
        }
        self.cancel.check()
    }
}

enum State {
    /// Pages come from the database.
    Live(Box<Pages>),
    /// Pages come from a private copy of the same state; the transaction is over.
    Aside(Aside),
    /// Failed: every further read says so again.
    Failed(Error),
}

impl PageDump {
    /// Begins. Nothing is read before the first `read`.
    pub(super) fn start(reading: Reading, access: &Access, patience: Patience) -> Result<PageDump> {
        facts::assert_page_table(reading.connection()?)?;
        let stop = Stop {
            cancel: access.cancel.clone(),
            dropped: Arc::default(),
        };
        let watched = matches!(reading.manner(), Manner::Rollback | Manner::Wal);
        let pages = Pages::new(reading)?;
        let state = Arc::new(Mutex::new(State::Live(Box::new(pages))));
        let watch = if watched {
            Some(Watch::start(
                Arc::clone(&state),
                stop.clone(),
                access.runtime.clone(),
                patience,
            )?)
        } else {
            None
        };
        Ok(PageDump { state, stop, watch })
    }

    /// Whether the watching thread has done what it can.
    #[cfg(test)]
    pub(super) fn is_watched(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.thread.is_finished())
    }
}

fn lock(state: &Mutex<State>) -> Result<MutexGuard<'_, State>> {
    // A thread that panicked while it held pages may have left them half read.
    state.lock().map_err(|_| Error::internal("sqlite dump", "a thread panicked"))
}

impl Read for PageDump {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.state)?;
        let done = self.stop.check().and_then(|()| match &mut *state {
            State::Live(pages) => pages.fill(bytes),
            State::Aside(aside) => aside.fill(bytes),
            State::Failed(error) => Err(error.clone()),
        });
        done.map_err(|error| {
            *state = State::Failed(error.clone());
            error.into()
        })
    }
}

impl Dump for PageDump {
    fn finish(mut self: Box<Self>) -> Result<DumpFacts> {
        if let Some(watch) = self.watch.take() {
            watch.end();
        }
        let mut state = lock(&self.state)?;
        let over = State::Failed(Error::internal("sqlite dump", "finished twice"));
        let stop = || self.stop.check();
        match std::mem::replace(&mut *state, over) {
            State::Live(pages) => pages.conclude(&stop),
            State::Aside(aside) => aside.conclude(&stop),
            State::Failed(error) => Err(error),
        }
    }
}

impl Drop for PageDump {
    fn drop(&mut self) {
        self.stop.dropped.store(true, Ordering::SeqCst);
        if let Some(watch) = self.watch.take() {
            watch.end();
        }
    }
}

/// Pages in order, from one read transaction.
struct Pages {
    reading: Reading,
    /// The next page to read, from 1.
    next: u32,
    /// What a caller's buffer had no room for, and how much of it was handed out since.
    carry: Vec<u8>,
    carried: usize,
    handed_out: u64,
    log_at_start: u64,
    remarks: Vec<Error>,
}

impl Pages {
    fn new(reading: Reading) -> Result<Pages> {
        if reading.pages() == 0 {
            return Err(about(Code::DumpEmpty, "sqlite_empty", reading.named()));
        }
        Ok(Pages {
            next: 1,
            carry: Vec::with_capacity(reading.page_size()),
            carried: 0,
            handed_out: 0,
            log_at_start: reading.log_bytes(),
            remarks: Vec::new(),
            reading,
        })
    }

    fn total(&self) -> u64 {
        u64::from(self.reading.pages()) * self.reading.page_size() as u64
    }

    /// Fills a buffer with whole pages, as far as it goes. Answers 0 only where every page was handed out (or the buffer is empty).
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let mut at = self.hand_out_carry(bytes);
        if at < bytes.len() && self.next <= self.reading.pages() {
            at += self.fill_from_database(&mut bytes[at..])?;
        }
        self.handed_out += at as u64;
        if at == 0 && !bytes.is_empty() {
            self.assert_all_read()?;
        }
        Ok(at)
    }

    fn hand_out_carry(&mut self, bytes: &mut [u8]) -> usize {
        let rest = &self.carry[self.carried..];
        let take = rest.len().min(bytes.len());
        bytes[..take].copy_from_slice(&rest[..take]);
        self.carried += take;
        take
    }

    fn fill_from_database(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let page_size = self.reading.page_size();
        let whole = bytes.len() / page_size * page_size;
        let mut at = self.read_pages(self.next, &mut bytes[..whole])?;
        self.next += pages_in(at, page_size);
        if at == whole && at < bytes.len() && self.next <= self.reading.pages() {
            // The next page does not fit: what there is no room for is kept for the next call.
            let mut page = std::mem::take(&mut self.carry);
            page.resize(page_size, 0);
            self.read_pages(self.next, &mut page)?;
            self.next += 1;
            self.carry = page;
            self.carried = 0;
            at += self.hand_out_carry(&mut bytes[at..]);
        }
        Ok(at)
    }

    /// Reads whole pages in order, as many as there are and as fit. Answers how many bytes that is.
    fn read_pages(&self, first: u32, bytes: &mut [u8]) -> Result<usize> {
        let reading = &self.reading;
        let connection = reading.connection()?;
        if connection.is_autocommit() {
            return Err(about(Code::DumpFailed, "sqlite_snapshot_lost", reading.named()));
        }
        let mut statement = connection.prepare_cached(PAGE).map_err(|e| reading.error(&e))?;
        let mut at = 0;
        for (number, place) in (first..=reading.pages()).zip(bytes.chunks_exact_mut(reading.page_size())) {
            let fail = |e: rusqlite::Error| reading.error(&e).with("page", number);
            let mut rows = statement.query([number]).map_err(fail)?;
            let page = match rows.next().map_err(fail)? {
                Some(row) => row.get_ref(0).map_err(fail)?.as_blob().unwrap_or_default(),
                None => &[],
            };
            if page.len() != place.len() {
                return Err(about(Code::DumpTruncated, "sqlite_page_missing", reading.named())
                    .with("page", number)
                    .with("pages", reading.pages()));
            }
            place.copy_from_slice(page);
            at += place.len();
        }
        Ok(at)
    }

    /// The rule of every dump: not a byte less than the state has.
    fn assert_all_read(&self) -> Result<()> {
        assert_none_missing(self.total() - self.handed_out)
    }

    /// Counts and checks this very state, then ends the transaction.
    fn conclude(self, stop: facts::Stop<'_>) -> Result<DumpFacts> {
        self.assert_all_read()?;
        let reading = &self.reading;
        let mut facts = facts_of(reading.connection()?, reading.named(), stop)?;
        facts.remarks.splice(0..0, self.remarks_so_far()?);
        self.reading.close()?;
        Ok(facts)
    }

    /// Remarks that do not come from counting and checking. Fails where what was read was not one state.
    fn remarks_so_far(&self) -> Result<Vec<Error>> {
        let mut remarks = self.reading.remarks().to_vec();
        remarks.extend_from_slice(&self.remarks);
        remarks.extend(self.reading.still_the_same()?);
        Ok(remarks)
    }

    /// Whether the application suffers from this transaction: one more look.
    fn is_a_burden(&self, seen: &mut u32, patience: Patience) -> Result<bool> {
        *seen += u32::from(self.reading.writer_waits()?);
        let grown = self.reading.log_bytes().saturating_sub(self.log_at_start);
        Ok(*seen >= patience.looks || grown > patience.log_growth)
    }

    /// Copies the whole state into a private folder. Where that folder cannot be written (no room), the pages go on coming from the
    /// database, and a remark says so.
    fn copy_aside(&mut self, folder: &Path, stop: &Stop) -> Result<Option<Aside>> {
        match self.copy(folder, stop)? {
            Ok(aside) => Ok(Some(aside)),
            Err(error) => {
                let remark = about(Code::LockTimeout, "sqlite_writers_waited", self.reading.named());
                self.remarks.push(remark.with("cause", error.to_string()));
                Ok(None)
            }
        }
    }

    /// An error inside is one of the private folder, one outside of the database.
    fn copy(&self, folder: &Path, stop: &Stop) -> Result<io::Result<Aside>> {
        let create = || -> io::Result<(tempfile::TempDir, PathBuf, File)> {
            let folder = tempfile::Builder::new().prefix("sqlite-").tempdir_in(folder)?;
            let path = folder.path().join("copy.db");
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            Ok((folder, path, file))
        };
        // The folder is private (0700), so nobody else reaches the file, whatever the umask.
        let (folder, path, mut file) = match create() {
            Ok(created) => created,
            Err(e) => return Ok(Err(e)),
        };
        let mut piece = vec![0; PIECE_BYTES];
        let mut next = 1;
        while next <= self.reading.pages() {
            stop.check()?;
            let got = self.read_pages(next, &mut piece)?;
            next += pages_in(got, self.reading.page_size());
            if let Err(e) = file.write_all(&piece[..got]) {
                return Ok(Err(e));
            }
        }
        if let Err(e) = file.seek(SeekFrom::Start(self.handed_out)) {
            return Ok(Err(e));
        }
        Ok(Ok(Aside {
            file,
            path,
            left: self.total() - self.handed_out,
            named: self.reading.named().to_owned(),
            remarks: self.remarks_so_far()?,
            _folder: folder,
        }))
    }
}

/// A private copy of the state, from which the rest of the pages comes.
struct Aside {
    file: File,
    path: PathBuf,
    left: u64,
    named: PathBuf,
    remarks: Vec<Error>,
    /// Removed with this.
    _folder: tempfile::TempDir,
}

impl Aside {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let got = self
            .file
            .read(&mut bytes[..most])
            .map_err(|e| Error::internal("reading the private copy", e))?;
        if got == 0 && most > 0 {
            assert_none_missing(self.left)?;
        }
        self.left -= got as u64;
        Ok(got)
    }

    fn conclude(self, stop: facts::Stop<'_>) -> Result<DumpFacts> {
        assert_none_missing(self.left)?;
        let connection = connect_immutable(&self.path, &self.named)?;
        let mut facts = facts_of(&connection, &self.named, stop)?;
        facts.remarks.splice(0..0, self.remarks);
        Ok(facts)
    }
}

fn pages_in(bytes: usize, page_size: usize) -> u32 {
    // Never more than a buffer holds, and a page has at least 512 bytes.
    u32::try_from(bytes / page_size).unwrap_or(u32::MAX)
}

fn assert_none_missing(missing: u64) -> Result<()> {
    match missing {
        0 => Ok(()),
        missing => Err(Error::new(Code::DumpTruncated, "sqlite_dump_short").with("missing", missing)),
    }
}

/// Checks a state, and counts its rows.
fn facts_of(connection: &Connection, named: &Path, stop: facts::Stop<'_>) -> Result<DumpFacts> {
    let fail = |e: &rusqlite::Error| reading_error(e, named);
    let findings = facts::interruptible(connection, stop, || {
        facts::check(connection, Depth::Quick).map_err(|e| fail(&e))
    })?;
    if !findings.said.is_empty() {
        return Err(about(Code::DumpFailed, "sqlite_check_failed", named).with("said", findings.said.join("\n")));
    }
    let sound = findings.unchecked.is_empty();
    let (counts, uncounted) = facts::interruptible(connection, stop, || facts::counts(connection, sound, &fail))?;
    let mut remarks = findings.unchecked;
    remarks.extend(uncounted);
    Ok(DumpFacts {
        counts,
        scope: scope(),
        remarks,
    })
}

/// What a SQLite dump holds, and what it cannot.
fn scope() -> Scope {
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
    Scope {
        included: words(&[
            "tables",
            "indexes",
            "views",
            "triggers",
            "virtual_tables",
            "database_settings",
        ]),
        not_included: words(&["attached_databases", "loadable_extensions", "connection_settings"]),
        excluded_tables: Vec::new(),
    }
}

/// The thread that looks after the application's interests.
struct Watch {
    enough: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(state: Arc<Mutex<State>>, stop: Stop, folder: PathBuf, patience: Patience) -> Result<Watch> {
        let (enough, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("sqlite-watch".to_owned())
            .spawn(move || {
                let mut seen = 0;
                while let Err(RecvTimeoutError::Timeout) = waiting.recv_timeout(patience.look) {
                    if Watch::look(&state, &stop, &folder, patience, &mut seen).is_break() {
                        return;
                    }
                }
            })
            .map_err(|e| Error::internal("starting a thread", e))?;
        Ok(Watch { enough, thread })
    }

    /// One look. Whatever fails becomes the state of the dump, so that the next `read` (or `finish`) tells it.
    fn look(state: &Mutex<State>, stop: &Stop, folder: &Path, patience: Patience, seen: &mut u32) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let Ok(mut state) = state.lock() else {
            return Break(()); // The reader panicked; `read` and `finish` say so themselves.
        };
        let State::Live(pages) = &mut *state else {
            return Break(());
        };
        let aside = match pages.is_a_burden(seen, patience) {
            Ok(false) => return Continue(()),
            Ok(true) => pages.copy_aside(folder, stop),
            Err(error) => Err(error),
        };
        let failed = State::Failed(Error::internal("sqlite dump", "left in between"));
        *state = match (aside, std::mem::replace(&mut *state, failed)) {
            (Ok(Some(aside)), State::Live(pages)) => match pages.reading.close() {
                Ok(()) => State::Aside(aside),
                Err(error) => State::Failed(error),
            },
            (Ok(_), live) => live,
            (Err(error), _) => State::Failed(error),
        };
        Break(())
    }

    /// Ends the thread and waits for it.
    fn end(self) {
        drop(self.enough);
        // A panic there left the lock poisoned, which `finish` tells as an error of its own.
        let _told_by_the_lock = self.thread.join();
    }
}
