//! The database file as SQLite itself holds it open: reading it, and its locks.
//!
//! Coffre never opens a live database file with `std::fs`: POSIX drops all of a process's locks on a file as soon as the process
//! closes *any* descriptor of it, so a mere look at the header would take the read lock away from a dump that runs in another
//! thread. SQLite's own descriptor is immune to that (<https://www.sqlite.org/src/artifact?name=os_unix.c>, "Posix Advisory
//! Locking"), so everything goes through it.
//!
//! All `unsafe` of this adapter is here, and so is the stand-in for collations of the application's own.

use std::cmp::Ordering;
use std::ffi::{c_char, c_int, c_void};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

/// The main database file of an open connection. Borrows the connection: SQLite owns the file.
pub(super) struct MainFile<'c> {
    file: *mut ffi::sqlite3_file,
    methods: &'c ffi::sqlite3_io_methods,
    connection: &'c Connection,
}

/// Words of the header of a log's index.
const LOG_INDEX_WORDS: usize = 12;
/// The header of a log's index, in the machine's own order of bytes.
pub(super) type LogIndex = [u32; LOG_INDEX_WORDS];

/// Whether a connection works with a write-ahead log, and has it open: since it read from such a file for the first time.
fn has_log_open(connection: &Connection) -> rusqlite::Result<bool> {
    let mode: String = connection.query_row("PRAGMA main.journal_mode", [], |row| row.get(0))?;
    Ok(mode == "wal")
}

/// A result code other than `SQLITE_OK`.
fn checked(code: c_int) -> rusqlite::Result<()> {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// A method that this file system layer does not have.
fn absent() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_NOTFOUND), None)
}

impl<'c> MainFile<'c> {
    /// The file behind `main`.
    pub(super) fn of(connection: &'c Connection) -> rusqlite::Result<Self> {
        MainFile::pointed_at(connection, ffi::SQLITE_FCNTL_FILE_POINTER)
    }

    /// The write-ahead log behind `main`; nothing where this connection has none open.
    pub(super) fn log_of(connection: &'c Connection) -> rusqlite::Result<Option<Self>> {
        if !has_log_open(connection)? {
            return Ok(None);
        }
        MainFile::pointed_at(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER).map(Some)
    }

    fn pointed_at(connection: &'c Connection, which: c_int) -> rusqlite::Result<Self> {
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the handle is valid while `connection` is borrowed; SQLITE_FCNTL_FILE_POINTER and SQLITE_FCNTL_JOURNAL_POINTER write one
        // pointer to `file` (https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html).
        let code =
            unsafe { ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), which, (&raw mut file).cast::<c_void>()) };
        checked(code)?;
        if file.is_null() {
            return Err(absent());
        }
        // SAFETY: SQLite keeps the file object alive as long as the connection is open, which the borrow ensures; the table of
        // methods of an open file is static.
        let methods = unsafe { (*file).pMethods.as_ref() }.ok_or_else(absent)?;
        Ok(MainFile {
            file,
            methods,
            connection,
        })
    }

    /// Reads at an offset. What lies behind the end of the file reads as zeros.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> rusqlite::Result<()> {
        let read = self.methods.xRead.ok_or_else(absent)?;
        let length = c_int::try_from(bytes.len()).map_err(|_| absent())?;
        let offset = i64::try_from(offset).map_err(|_| absent())?;
        // SAFETY: `bytes` has room for `length` bytes; xRead fills the rest with zeros when it comes to the end of the file.
        match unsafe { read(self.file, bytes.as_mut_ptr().cast::<c_void>(), length, offset) } {
            ffi::SQLITE_IOERR_SHORT_READ => Ok(()),
            code => checked(code),
        }
    }

    /// The size in bytes.
    pub(super) fn size(&self) -> rusqlite::Result<u64> {
        let file_size = self.methods.xFileSize.ok_or_else(absent)?;
        let mut size: i64 = 0;
        // SAFETY: xFileSize writes one integer.
        checked(unsafe { file_size(self.file, &raw mut size) })?;
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// The two copies of the header of the log's index, as they are in the shared memory now; nothing where this connection has no log open.
    /// One of them may be half written (<https://www.sqlite.org/walformat.html#the_wal_index_file_format>).
    pub(super) fn log_index(&self) -> rusqlite::Result<Option<[LogIndex; 2]>> {
        // Otherwise SQLite would make the shared memory.
        if !has_log_open(self.connection)? {
            return Ok(None);
        }
        let map = self.methods.xShmMap.ok_or_else(absent)?;
        let mut memory: *mut c_void = std::ptr::null_mut();
        // SAFETY: this connection has the log open, so the first region is mapped already and stays where it is until the connection is
        // closed, which the borrow prevents; xShmMap answers where, and extends nothing (its fourth argument). All connections use regions
        // of this length (WALINDEX_PGSZ).
        checked(unsafe { map(self.file, 0, 32 << 10, 0, &raw mut memory) })?;
        if memory.is_null() {
            return Ok(None);
        }
        let copy = |at: usize| -> LogIndex {
            // SAFETY: both headers lie inside the region, aligned; other processes may write to it, so each word is read once, as it is.
            std::array::from_fn(|word| unsafe { memory.cast::<u32>().cast_const().add(at + word).read_volatile() })
        };
        // Who writes them writes the second one first.
        let first = copy(0);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        Ok(Some([first, copy(LOG_INDEX_WORDS)]))
    }

    /// Takes the shared lock: nobody can change the file (nor roll a journal back into it) before the connection is closed.
    pub(super) fn lock_shared(&self) -> rusqlite::Result<()> {
        self.lock(ffi::SQLITE_LOCK_SHARED)
    }

    fn lock(&self, level: c_int) -> rusqlite::Result<()> {
        let lock = self.methods.xLock.ok_or_else(absent)?;
        // SAFETY: a lock may always be asked for on an open file; the levels follow one another as SQLite's own code has it
        // (nothing → shared; shared → exclusive as in sqlite3WalClose).
        checked(unsafe { lock(self.file, level) })
    }

    /// Whether somebody is about to write (holds RESERVED or more).
    pub(super) fn writer_waits(&self) -> rusqlite::Result<bool> {
        let check = self.methods.xCheckReservedLock.ok_or_else(absent)?;
        let mut reserved: c_int = 0;
        // SAFETY: xCheckReservedLock writes one integer.
        checked(unsafe { check(self.file, &raw mut reserved) })?;
        Ok(reserved != 0)
    }

    /// Lets go of the `-shm` file and removes it, if nobody else, of all processes, is connected to the database: then, and only then,
    /// the exclusive lock can be had. This is what SQLite does itself when the last connection closes, but without its checkpoint.
    /// To be called as the last thing before the connection is closed, outside any transaction.
    ///
    /// # Errors
    /// `SQLITE_BUSY` where somebody else is connected, `SQLITE_MISUSE` where SQLite would still look at the shared memory.
    pub(super) fn remove_shared_memory(&self) -> rusqlite::Result<()> {
        let unmap = self.methods.xShmUnmap.ok_or_else(absent)?;
        let no_checkpoint = self.connection.db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE)?;
        if !no_checkpoint || !self.connection.is_autocommit() {
            return checked(ffi::SQLITE_MISUSE);
        }
        self.lock(ffi::SQLITE_LOCK_EXCLUSIVE)?;
        // SAFETY: no transaction is open and none follows, and there is no checkpoint on close, so SQLite does not look at the mapping
        // again (sqlite3WalClose); its own call of xShmUnmap on close finds nothing mapped and does nothing.
        checked(unsafe { unmap(self.file, 1) })
    }
}

/// The operating system's last error of a connection: SQLite tells a disk that is full from one that is broken, but not a limit of size.
pub(super) fn system_errno(connection: &Connection) -> i32 {
    // SAFETY: the handle is valid while `connection` is borrowed.
    unsafe { ffi::sqlite3_system_errno(connection.handle()) }
}

/// Lets SQLite open trees that are sorted by a collation of the application's own, which this program does not have. Only for work that
/// compares nothing: counting, and `quick_check` (which leaves the order of keys to `integrity_check`).
pub(super) fn stand_in_for_collations(connection: &Connection) -> rusqlite::Result<()> {
    // SAFETY: the callback lives as long as the program and has no context.
    checked(unsafe { ffi::sqlite3_collation_needed(connection.handle(), std::ptr::null_mut(), Some(collation_needed)) })
}

/// Called by SQLite with the name of a collation that it does not know.
unsafe extern "C" fn collation_needed(_: *mut c_void, db: *mut ffi::sqlite3, encoding: c_int, name: *const c_char) {
    // SAFETY: handle and name come from SQLite and are valid during the call; `by_bytes` has no context and nothing to free. Where it
    // fails, SQLite says "no such collation sequence" as it would have without us.
    let _sqlite_says_it =
        unsafe { ffi::sqlite3_create_collation_v2(db, name, encoding, std::ptr::null_mut(), Some(by_bytes), None) };
}

unsafe extern "C" fn by_bytes(
    _: *mut c_void,
    left_length: c_int,
    left: *const c_void,
    right_length: c_int,
    right: *const c_void,
) -> c_int {
    /// # Safety
    /// `text` points to `length` bytes.
    unsafe fn slice<'t>(text: *const c_void, length: c_int) -> &'t [u8] {
        match usize::try_from(length) {
            // SAFETY: as the caller promises.
            Ok(length) if length > 0 && !text.is_null() => unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) },
            _ => &[],
        }
    }
    // SAFETY: SQLite gives two texts with their lengths, valid during the call.
    let (left, right) = unsafe { (slice(left, left_length), slice(right, right_length)) };
    match left.cmp(right) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}
