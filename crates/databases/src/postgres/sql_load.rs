//! Loads SQL text into a database without `psql`: so there are no client commands, whatever the text says.
//!
//! Everything runs in one transaction, which is committed only when the last byte has come and the text was whole. The text is cut
//! into statements by the same lexer that the checker uses; how strings are read is asked of the server after each statement, so
//! that the two cannot come apart unnoticed, and before the commit the server is asked whether it is still the same transaction.

mod failure;
mod queue;
mod session;
mod work;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use coffre_model::cancel::Cancel;
use coffre_model::database::Load;
use coffre_model::error::{Error, Result};

use self::queue::{PIECE, Queue};
pub use self::session::{Boxed, Open, Session};
pub(crate) use self::session::{Held, Reported, drive, interrupt};
use self::work::work;

/// How a load is done.
#[derive(Clone)]
pub struct LoadLimits {
    /// Whether `pg_dump`'s end mark must be there before anything is committed.
    pub require_end: bool,
    /// Nothing from the server for so long ends the load as `STALLED` (a statement that the server says it is working on may be
    /// quiet for longer: an index over a large table says nothing until it is done).
    pub stall: Duration,
    /// Raised when the work is cancelled.
    pub cancel: Cancel,
}

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Statements run, `COPY` included.
    pub statements: u64,
    /// Rows that came by `COPY`.
    pub rows: u64,
    /// Lines of statements that were left out because they begin or end a transaction: the whole load is one. At most 100 of them.
    pub left_out: Vec<u64>,
}

/// A transaction of somebody else that a load works in: neither begun nor ended by it.
pub(crate) struct Guest {
    pub(crate) held: Held,
    /// Where the session comes back to after a whole load. After a failed one it is closed, and the server takes everything back.
    pub(crate) back: Arc<Mutex<Option<Held>>>,
    /// Schemas that are there already: the command that makes one of them is left out.
    pub(crate) there: BTreeSet<String>,
    /// Extensions stay what they are, comments on them as well: only their owner may change them.
    pub(crate) extensions_stay: bool,
}

/// A load of SQL text. Writing blocks while the server is slower than the writer.
pub struct SqlLoad {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<Result<Loaded>>>,
    piece: Vec<u8>,
    cancel: Cancel,
    failed: Option<Error>,
}

impl SqlLoad {
    /// Starts a load on a thread of its own, which opens the session with `open`, owns it, and closes it. Answers at once: whether
    /// the session could be opened shows at the first `write` or `flush` that has to wait for it.
    ///
    /// `open` connects to the database to load into, for example
    /// `|| Box::pin(async move { let (client, connection) = config.connect(tls.clone()).await?; Ok(Session::new(client, connection, tls)) })`.
    ///
    /// # Errors
    /// `INTERNAL` where no thread can be made.
    pub fn start(open: impl Fn() -> Boxed<Result<Session>> + Send + 'static, limits: LoadLimits) -> Result<Self> {
        Self::start_in(None, open, limits)
    }

    /// As [`SqlLoad::start`], perhaps in somebody's transaction; `open` is then only used to ask whether the server is at work.
    pub(crate) fn start_in(
        guest: Option<Guest>,
        open: impl Fn() -> Boxed<Result<Session>> + Send + 'static,
        limits: LoadLimits,
    ) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let cancel = limits.cancel.clone();
        let theirs = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("sql-load".into())
            .spawn(move || work(&theirs, Box::new(open), guest, limits))
            .map_err(|e| Error::internal("start the thread that loads", e))?;
        Ok(SqlLoad {
            queue,
            thread: Some(thread),
            piece: Vec::new(),
            cancel,
            failed: None,
        })
    }

    /// As [`Load::finish`], and says what was loaded.
    ///
    /// # Errors
    /// What went wrong; then nothing was loaded.
    pub fn finish_with_facts(mut self) -> Result<Loaded> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.send()?;
        self.queue.complete();
        self.join()
    }

    fn join(&mut self) -> Result<Loaded> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(Error::internal("load SQL", "the loading thread panicked")),
            None => Err(Error::internal("load SQL", "the load has ended already")),
        }
    }

    /// Hands over what was collected.
    fn send(&mut self) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        let sent = match self.queue.push(piece, &self.cancel) {
            Ok(true) => return Ok(()),
            Ok(false) => match self.join() {
                Ok(_) => Err(Error::internal("load SQL", "the loading thread ended early")),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        sent.inspect_err(|error: &Error| self.failed = Some(error.clone()))
    }
}

impl Write for SqlLoad {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE);
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(taken)
    }

    /// Hands everything written so far to the thread; does not wait until the server has taken it.
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.send()?)
    }
}

impl Load for SqlLoad {
    fn finish(self: Box<Self>) -> Result<()> {
        self.finish_with_facts().map(|_| ())
    }
}

impl Drop for SqlLoad {
    fn drop(&mut self) {
        self.queue.abandon();
        if let Some(thread) = self.thread.take() {
            // Whoever drops a load wants no more of it; that the session is closed is all that counts, and `work` sees to it.
            let _outcome = thread.join();
        }
    }
}
