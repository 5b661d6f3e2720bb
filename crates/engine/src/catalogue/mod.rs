//! The catalogue: Coffre's own SQLite database. It remembers; it can be rebuilt from the manifests at the destinations.
//!
//! What lives here: opening, checking, migrating and closing the file, and every statement that reads or writes it, one file per noun.
//! What does not: storage, dumps, words for people.
//!
//! # Rules
//! - **States are held twice**, as types (`BackupState::may_become`, [`states`]) and as constraints and triggers in the SQL.
//! - **Every write is one IMMEDIATE transaction**, and everything that a run writes goes in under the fence of its
//!   [`Lease`](crate::lease::Lease): a run whose lease was taken changes nothing any more.
//! - **Names** are compared exactly (`Shop` is not `shop`), and are unique among what has not been removed. An exact name wins over an id.
//! - **Removing keeps the row** (`removed_at`). A source, destination, plan or key that is gone from the lists still gives its name to the
//!   backups made with it, and those can still be verified, restored, downloaded and deleted. Refused are: a source or destination
//!   or key that a plan uses; a source with work going on; a destination that holds copies (they would be out of reach, and still look
//!   safe); a key that an existing backup needs to be opened.
//! - **Deleting a backup keeps its row** as a record, without its manifest and counts.
//! - **Times** are kept to the millisecond: what is read back is what was given, cut to milliseconds ([`to_millis`]).
//!
//! # Memory
//! `cache_size` (64 MB) and `mmap_size` (256 MB) are limits, not allocations: SQLite takes a page of cache, and the system a page of the
//! map, when a query touches it. What a run asks touches a few dozen. What reads a large part of the file goes without the map: the
//! `quick_check` at the start on a connection of its own with a small cache, lists and sums on a second one that only reads. (With the map,
//! the system counts the neighbours of each page touched as ours: a list of 100,000 backups reads 10 MB and showed as 100.)
//!
//! # Files and locks
//! `runtime/open.lock` (exclusive, for the moments of opening) makes processes check, make and migrate one after the other.
//! `runtime/catalogue.lock` is held shared for as long as the catalogue is open; who migrates or sets aside needs it exclusively, so
//! nobody ever works on a file that is being replaced. The latter is not empty once a catalogue was made: one that has vanished is
//! noticed, not silently made anew.

mod adopt;
mod backups;
mod channels;
pub mod copies;
mod damage;
mod deletion;
mod deliveries;
mod destinations;
mod drills;
mod fault;
mod figures;
mod hooks;
mod journal;
mod keys;
mod names;
mod news;
mod open;
mod plans;
mod replacements;
mod restores;
mod retention;
mod row;
mod runs;
mod search;
mod settings;
pub mod slots;
mod sources;
pub mod states;
mod verification;

#[cfg(test)]
pub(crate) mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coffre_model::{Error, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use adopt::Adopted;
pub use backups::{Filter, Page, Stats};
pub use deliveries::{Delivery, Fresh, Listening};
pub(crate) use fault::Fault;
pub use figures::{DestinationFigures, FileFacts, Outcomes, PlanFigures, Span, Totals};
pub use news::Whose;
pub use replacements::Preview;
pub use retention::Choice;
pub(crate) use row::time_text;
pub use row::to_millis;
pub use runs::{DeadRun, Details, KnownCopy, Leftover};
pub use search::{JournalFilter, Search, Sort};
pub use slots::SlotFigures;
pub use states::RowState;
pub use verification::{CopyResult, Reading};

use crate::home::Home;

/// How often a write asks again for its turn, each time for `busy_timeout`: a hundred processes on a slow disk need more than one.
const TURNS: u32 = 6;

/// The catalogue, open. Cloning shares the one connection; calls from several threads wait for each other.
#[derive(Clone)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

struct Inner {
    home: Home,
    path: PathBuf,
    /// For lists and sums; opened at the first of them. Dropped first, so that the other one is the last to close.
    lists: Mutex<Lists>,
    /// Nothing after [`Catalogue::close`]. Stands before the lock: it is dropped first.
    connection: Mutex<Option<Connection>>,
    /// Shared: says that this file is in use.
    _in_use: File,
}

/// The connection of the lists.
enum Lists {
    NotYet,
    Open(Box<Connection>, Box<Option<KnownSums>>),
    Closed,
}

/// Sums over a filter, as of one state of the file.
#[derive(Clone)]
struct KnownSums {
    /// What SQLite says of the changes that the connection of the lists has seen; it makes none itself.
    version: i64,
    filter: Filter,
    total: u64,
    stats: Stats,
}

impl Catalogue {
    /// The home that this catalogue belongs to.
    pub fn home(&self) -> &Home {
        &self.inner.home
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Moves everything into the one file, empties the write-ahead log, and closes. Other clones get `INTERNAL` from then on.
    ///
    /// # Errors
    /// Those of the disk. What was committed is safe in any case; the next open finishes the move.
    pub fn close(self) -> Result<()> {
        *self.lock_lists() = Lists::Closed;
        let Some(connection) = self.lock().take() else {
            return Ok(());
        };
        let moved = checkpoint(&connection).map_err(|e| e.into_error(&self.inner.path));
        let closed = connection
            .close()
            .map_err(|(_, e)| Fault::Sql(e).into_error(&self.inner.path));
        moved.and(closed)
    }

    /// Moves everything from the write-ahead log into the one file and empties the log, as far as other processes' reads let us.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn checkpoint(&self) -> Result<()> {
        let guard = self.lock();
        let connection = guard.as_ref().ok_or_else(closed)?;
        checkpoint(connection).map_err(|e| e.into_error(&self.inner.path))
    }

    /// Asks the connection itself, outside of a transaction.
    fn alone<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        let guard = self.lock();
        let connection = guard.as_ref().ok_or_else(closed)?;
        work(connection).map_err(|e| e.into_error(&self.inner.path))
    }

    /// Reads, all statements in one snapshot.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        let guard = self.lock();
        let connection = guard.as_ref().ok_or_else(closed)?;
        in_snapshot(connection, work).map_err(|e| e.into_error(&self.inner.path))
    }

    /// Reads a large part of the file, all statements in one snapshot, on the connection of the lists.
    pub(crate) fn read_widely<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        self.read_list(|connection, _| work(connection))
    }

    /// The same, with the sums that were made last: `work` says whether they still hold, and leaves what holds now.
    fn read_list<T>(&self, work: impl FnOnce(&Connection, &mut Option<KnownSums>) -> Result<T, Fault>) -> Result<T> {
        let mut guard = self.lock_lists();
        if matches!(*guard, Lists::NotYet) {
            *guard = Lists::Open(Box::new(open::connect_for_lists(&self.inner.path)?), Box::new(None));
        }
        let Lists::Open(connection, sums) = &mut *guard else {
            return Err(closed());
        };
        in_snapshot(connection, |c| work(c, sums)).map_err(|e| e.into_error(&self.inner.path))
    }

    /// Writes: all statements or none.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        let guard = self.lock();
        let connection = guard.as_ref().ok_or_else(closed)?;
        let done = (|| {
            let transaction = begin_immediate(connection)?;
            let answer = work(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        })();
        done.map_err(|e: Fault| e.into_error(&self.inner.path))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        // A panic in the middle of a transaction has rolled it back while unwinding: the connection is whole.
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_lists(&self) -> MutexGuard<'_, Lists> {
        self.inner.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_snapshot<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let answer = work(&transaction)?;
    transaction.finish()?;
    Ok(answer)
}

fn begin_immediate(connection: &Connection) -> Result<Transaction<'_>, Fault> {
    let mut turns = 1;
    loop {
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
            Err(e) if fault::is_busy(&e) && turns < TURNS => turns += 1,
            other => return Ok(other?),
        }
    }
}

/// `TRUNCATE`. That readers elsewhere keep the log from being emptied is no error: whoever closes last empties it.
fn checkpoint(connection: &Connection) -> Result<(), Fault> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

fn closed() -> Error {
    Error::internal("catalogue", "it was closed")
}
