//! The live file, through SQLite: its pages are read and written inside SQLite's own transactions, so that whoever has it open sees one
//! state or the next one, whatever happens to us.
//!
//! As everywhere in this adapter the file is never opened by other means (see `vfs`).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coffre_model::database::Access;
use coffre_model::{Code, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Statement};

use crate::sqlite::errors::{about, is_busy, live_error};
use crate::sqlite::header::{Encoding, HEADER_BYTES, Header, be32};
use crate::sqlite::vfs;

/// How often a lock is tried for at first: a writer without a pause leaves it alone for microseconds only.
const EAGER: Duration = Duration::from_micros(500);
/// How often later.
const RETRY: Duration = Duration::from_millis(10);
/// How long to be eager.
const EAGER_FOR: Duration = Duration::from_secs(10);
/// Pages kept while pages are read in order, each once.
const READ_CACHE_PAGES: i64 = 64;

/// Where the header says in which journal mode the file is: 1 with a rollback journal, 2 with a write-ahead log.
pub(super) const VERSIONS: std::ops::Range<usize> = 18..20;
/// Where the header has its number of pages.
pub(super) const PAGES: std::ops::Range<usize> = 28..32;
/// Where the header has the schema's version ("schema cookie"): whoever has read another one reads the schema again.
pub(super) const COOKIE: std::ops::Range<usize> = 40..44;

/// What the first page of a database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Bytes in a page; 0 for a file without bytes.
    pub(super) page_size: usize,
    /// Pages; 0 for a file without bytes.
    pub(super) pages: u32,
    /// Whether it has a write-ahead log.
    pub(super) wal: bool,
    /// The schema's version.
    pub(super) cookie: u32,
    /// Whether SQLite gives free pages back at each commit.
    pub(super) full_auto_vacuum: bool,
    /// How text is stored.
    pub(super) encoding: Encoding,
}

impl State {
    const EMPTY: State = State {
        page_size: 0,
        pages: 0,
        wal: false,
        cookie: 0,
        full_auto_vacuum: false,
        encoding: Encoding::Utf8,
    };

    /// Reads the first page.
    pub(super) fn of(page: &[u8], pages: u32) -> Option<State> {
        let start = <&[u8; HEADER_BYTES]>::try_from(page.get(..HEADER_BYTES)?).ok()?;
        let header = Header::parse(start).ok()?;
        Some(State {
            page_size: header.page_size,
            pages,
            wal: header.wal,
            cookie: be32(page, COOKIE.start),
            full_auto_vacuum: header.pointer_map && be32(page, 64) == 0,
            encoding: header.encoding,
        })
    }
}

/// A connection that may write.
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) file: PathBuf,
    named: PathBuf,
}

impl Live {
    /// Opens an existing file, waiting for locks. What a dead application left half done is finished by that.
    pub(super) fn open(file: &Path, named: &Path, access: &Access) -> Result<Live> {
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(file, flags)?;
            connection.busy_timeout(Duration::ZERO)?;
            // The schema is a stranger's: nothing in it may act. Pages may be written, which SQLite's defensive mode forbids.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            Ok(connection)
        };
        let live = Live {
            connection: open().map_err(|e| live_error(&e, named, 0))?,
            file: file.to_owned(),
            named: named.to_owned(),
        };
        // These look at the schema first, so they need a lock.
        live.patiently(access, |connection| {
            // All but the folder after the journal is gone, for which readers would have to wait: `moment` does that.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "cache_size", READ_CACHE_PAGES)
        })?;
        Ok(live)
    }

    /// Closes and opens again: gives every lock back, and forgets what was read.
    pub(super) fn reopen(&mut self, access: &Access) -> Result<()> {
        // The old connection must be closed before the new one asks for locks.
        self.connection = Connection::open_in_memory().map_err(|e| live_error(&e, &self.named, 0))?;
        *self = Live::open(&self.file, &self.named, access)?;
        Ok(())
    }

    /// Another connection to the same file.
    pub(super) fn again(&self, access: &Access) -> Result<Live> {
        Live::open(&self.file, &self.named, access)
    }

    /// Begins a transaction that reads, in the state that is the newest one now.
    pub(super) fn begin_reading(&self, access: &Access) -> Result<()> {
        self.patiently(access, |connection| {
            connection.execute_batch("BEGIN")?;
            self.pages().map(|_| ()).inspect_err(|_| self.roll_back())
        })
    }

    /// What an error of SQLite means for the live file.
    pub(super) fn error(&self, error: &rusqlite::Error) -> Error {
        live_error(error, &self.named, vfs::system_errno(&self.connection))
    }

    /// Does something for which others may hold a lock, until it is done or `access.lock_wait` is over.
    pub(super) fn patiently<T>(&self, access: &Access, mut work: impl FnMut(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let started = Instant::now();
        loop {
            match work(&self.connection) {
                Err(e) if is_busy(&e) => {
                    // Only the wait is cancelled: what needs none goes on, above all what takes back after a cancellation.
                    access.cancel.check()?;
                    let waited = started.elapsed();
                    if waited >= access.lock_wait {
                        return Err(self.error(&e).with("seconds", access.lock_wait.as_secs()));
                    }
                    let pause = if waited < EAGER_FOR { EAGER } else { RETRY };
                    std::thread::sleep(pause.min(access.lock_wait));
                }
                done => return done.map_err(|e| self.error(&e)),
            }
        }
    }

    /// What the file says now.
    pub(super) fn state(&self, access: &Access) -> Result<State> {
        let state = self.patiently(access, |connection| {
            // A table of that name could only be forged; it would be read instead of the pages.
            let sql = "SELECT count(*) FROM main.sqlite_schema WHERE lower(name) = 'sqlite_dbpage'";
            if connection.query_row(sql, [], |row| row.get::<_, i64>(0))? > 0 {
                return Ok(None);
            }
            let pages: u32 = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0))?;
            if pages == 0 {
                return Ok(Some(State::EMPTY));
            }
            let sql = "SELECT data FROM sqlite_dbpage WHERE pgno = 1";
            connection.query_row(sql, [], |row| {
                Ok(row.get_ref(0)?.as_blob().ok().and_then(|page| State::of(page, pages)))
            })
        })?;
        state.ok_or_else(|| about(Code::Refused, "sqlite_live_damaged", &self.named).with("cause", "page 1"))
    }

    /// A number that changes when anybody else commits.
    pub(super) fn data_version(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("PRAGMA main.data_version", [], |row| row.get(0))
    }

    /// Pages of the state that this connection's transaction sees.
    pub(super) fn pages(&self) -> rusqlite::Result<u32> {
        self.connection.query_row("PRAGMA main.page_count", [], |row| row.get(0))
    }

    /// A statement that gives one page by its number.
    pub(super) fn reader(&self) -> rusqlite::Result<Statement<'_>> {
        self.connection.prepare("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")
    }

    /// Ends a transaction without its changes, if there is one.
    pub(super) fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // Only after something failed, and that is told. What cannot be rolled back here is rolled back by whoever opens the file next.
            let _the_first_error_counts = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Removes a journal that was begun and has nothing in it: SQLite does so under the writer's lock when a connection leaves a mode that keeps
    /// journals, and not at all where somebody writes.
    pub(super) fn remove_cold_journal(&self) -> rusqlite::Result<()> {
        for mode in ["truncate", "delete"] {
            self.connection
                .query_row(&format!("PRAGMA main.journal_mode={mode}"), [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Sets the journal mode; answers whether the file is in it now. `wait` is how long locks are waited for at once: while SQLite waits,
    /// nobody new can read.
    pub(super) fn set_wal(&self, wal: bool, wait: Duration) -> rusqlite::Result<bool> {
        let wanted = if wal { "wal" } else { "delete" };
        self.connection.busy_timeout(wait)?;
        let sql = format!("PRAGMA main.journal_mode={wanted}");
        let now = self.connection.query_row(&sql, [], |row| row.get::<_, String>(0));
        self.connection.busy_timeout(Duration::ZERO)?;
        match now {
            Ok(now) => Ok(now == wanted),
            Err(e) if is_busy(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// Whether a file lies where a write-ahead log may not be trusted: its shared memory does not reach other machines.
#[cfg(target_os = "linux")]
pub(super) fn is_shared_between_machines(file: &Path) -> bool {
    // From linux/magic.h: NFS, SMB, SMB2, CIFS, 9P, FUSE, AFS, Coda, Ceph, GFS2, OCFS2, Lustre, vboxsf.
    const SHARED: [u32; 13] = [
        0x6969,
        0x517b,
        0xfe53_4d42,
        0xff53_4d42,
        0x0102_1997,
        0x6573_5546,
        0x5346_414f,
        0x7375_7245,
        0x00c3_6400,
        0x0116_1970,
        0x7461_636f,
        0x0bd0_0bd0,
        0x786f_4256,
    ];
    // What cannot be told is treated with care.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "magic numbers have 32 bits"
    )]
    rustix::fs::statfs(file).map_or(true, |stat| SHARED.contains(&(stat.f_type as u32)))
}

/// Whether a file lies where a write-ahead log may not be trusted. Elsewhere than on Linux that is not told.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_shared_between_machines(_: &Path) -> bool {
    true
}

/// Whether files that SQLite makes beside this one would belong to the one who owns it: as root SQLite hands them over.
pub(super) fn is_ours_to_create_beside(file: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    user == 0 || std::fs::metadata(file).is_ok_and(|meta| meta.uid() == user)
}
