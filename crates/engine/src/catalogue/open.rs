//! Opening: the locks around it, the file's first making, the pragmas, the migrations and the check at the start.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use coffre_model::{Code, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::fault::{Fault, corrupt};
use super::{Catalogue, Inner, Lists};
use crate::home::{self, Home};

/// `COFR` in the header of the file: what tells a catalogue from any other SQLite database.
const APPLICATION_ID: u32 = 0x434F_4652;

/// Every released schema, in order. `user_version` is how many of them a file has.
pub(super) static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| Migrations::new(released()));

/// What [`MIGRATIONS`] is made of.
pub(super) fn released() -> Vec<M<'static>> {
    vec![
        M::up(include_str!("migration_1.sql")),
        M::up_with_hook(include_str!("migration_2.sql"), |transaction| {
            let aims: i64 = transaction.query_row(
                "SELECT count(*) FROM pragma_table_info('backups') WHERE name = 'aim'",
                [],
                |row| row.get(0),
            )?;
            if aims == 0 {
                transaction.execute_batch(include_str!("aim_column.sql"))?;
            }
            Ok(())
        }),
        M::up(include_str!("migration_3.sql")),
        M::up(include_str!("migration_4.sql")),
    ]
}

/// The `user_version` that this version of Coffre writes.
pub(super) const SCHEMA: u32 = 4;

/// How long to wait for another process to finish opening. Opening takes milliseconds; a migration of a large catalogue, seconds.
const GATE: Duration = Duration::from_secs(30);

/// The two locks around the file. Held in this order: gate, then in use.
pub(super) struct Locks {
    /// `runtime/open.lock`, exclusive: nobody else opens, makes, migrates or sets aside.
    _gate: File,
    /// `runtime/catalogue.lock`; not empty once a catalogue was made.
    pub(super) in_use: File,
}

impl Catalogue {
    /// Opens the catalogue of a home: made where there is none, migrated where it is older, checked (`quick_check`) always.
    ///
    /// # Errors
    /// `CATALOGUE_NEWER` (nothing is touched), `CATALOGUE_CORRUPT` (also where it has vanished: see [`Catalogue::set_aside`]), `BUSY` where
    /// it must be migrated while another process has it open, `INTERNAL` with a precise text for a full disk and its like.
    pub fn open(home: &Home) -> Result<Catalogue> {
        let path = home.catalogue();
        let locks = Locks::take(home)?;
        let version = match look(&path, locks.made_before(home)?)? {
            Some(version) => version,
            None => {
                make(&path)?;
                SCHEMA
            }
        };
        locks.mark(home)?;
        for suffix in ["", "-wal", "-shm"] {
            let file = beside(&path, suffix);
            home::gone(home::private(&file, 0o600)).map_err(|e| home::fault(&file, &e))?;
        }
        let mut connection = connect(&path)?;
        if version < SCHEMA {
            locks.alone(home)?;
            migrate(&mut connection, &MIGRATIONS).map_err(|e| e.into_error(&path))?;
        }
        let in_use = locks.share(home)?;
        quick_check(&path)?;
        // From here on closing may move the log into the file: it is known to be sound and ours.
        set_checkpoint_on_close(&connection, true).map_err(|e| e.into_error(&path))?;
        Ok(Catalogue {
            inner: Arc::new(Inner {
                home: home.clone(),
                path,
                lists: Mutex::new(Lists::NotYet),
                connection: Mutex::new(Some(connection)),
                _in_use: in_use,
            }),
        })
    }
}

impl Locks {
    /// Takes the gate, waiting for its turn.
    pub(super) fn take(home: &Home) -> Result<Self> {
        let path = home.runtime().join("open.lock");
        let gate = home::open_or_create_private(&path)?;
        let asked = Instant::now();
        loop {
            match gate.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if asked.elapsed() < GATE => std::thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::WouldBlock) => return Err(in_use(&home.catalogue())),
                Err(TryLockError::Error(e)) => return Err(home::lock_fault(&path, &e)),
            }
        }
        let in_use = home::open_or_create_private(&in_use_path(home))?;
        Ok(Locks { _gate: gate, in_use })
    }

    /// Whether a catalogue was made here before.
    pub(super) fn made_before(&self, home: &Home) -> Result<bool> {
        let found = self.in_use.metadata().map_err(|e| home::fault(&in_use_path(home), &e))?;
        Ok(found.len() > 0)
    }

    fn mark(&self, home: &Home) -> Result<()> {
        if self.made_before(home)? {
            return Ok(());
        }
        let write = || {
            std::io::Write::write_all(&mut &self.in_use, b"A catalogue was made in this home.\n")?;
            self.in_use.sync_all()
        };
        write().map_err(|e| home::fault(&in_use_path(home), &e))
    }

    /// Makes sure that nobody else has the catalogue open.
    pub(super) fn alone(&self, home: &Home) -> Result<()> {
        match self.in_use.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(in_use(&home.catalogue())),
            Err(TryLockError::Error(e)) => Err(home::lock_fault(&in_use_path(home), &e)),
        }
    }

    /// Says that the catalogue is in use here, for as long as the answer lives, and opens the gate.
    fn share(self, home: &Home) -> Result<File> {
        // An exclusive lock of ours becomes a shared one; nobody can come between, because the gate is still ours.
        match self.in_use.try_lock_shared() {
            Ok(()) => Ok(self.in_use),
            Err(TryLockError::WouldBlock) => Err(in_use(&home.catalogue())),
            Err(TryLockError::Error(e)) => Err(home::lock_fault(&in_use_path(home), &e)),
        }
    }
}

fn in_use_path(home: &Home) -> PathBuf {
    home.runtime().join("catalogue.lock")
}

fn in_use(path: &Path) -> Error {
    Error::new(Code::Busy, "catalogue_in_use").with("path", path.display().to_string())
}

/// The catalogue's path with something appended: `-wal`, `-shm`, …
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads the header without SQLite, which would create files beside it. Answers its schema, or nothing where no catalogue was ever made.
pub(super) fn look(path: &Path, made_before: bool) -> Result<Option<u32>> {
    let mut header = Vec::with_capacity(100);
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut header));
    match read {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // A log without its file would be taken for the log of the next file of that name.
            if made_before || beside(path, "-wal").exists() {
                return Err(Error::new(Code::CatalogueCorrupt, "catalogue_missing").with("path", path.display().to_string()));
            }
            return Ok(None);
        }
        Err(e) if e.kind() == ErrorKind::IsADirectory => return Err(corrupt(path, e)),
        Err(e) => return Err(home::fault(path, &e)),
    }
    let number = |at: usize| {
        header
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes)
    };
    // https://sqlite.org/fileformat2.html#the_database_header
    let (true, Some(version), Some(application)) = (header.starts_with(b"SQLite format 3\0"), number(60), number(68)) else {
        return Err(corrupt(path, "file is not a database"));
    };
    // Only what is a catalogue can be a newer one: noise would otherwise be sent to wait for an update that never comes.
    if application == APPLICATION_ID && version > SCHEMA {
        return Err(newer(path, version));
    }
    if application != APPLICATION_ID || version == 0 {
        return Err(corrupt(path, "file is a database, but not a catalogue"));
    }
    Ok(Some(version))
}

fn newer(path: &Path, version: u32) -> Error {
    Error::new(Code::CatalogueNewer, "catalogue_newer")
        .with("path", path.display().to_string())
        .with("found", version)
        .with("known", SCHEMA)
}

/// Makes a new catalogue under another name and renames it, so that after a crash it is there whole or not at all.
fn make(path: &Path) -> Result<()> {
    let unfinished = beside(path, ".new");
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let file = beside(&unfinished, suffix);
        home::gone(fs::remove_file(&file)).map_err(|e| home::fault(&file, &e))?;
    }
    drop(home::create_private(&unfinished)?);
    let work = || -> Result<(), Fault> {
        let mut connection = Connection::open_with_flags(&unfinished, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        migrate(&mut connection, &MIGRATIONS)?;
        write_ahead(&connection)?;
        connection.close().map_err(|(_, e)| Fault::Sql(e))
    };
    work().map_err(|e| e.into_error(path))?;
    fs::rename(&unfinished, path).map_err(|e| home::fault(path, &e))?;
    sync_folder(path)
}

/// Makes renames in the folder of `path` durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(|e| home::fault(folder, &e))?;
    }
    Ok(())
}

/// Runs the missing migrations, all in one transaction with `user_version`: killed anywhere, the file has the old schema or the new one.
pub(super) fn migrate(connection: &mut Connection, migrations: &Migrations<'_>) -> Result<(), Fault> {
    connection.pragma_update(None, "foreign_keys", "ON")?;
    migrations.to_latest(connection).map_err(|e| match e {
        rusqlite_migration::Error::RusqliteError { err, .. } => Fault::Sql(err),
        other => Fault::Ours(Error::internal("migration", other)),
    })?;
    // The header of the file itself then tells its schema, to whoever looks without reading the log.
    super::checkpoint(connection)
}

/// Opens the file with every setting in place. Closing moves nothing until [`set_checkpoint_on_close`].
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let work = || -> Result<Connection, Fault> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        // What turns out newer or damaged must stay as it is, to the byte.
        set_checkpoint_on_close(&connection, false)?;
        connection.busy_timeout(Duration::from_millis(5000))?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA {
            return Err(Fault::Ours(newer(path, version)));
        }
        write_ahead(&connection)?;
        for (name, value) in [
            ("synchronous", "FULL"),
            ("foreign_keys", "ON"),
            ("temp_store", "MEMORY"),
            // Limits, not allocations: see the module's documentation. Negative: in KiB.
            ("cache_size", "-65536"),
            ("mmap_size", "268435456"),
            // Nothing that stands in the file's schema may call a function with side effects.
            ("trusted_schema", "OFF"),
            // `INSERT OR REPLACE` deletes: the triggers that forbid it must see it.
            ("recursive_triggers", "ON"),
            ("cell_size_check", "ON"),
            // The disk of a Mac acknowledges what it has not stored, unless it is told not to. No effect elsewhere.
            ("fullfsync", "ON"),
            ("checkpoint_fullfsync", "ON"),
            // A log that grew once is cut again at the next checkpoint.
            ("journal_size_limit", "16777216"),
        ] {
            set(&connection, name, value)?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    work().map_err(|e| e.into_error(path))
}

/// The same for lists and sums: without the memory map, and unable to write.
pub(super) fn connect_for_lists(path: &Path) -> Result<Connection> {
    let connection = connect(path)?;
    set(&connection, "mmap_size", "0")
        .and_then(|()| set(&connection, "query_only", "ON"))
        .map_err(|e| e.into_error(path))?;
    Ok(connection)
}

/// Sets a pragma, whether or not it answers with a row.
fn set(connection: &Connection, name: &str, value: &str) -> Result<(), Fault> {
    let mut statement = connection.prepare(&format!("PRAGMA {name} = {value}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn write_ahead(connection: &Connection) -> Result<(), Fault> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    // A file system without shared memory (some network disks): two processes could not work on it safely.
    Err(Fault::Ours(Error::new(Code::Internal, "catalogue_wal").with("mode", mode)))
}

fn set_checkpoint_on_close(connection: &Connection, on: bool) -> Result<(), Fault> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !on)?;
    Ok(())
}

/// Reads the whole file, on a connection of its own: without a memory map and with a small cache, so that the size of the catalogue does
/// not become the size of the process.
pub(super) fn quick_check(path: &Path) -> Result<()> {
    let work = || -> Result<Vec<String>, Fault> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        set_checkpoint_on_close(&connection, false)?;
        connection.busy_timeout(Duration::from_millis(5000))?;
        set(&connection, "mmap_size", "0")?;
        set(&connection, "cache_size", "-2048")?;
        set(&connection, "trusted_schema", "OFF")?;
        let mut statement = connection.prepare("PRAGMA quick_check(1)")?;
        let mut rows = statement.query([])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(row.get(0)?);
        }
        Ok(lines)
    };
    match work() {
        Ok(lines) if lines.len() == 1 && lines[0] == "ok" => Ok(()),
        Ok(lines) => Err(corrupt(path, lines.join("; "))),
        Err(e) => Err(e.into_error(path)),
    }
}
