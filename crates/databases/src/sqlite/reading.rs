//! One read transaction on a live database: how it is opened, whatever its application left beside it, and how it is closed so that
//! the folder is as it was found.
//!
//! What is never done here: changing the database, its `-wal` or its `-journal`, checkpointing, rolling back in place, waiting
//! without looking at the cancel flag, or opening the file other than through SQLite (see `vfs`).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coffre_model::database::Access;
use coffre_model::{Code, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use super::errors::{about, is_busy, reading, result_code, writing};
use super::header::{HEADER_BYTES, Header};
use super::vfs::MainFile;

/// The longest path in bytes that SQLite opens on Unix (`MAX_PATHNAME` 512, less the longest suffix that it appends).
pub(super) const PATH_MAX: usize = 500;
/// How often a locked database is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// How often a hot journal may turn out to be somebody's running transaction after all, before that counts as locked.
const RECOVERY_TRIES: u32 = 5;
/// Pieces in which a private copy is made.
const COPY_BYTES: usize = 1 << 20;

/// How a database is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Rollback journal: a shared lock on the file keeps writers from committing until it is given back.
    Rollback,
    /// Write-ahead log: a read mark keeps the snapshot, writers go on.
    Wal,
    /// On a read-only file system without a log: read as it lies, without locks, and compared before and after.
    Still,
    /// From a private copy in the run's own folder, in which SQLite finished what a crashed application had begun.
    Copy,
}

/// What lay beside the database before it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beside {
    wal: bool,
    shm: bool,
}

/// What a file looks like from outside; another stamp means that somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let m = fs::metadata(path).ok()?; // Nothing there (any more) is an answer here, not a failure.
        Some(Stamp {
            place: (m.dev(), m.ino()),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
        })
    }
}

/// An open read transaction. One connection, one transaction, from the first page to the last check: whatever is read through it is
/// one and the same state.
pub(super) struct Reading {
    /// Always there until it is closed.
    connection: Option<Connection>,
    /// As the person named it.
    named: PathBuf,
    /// With symbolic links resolved: the `-wal` lies beside this one.
    file: PathBuf,
    manner: Manner,
    beside: Beside,
    stamp: Option<Stamp>,
    page_size: usize,
    pages: u32,
    remarks: Vec<Error>,
    /// Removed after the connection is closed (fields are dropped in this order).
    _copy: Option<tempfile::TempDir>,
}

/// How the first read went.
enum Begun {
    Reading,
    /// A transaction of a dead process must be rolled back first.
    HotJournal,
    /// SQLite may not create or open what the write-ahead log needs.
    Denied(rusqlite::Error),
}

impl Reading {
    /// Opens the database and begins the read transaction. Waits up to `access.lock_wait` for locks.
    ///
    /// # Errors
    /// `UNREACHABLE` (missing, not a file), `DUMP_EMPTY` (no bytes), `PRIVILEGE`, `LOCK_TIMEOUT`, `DUMP_FAILED` (not a database,
    /// damaged), `CANCELLED`.
    pub(super) fn open(named: &Path, access: &Access) -> Result<Reading> {
        let file = resolve(named)?;
        let still = on_read_only_filesystem(&file)?;
        for _ in 0..RECOVERY_TRIES {
            if let Some(reading) = Reading::attempt(named, &file, access, still)? {
                return Ok(reading);
            }
            access.cancel.check()?;
            std::thread::sleep(RETRY);
        }
        Err(about(Code::LockTimeout, "sqlite_locked", named).with("cause", "journal in use"))
    }

    /// One attempt; nothing where it is worth another one. `still` says that nobody can write where the database lies, as far as this
    /// process can see.
    pub(super) fn attempt(named: &Path, file: &Path, access: &Access, still: bool) -> Result<Option<Reading>> {
        let beside = Beside {
            wal: exists(&suffixed(file, "-wal")),
            shm: exists(&suffixed(file, "-shm")),
        };
        let connection = connect(file, named, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let wal = peek(&connection, named)? || beside.wal;
        let new = |connection, manner, copy, remarks| -> Result<Option<Reading>> {
            Reading::begun(connection, named, file, manner, beside, copy, remarks).map(Some)
        };
        if !wal {
            return match begin(&connection, access, named)? {
                Begun::Reading => new(connection, Manner::Rollback, None, Vec::new()),
                Begun::HotJournal => Reading::recovered(named, file, connection, access),
                Begun::Denied(error) => Err(reading(&error, named)),
            };
        }
        if !still && (!beside.wal || !beside.shm) && !may_create_beside(file, rustix::process::geteuid().as_raw())? {
            return Err(about(Code::Privilege, "sqlite_other_owner", named));
        }
        drop(connection);
        // Read-write, because a read-only connection can neither remove the `-shm` that it had to create nor recover a log. SQLite
        // falls back to read-only by itself where the file may not be written. `query_only` is set, and nothing is checkpointed.
        // Beside a rollback journal, which is not usual here, only a read-only connection is sure not to roll it back in place.
        let how = match length(&suffixed(file, "-journal")) {
            0 => OpenFlags::SQLITE_OPEN_READ_WRITE,
            _ => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let connection = connect(file, named, how)?;
        match begin(&connection, access, named)? {
            Begun::Reading => new(connection, Manner::Wal, None, Vec::new()),
            Begun::HotJournal => Reading::recovered(named, file, connection, access),
            Begun::Denied(_) if still && length(&suffixed(file, "-wal")) == 0 => {
                drop(connection);
                let connection = connect_immutable(file, named)?;
                match begin(&connection, access, named)? {
                    Begun::Reading => new(connection, Manner::Still, None, Vec::new()),
                    Begun::HotJournal => Err(about(Code::DumpFailed, "sqlite_damaged", named).with("cause", "hot journal")),
                    Begun::Denied(error) => Err(reading(&error, named)),
                }
            }
            Begun::Denied(_) if still => Reading::recovered(named, file, connection, access),
            Begun::Denied(error) => Err(about(Code::Privilege, "sqlite_wal_denied", named).with("cause", error.to_string())),
        }
    }

    /// Copies the database and what its dead application left beside it, and lets SQLite finish the job in the copy.
    /// Nothing is answered where the application turns out to be alive.
    fn recovered(named: &Path, file: &Path, connection: Connection, access: &Access) -> Result<Option<Reading>> {
        let Some(folder) = private_copy(named, file, &connection, access)? else {
            return Ok(None);
        };
        drop(connection);
        let copy = folder.path().join(COPY_NAME);
        let connection = connect(&copy, named, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        match begin(&connection, access, named)? {
            Begun::Reading => {}
            Begun::HotJournal => return Ok(None),
            Begun::Denied(error) => return Err(reading(&error, named)),
        }
        let nothing = Beside { wal: false, shm: false };
        let remark = about(Code::Interrupted, "sqlite_recovered", named);
        Reading::begun(connection, named, file, Manner::Copy, nothing, Some(folder), vec![remark]).map(Some)
    }

    fn begun(
        connection: Connection,
        named: &Path,
        file: &Path,
        manner: Manner,
        beside: Beside,
        copy: Option<tempfile::TempDir>,
        remarks: Vec<Error>,
    ) -> Result<Reading> {
        let mut this = Reading {
            connection: Some(connection),
            named: named.to_owned(),
            file: file.to_owned(),
            manner,
            beside,
            stamp: Stamp::of(file),
            page_size: 0,
            pages: 0,
            remarks,
            _copy: copy,
        };
        let number = |sql: &str| -> Result<u64> {
            let value = this.connection()?.query_row(sql, [], |row| row.get::<_, i64>(0));
            let value = value.map_err(|e| this.error(&e))?;
            u64::try_from(value).map_err(|e| Error::internal("PRAGMA", e))
        };
        let page_size = number("PRAGMA main.page_size")?;
        let pages = number("PRAGMA main.page_count")?;
        this.page_size = usize::try_from(page_size).map_err(|e| Error::internal("page size", e))?;
        this.pages = u32::try_from(pages).map_err(|e| Error::internal("page count", e))?;
        Ok(this)
    }

    /// The connection, inside its read transaction.
    pub(super) fn connection(&self) -> Result<&Connection> {
        self.connection
            .as_ref()
            .ok_or_else(|| Error::internal("sqlite", "the connection is closed"))
    }

    /// Bytes in a page, 512 to 65536.
    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    /// Pages in this state of the database.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// How the database is being read.
    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    /// The database as the person named it.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }

    /// Remarks for a person.
    pub(super) fn remarks(&self) -> &[Error] {
        &self.remarks
    }

    /// What an error of SQLite means for this database.
    pub(super) fn error(&self, error: &rusqlite::Error) -> Error {
        reading(error, &self.named)
    }

    /// Whether somebody wants to write and cannot, because this transaction is open.
    pub(super) fn writer_waits(&self) -> Result<bool> {
        if self.manner != Manner::Rollback {
            return Ok(false);
        }
        let file = MainFile::of(self.connection()?).map_err(|e| self.error(&e))?;
        file.writer_waits().map_err(|e| self.error(&e))
    }

    /// Size of the write-ahead log in bytes, which cannot start over while this transaction is open.
    pub(super) fn log_bytes(&self) -> u64 {
        match self.manner {
            Manner::Wal => length(&suffixed(&self.file, "-wal")),
            _ => 0,
        }
    }

    /// Fails where what was read was not one state: the transaction is gone, or somebody wrote the file past SQLite's locks (a plain
    /// `cp` over a live database). Answers a remark where another file has the database's name now.
    pub(super) fn still_the_same(&self) -> Result<Option<Error>> {
        if self.connection()?.is_autocommit() {
            return Err(about(Code::DumpFailed, "sqlite_snapshot_lost", &self.named));
        }
        if !matches!(self.manner, Manner::Rollback | Manner::Still) {
            return Ok(None);
        }
        let now = Stamp::of(&self.file);
        if now.map(|s| s.place) != self.stamp.map(|s| s.place) {
            return Ok(Some(about(Code::NotFound, "sqlite_replaced", &self.named)));
        }
        let log = self.manner == Manner::Still && exists(&suffixed(&self.file, "-wal")) != self.beside.wal;
        if now != self.stamp || log {
            return Err(about(Code::DumpFailed, "sqlite_changed", &self.named));
        }
        Ok(None)
    }

    /// Ends the transaction and closes, leaving the folder as it was found.
    pub(super) fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        let fail = |e: rusqlite::Error| reading(&e, &self.named);
        connection.flush_prepared_statement_cache();
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK").map_err(fail)?;
        }
        if self.manner == Manner::Wal {
            let log = suffixed(&self.file, "-wal");
            if !self.beside.wal && length(&log) == 0 {
                // The log that SQLite had to create is still empty. Closing as SQLite does by default removes it together with the
                // `-shm` if nobody else is connected; there is nothing in it that could be checkpointed.
                set(&connection, DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(fail)?;
            } else if self.beside.wal && !self.beside.shm {
                let file = MainFile::of(&connection).map_err(fail)?;
                match file.remove_shared_memory() {
                    // Somebody else is connected by now: then the `-shm` is theirs, too, and stays. Likewise where the file may only be
                    // read, which makes the lock impossible (EBADF).
                    Err(e) if is_busy(&e) || matches!(result_code(&e), Some((ffi::SQLITE_IOERR, _))) => {}
                    other => other.map_err(fail)?,
                }
            }
        }
        connection.close().map_err(|(_, e)| fail(e))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Only where the work failed already: that error is the one to be told, and the connection closes in any case.
        let _the_first_error_counts = self.end();
    }
}

/// Name of the database inside its private copy.
const COPY_NAME: &str = "copy.db";

/// `path` with a suffix after its last letter.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Size of a file; 0 where there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Follows symbolic links and refuses what is no database file, without opening anything: opening a pipe would block.
fn resolve(named: &Path) -> Result<PathBuf> {
    use std::io::ErrorKind;
    let file = fs::canonicalize(named).map_err(|e| {
        let (code, text) = match e.kind() {
            ErrorKind::NotFound => (Code::Unreachable, "sqlite_missing"),
            ErrorKind::PermissionDenied => (Code::Privilege, "sqlite_denied"),
            ErrorKind::InvalidFilename => (Code::Usage, "sqlite_path_long"),
            _ => (Code::Unreachable, "sqlite_cannot_open"),
        };
        about(code, text, named).with("cause", e.to_string())
    })?;
    let meta = fs::metadata(&file).map_err(|e| about(Code::Unreachable, "sqlite_missing", named).with("cause", e.to_string()))?;
    if meta.is_dir() {
        return Err(about(Code::Unreachable, "sqlite_is_folder", named));
    }
    if !meta.is_file() {
        return Err(about(Code::Unreachable, "sqlite_not_file", named));
    }
    // SQLite takes an empty file for an empty database, and removes a `-wal` or `-journal` beside it. Both would be a mistake.
    if meta.len() == 0 {
        return Err(about(Code::DumpEmpty, "sqlite_empty", named));
    }
    if file.as_os_str().len() > PATH_MAX {
        return Err(about(Code::Usage, "sqlite_path_long", named).with("max", PATH_MAX));
    }
    Ok(file)
}

fn set(connection: &Connection, what: DbConfig, value: bool) -> rusqlite::Result<()> {
    connection.set_db_config(what, value).map(|_now| ())
}

/// Opens without reading anything yet. The path is absolute, so SQLite cannot take it for a `file:` address.
fn connect(file: &Path, named: &Path, how: OpenFlags) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(file, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        prepare(&connection)?;
        Ok(connection)
    };
    open().map_err(|e| match result_code(&e) {
        Some((ffi::SQLITE_CANTOPEN, _)) if unreadable(file) => about(Code::Privilege, "sqlite_denied", named),
        _ => reading(&e, named),
    })
}

/// Settings that read nothing of the file. The schema is a stranger's: nothing in it may act.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    set(connection, DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    set(connection, DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    set(connection, DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Opens a file that nobody changes, without locks and without creating anything beside it: a restore's private partial file, or a
/// database on a read-only file system.
pub(super) fn connect_immutable(file: &Path, named: &Path) -> Result<Connection> {
    use std::fmt::Write;
    let mut address = String::from("file://");
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => address.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => address.push(char::from(*b)),
            b => write!(address, "%{b:02X}").map_err(|e| Error::internal("file address", e))?,
        }
    }
    address.push_str("?immutable=1");
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&address, flags)?;
        prepare(&connection)?;
        Ok(connection)
    };
    open().map_err(|e| reading(&e, named))
}

/// Whether this process may not read the file. Asked only after SQLite could not open it.
fn unreadable(file: &Path) -> bool {
    match fs::File::open(file) {
        Err(e) => e.kind() == std::io::ErrorKind::PermissionDenied,
        Ok(open) => {
            // Closing it would drop the locks of other connections of this process (see `vfs`): a descriptor is the lesser loss.
            std::mem::forget(open);
            false
        }
    }
}

/// Reads the header and answers whether the database has a write-ahead log.
fn peek(connection: &Connection, named: &Path) -> Result<bool> {
    let mut bytes = [0; HEADER_BYTES];
    let read = MainFile::of(connection).and_then(|file| file.read_at(&mut bytes, 0));
    read.map_err(|e| reading(&e, named))?;
    let header = Header::parse(&bytes)
        .map_err(|wrong| about(Code::DumpFailed, "sqlite_not_database", named).with("cause", wrong.to_string()))?;
    Ok(header.wal)
}

/// Begins the read transaction: the first read takes the lock or the read mark, which stays until the end.
fn begin(connection: &Connection, access: &Access, named: &Path) -> Result<Begun> {
    let once = || -> rusqlite::Result<()> {
        connection.execute_batch("BEGIN")?;
        connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
        connection.pragma_update(None, "cache_size", STREAM_CACHE_PAGES)
    };
    let started = Instant::now();
    loop {
        access.cancel.check()?;
        let Err(error) = once() else {
            return Ok(Begun::Reading);
        };
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK").map_err(|e| reading(&e, named))?;
        }
        if is_busy(&error) {
            if started.elapsed() >= access.lock_wait {
                return Err(reading(&error, named).with("seconds", access.lock_wait.as_secs()));
            }
            std::thread::sleep(RETRY.min(access.lock_wait));
            continue;
        }
        return match result_code(&error) {
            Some((_, ffi::SQLITE_READONLY_ROLLBACK)) => Ok(Begun::HotJournal),
            Some((ffi::SQLITE_READONLY | ffi::SQLITE_CANTOPEN, _)) => Ok(Begun::Denied(error)),
            _ => Err(reading(&error, named)),
        };
    }
}

/// Pages kept while pages are read in order, each once: as few as fit a processor's cache.
const STREAM_CACHE_PAGES: i64 = 64;

/// Whether `-wal` and `-shm` may be created beside the file by this user: as root SQLite hands them over to the file's owner, as the
/// owner they are right anyway; as anybody else they could lock the application out of its own database.
fn may_create_beside(file: &Path, user: u32) -> Result<bool> {
    let owner = fs::metadata(file).map_err(|e| Error::internal("stat", e))?.uid();
    Ok(user == 0 || user == owner)
}

fn on_read_only_filesystem(file: &Path) -> Result<bool> {
    let stat = rustix::fs::statvfs(file).map_err(|e| Error::internal("statvfs", e))?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// What an application that died may have left beside its database: a transaction to roll back, one to take up.
const LEFT_BEHIND: [&str; 2] = ["-journal", "-wal"];

/// Copies the file, its journal and its log into a folder of its own in the run's private folder. The shared lock is held meanwhile,
/// which keeps everybody from rolling the journal back. Answers nothing where the journal belongs to a living writer.
fn private_copy(named: &Path, file: &Path, connection: &Connection, access: &Access) -> Result<Option<tempfile::TempDir>> {
    let fail = |e: rusqlite::Error| reading(&e, named);
    let room = |e: std::io::Error| match writing(&e, &access.runtime) {
        full if full.code() == Code::DestFull => about(Code::HomeFull, "sqlite_copy_full", named).with("cause", e.to_string()),
        other => other,
    };
    let source = MainFile::of(connection).map_err(fail)?;
    match source.lock_shared() {
        Err(e) if is_busy(&e) => return Ok(None),
        other => other.map_err(fail)?,
    }
    let left: Vec<&str> = LEFT_BEHIND.into_iter().filter(|s| exists(&suffixed(file, s))).collect();
    if left.is_empty() || source.writer_waits().map_err(fail)? {
        return Ok(None);
    }
    let stamps = || -> Vec<Option<Stamp>> {
        let files = std::iter::once("").chain(LEFT_BEHIND);
        files.map(|suffix| Stamp::of(&suffixed(file, suffix))).collect()
    };
    let before = stamps();
    let folder = tempfile::Builder::new()
        .prefix("sqlite-")
        .tempdir_in(&access.runtime)
        .map_err(room)?;
    let target = folder.path().join(COPY_NAME);
    let create = |path: &Path| fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut copy = create(&target).map_err(room)?;
    let mut piece = vec![0; COPY_BYTES];
    let (mut at, size) = (0, source.size().map_err(fail)?);
    while at < size {
        access.cancel.check()?;
        let take = usize::try_from(size - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        source.read_at(&mut piece[..take], at).map_err(fail)?;
        copy.write_all(&piece[..take]).map_err(room)?;
        at += take as u64;
    }
    for suffix in left {
        // SQLite holds no locks on these, so they may be opened like any file.
        let unread = |e: std::io::Error| about(Code::Privilege, "sqlite_denied", named).with("cause", e.to_string());
        let mut companion = fs::File::open(suffixed(file, suffix)).map_err(unread)?;
        let mut copy = create(&suffixed(&target, suffix)).map_err(room)?;
        loop {
            access.cancel.check()?;
            let got = companion.read(&mut piece).map_err(unread)?;
            if got == 0 {
                break;
            }
            copy.write_all(&piece[..got]).map_err(room)?;
        }
    }
    if before != stamps() {
        return Err(about(Code::DumpFailed, "sqlite_changed", named));
    }
    Ok(Some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_create_nothing_beside_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.db");
        fs::write(&file, b"x").unwrap();
        let owner = fs::metadata(&file).unwrap().uid();
        assert!(may_create_beside(&file, 0).unwrap());
        assert!(may_create_beside(&file, owner).unwrap());
        assert!(!may_create_beside(&file, owner + 1).unwrap() || owner + 1 == 0);
    }
}
