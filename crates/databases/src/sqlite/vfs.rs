//! The database file as SQLite itself holds it open: reading it, and its locks.
//!
//! Coffre never opens a live database file with `std::fs`: POSIX drops all of a process's locks on a file as soon as the process
//! closes *any* descriptor of it, so a mere look at the header would take the read lock away from a dump that runs in another
//! thread. SQLite's own descriptor is immune to that (<https://www.sqlite.org/src/artifact?name=os_unix.c>, "Posix Advisory
//! Locking"), so everything goes through it. All `unsafe` of this adapter is here.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

use rusqlite::{Connection, ffi};

/// The main database file of an open connection. Borrows the connection: SQLite owns the file.
pub(super) struct MainFile<'c> {
    file: *mut ffi::sqlite3_file,
    methods: &'c ffi::sqlite3_io_methods,
    connection: PhantomData<&'c Connection>,
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
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the handle is valid while `connection` is borrowed; SQLITE_FCNTL_FILE_POINTER writes one pointer to `file`
        // (https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html).
        let code = unsafe {
            ffi::sqlite3_file_control(
                connection.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast::<c_void>(),
            )
        };
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
            connection: PhantomData,
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

    /// Takes the shared lock: nobody can change the file (nor roll a journal back into it) before the connection is closed.
    pub(super) fn lock_shared(&self) -> rusqlite::Result<()> {
        self.lock(ffi::SQLITE_LOCK_SHARED)
    }

    /// Takes the exclusive lock, which succeeds only where this is the one connection, of all processes, to the database.
    /// It is given back when the connection is closed.
    pub(super) fn lock_exclusive(&self) -> rusqlite::Result<()> {
        self.lock(ffi::SQLITE_LOCK_EXCLUSIVE)
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

    /// Lets go of the `-shm` file and removes it. Only under [`MainFile::lock_exclusive`], outside any transaction, as the last
    /// thing before the connection is closed: this is what SQLite does itself when the last connection closes.
    pub(super) fn remove_shared_memory(&self) -> rusqlite::Result<()> {
        let unmap = self.methods.xShmUnmap.ok_or_else(absent)?;
        // SAFETY: no transaction is open, so SQLite does not look at the mapping again; its own call of xShmUnmap on close finds
        // nothing mapped and does nothing.
        checked(unsafe { unmap(self.file, 1) })
    }
}
