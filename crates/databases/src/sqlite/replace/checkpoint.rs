//! Brings a large write-ahead log home without anybody else having to do it.
//!
//! Whoever commits next would otherwise find a log that is longer than it likes, and write all of it into the database before its own
//! commit returns. So another connection takes the lock for that before the large commit, waits for it, and does the work aside.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use coffre_model::{Error, Result};
use rusqlite::{Connection, OpenFlags};

use crate::sqlite::errors::is_busy;

/// How often is looked whether the commit is done.
const LOOK: Duration = Duration::from_millis(1);

thread_local! {
    /// What the busy callback of this thread waits for: SQLite gives it no context.
    static COMMITTED: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// A thread that waits for a commit, and then brings the log home.
pub(super) struct Checkpoint {
    committed: Arc<AtomicBool>,
    thread: Option<JoinHandle<rusqlite::Result<()>>>,
}

impl Checkpoint {
    /// To be called while a write transaction is open.
    pub(super) fn await_commit(file: &Path) -> Result<Checkpoint> {
        let committed = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("sqlite-checkpoint".to_owned()).spawn({
            let (file, committed) = (file.to_owned(), Arc::clone(&committed));
            move || wait_and_bring_home(&file, &committed)
        });
        Ok(Checkpoint {
            committed,
            thread: Some(thread.map_err(|e| Error::internal("starting a thread", e))?),
        })
    }

    /// The transaction is over; waits until the log is home, as far as readers of older states allow.
    pub(super) fn finish(mut self) -> rusqlite::Result<()> {
        self.end().unwrap_or(Ok(()))
    }

    /// The transaction is over; the work begins.
    pub(super) fn begin(&self) {
        self.committed.store(true, Ordering::SeqCst);
    }

    fn end(&mut self) -> Option<rusqlite::Result<()>> {
        self.begin();
        // A panic there leaves the log as it is: somebody else brings it home.
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // Only where the work failed already: that error is the one to be told.
        let _the_first_error_counts = self.end();
    }
}

fn wait_and_bring_home(file: &Path, committed: &Arc<AtomicBool>) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    COMMITTED.set(Some(Arc::clone(committed)));
    // SQLite asks when it has the checkpointer's lock and finds the writer's taken. Once it is told that waiting is over it goes on without
    // the writer's lock, so that nobody waits for it (https://www.sqlite.org/c3ref/wal_checkpoint_v2.html).
    connection.busy_handler(Some(|_| {
        COMMITTED.with_borrow(|committed| {
            while committed.as_ref().is_some_and(|c| !c.load(Ordering::SeqCst)) {
                std::thread::sleep(LOOK);
            }
        });
        false
    }))?;
    loop {
        let over = committed.load(Ordering::SeqCst);
        // Before the commit SQLite waits in it; after it (where somebody else had the checkpointer's lock) nobody may wait for this.
        let how = if over { "PASSIVE" } else { "FULL" };
        let done = connection.query_row(&format!("PRAGMA main.wal_checkpoint({how})"), [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(2)?))
        });
        match done {
            // Answered −1: somebody else brings the log home now.
            Ok((1, -1)) if !over => std::thread::sleep(LOOK),
            Ok(_) => return Ok(()),
            Err(e) if is_busy(&e) && !over => std::thread::sleep(LOOK),
            Err(e) if is_busy(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Brings the log home as far as can be without anybody waiting; answers whether nothing is left to do.
pub(super) fn bring_home(connection: &Connection) -> rusqlite::Result<bool> {
    let done = connection.query_row("PRAGMA main.wal_checkpoint(PASSIVE)", [], |row| {
        Ok(row.get::<_, i64>(0)? == 0 && row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
    });
    match done {
        Err(e) if is_busy(&e) => Ok(false),
        other => other,
    }
}

/// Gives the room of the log back, if that is to be had at once.
pub(super) fn shorten(connection: &Connection, wait: Duration) -> rusqlite::Result<bool> {
    connection.busy_timeout(wait)?;
    let busy = connection.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    connection.busy_timeout(Duration::ZERO)?;
    match busy {
        Ok(busy) => Ok(busy == 0),
        Err(e) if is_busy(&e) => Ok(false),
        Err(e) => Err(e),
    }
}
