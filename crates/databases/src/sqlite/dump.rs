//! A dump: the pages of one state of the database, in order, as one stream; then the rows and the check of that very state.
//!
//! Everything is read through one connection inside one read transaction, so there is nothing to keep in step
//! (`docs/decisions/0002-sqlite-one-pass.md`). A second thread watches whether the open transaction is a burden to the application,
//! and if so takes the rest of the pages aside and gives the lock back.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use coffre_model::cancel::Cancel;
use coffre_model::database::{Access, Dump, DumpFacts};
use coffre_model::manifest::Scope;
use coffre_model::{Code, Error, Result};

use super::errors::about;
use super::facts::{self, Depth};
use super::reading::{Manner, Reading};

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

/// Bytes moved at once when pages are taken aside.
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
    /// The rest of the pages lies in a private file; rows are counted, the state is checked, and the transaction is over.
    Aside { rest: File, left: u64, facts: DumpFacts },
    /// Failed: every further read says so again.
    Failed(Error),
}

impl PageDump {
    /// Opens the database and begins. Nothing is read before the first `read`.
    pub(super) fn start(path: &std::path::Path, access: &Access, patience: Patience) -> Result<PageDump> {
        let reading = Reading::open(path, access)?;
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
            State::Aside { rest, left, .. } => read_aside(rest, left, bytes),
            State::Failed(error) => Err(error.clone()),
        });
        done.map_err(|error| {
            *state = State::Failed(error.clone());
            error.into()
        })
    }
}

fn read_aside(rest: &mut File, left: &mut u64, bytes: &mut [u8]) -> Result<usize> {
    let most = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    let got = rest
        .read(&mut bytes[..most])
        .map_err(|e| Error::internal("reading the pages taken aside", e))?;
    if got == 0 && most > 0 {
        return Err(Error::new(Code::DumpTruncated, "sqlite_dump_short").with("missing", *left));
    }
    *left -= got as u64;
    Ok(got)
}

impl Dump for PageDump {
    fn finish(mut self: Box<Self>) -> Result<DumpFacts> {
        if let Some(watch) = self.watch.take() {
            watch.end();
        }
        let mut state = lock(&self.state)?;
        let over = State::Failed(Error::internal("sqlite dump", "finished twice"));
        match std::mem::replace(&mut *state, over) {
            State::Live(pages) => {
                pages.assert_all_read()?;
                let stop = self.stop.clone();
                pages.conclude(&|| stop.check())
            }
            State::Aside { left: 0, facts, .. } => Ok(facts),
            State::Aside { .. } => Err(Error::internal("sqlite dump", "finished before its end")),
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
        let connection = self.reading.connection()?;
        if connection.is_autocommit() {
            return Err(about(Code::DumpFailed, "sqlite_snapshot_lost", self.reading.named()));
        }
        let fail = |e: rusqlite::Error| self.reading.error(&e).or_with("page", self.next);
        let mut statement = connection.prepare_cached(PAGE).map_err(fail)?;
        let mut at = 0;
        while at < bytes.len() && self.next <= self.reading.pages() {
            let fail = |e: rusqlite::Error| self.reading.error(&e).or_with("page", self.next);
            let mut rows = statement.query([self.next]).map_err(fail)?;
            let row = rows.next().map_err(fail)?;
            let page = match row {
                Some(row) => row.get_ref(0).map_err(fail)?.as_blob().unwrap_or_default(),
                None => &[],
            };
            if page.len() != page_size {
                return Err(about(Code::DumpTruncated, "sqlite_page_missing", self.reading.named())
                    .with("page", self.next)
                    .with("pages", self.reading.pages()));
            }
            let take = page_size.min(bytes.len() - at);
            bytes[at..at + take].copy_from_slice(&page[..take]);
            if take < page_size {
                self.carry.clear();
                self.carry.extend_from_slice(&page[take..]);
                self.carried = 0;
            }
            at += take;
            self.next += 1;
        }
        Ok(at)
    }

    /// The rule of every dump: not a byte less than the state has.
    fn assert_all_read(&self) -> Result<()> {
        if self.handed_out != self.total() {
            return Err(Error::new(Code::DumpTruncated, "sqlite_dump_short").with("missing", self.total() - self.handed_out));
        }
        Ok(())
    }

    /// Counts and checks this very state, then ends the transaction.
    fn conclude(self, stop: facts::Stop<'_>) -> Result<DumpFacts> {
        let facts = self.facts(stop)?;
        self.reading.close()?;
        Ok(facts)
    }

    fn facts(&self, stop: facts::Stop<'_>) -> Result<DumpFacts> {
        let reading = &self.reading;
        let connection = reading.connection()?;
        let fail = |e: &rusqlite::Error| reading.error(e);
        let mut remarks = reading.remarks().to_vec();
        remarks.extend_from_slice(&self.remarks);
        let findings = facts::interruptible(connection, stop, || {
            facts::check(connection, Depth::Quick).map_err(|e| fail(&e))
        })?;
        if !findings.said.is_empty() {
            return Err(about(Code::DumpFailed, "sqlite_check_failed", reading.named()).with("said", findings.said.join("\n")));
        }
        let sound = findings.unchecked.is_empty();
        let (counts, uncounted) = facts::interruptible(connection, stop, || facts::counts(connection, sound, &fail))?;
        remarks.extend(findings.unchecked);
        remarks.extend(uncounted);
        remarks.extend(reading.still_the_same()?);
        Ok(DumpFacts {
            counts,
            scope: scope(),
            remarks,
        })
    }

    /// Whether the application suffers from this transaction: one more look.
    fn is_a_burden(&self, seen: &mut u32, patience: Patience) -> Result<bool> {
        *seen += u32::from(self.reading.writer_waits()?);
        let grown = self.reading.log_bytes().saturating_sub(self.log_at_start);
        Ok(*seen >= patience.looks || grown > patience.log_growth)
    }

    /// Writes everything that was not handed out yet to a private file without a name. Where that file cannot be written (no room),
    /// the pages go on coming from the database, and a remark says so.
    fn take_aside(&mut self, folder: &std::path::Path, stop: &Stop) -> Result<Option<File>> {
        let before = (self.next, self.carry.clone(), self.carried, self.handed_out);
        let copied = self.copy_rest(folder, stop)?;
        self.handed_out = before.3;
        match copied {
            Ok(file) => Ok(Some(file)),
            Err(error) => {
                (self.next, self.carry, self.carried, self.handed_out) = before;
                let remark = about(Code::LockTimeout, "sqlite_writers_waited", self.reading.named());
                self.remarks.push(remark.with("cause", error.to_string()));
                Ok(None)
            }
        }
    }

    fn copy_rest(&mut self, folder: &std::path::Path, stop: &Stop) -> Result<io::Result<File>> {
        let mut file = match tempfile::tempfile_in(folder) {
            Ok(file) => file,
            Err(e) => return Ok(Err(e)),
        };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            stop.check()?;
            let got = self.fill(&mut piece)?;
            if got == 0 {
                break;
            }
            if let Err(e) = file.write_all(&piece[..got]) {
                return Ok(Err(e));
            }
        }
        Ok(file.seek(SeekFrom::Start(0)).map(|_| file))
    }
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
    fn start(state: Arc<Mutex<State>>, stop: Stop, folder: std::path::PathBuf, patience: Patience) -> Result<Watch> {
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
    fn look(
        state: &Mutex<State>,
        stop: &Stop,
        folder: &std::path::Path,
        patience: Patience,
        seen: &mut u32,
    ) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let Ok(mut state) = state.lock() else {
            return Break(()); // The reader panicked; `read` and `finish` say so themselves.
        };
        let State::Live(pages) = &mut *state else {
            return Break(());
        };
        let aside = match pages.is_a_burden(seen, patience) {
            Ok(false) => return Continue(()),
            Ok(true) => pages.take_aside(folder, stop),
            Err(error) => Err(error),
        };
        let failed = State::Failed(Error::internal("sqlite dump", "left in between"));
        *state = match (aside, std::mem::replace(&mut *state, failed)) {
            (Ok(Some(rest)), State::Live(pages)) => {
                let left = pages.total() - pages.handed_out;
                match pages.conclude(&|| stop.check()) {
                    Ok(facts) => State::Aside { rest, left, facts },
                    Err(error) => State::Failed(error),
                }
            }
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
