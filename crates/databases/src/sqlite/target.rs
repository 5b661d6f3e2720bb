//! A restore's target: a database file that does not exist yet. It is written to a private file beside the place it will have, and
//! gets its name only when everything about it was checked.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coffre_model::cancel::Cancel;
use coffre_model::database::{Checker, Load, TableCount, TargetLook};
use coffre_model::storage::Space;
use coffre_model::{Code, Error, Result};
use tempfile::NamedTempFile;

use super::checker::FileChecker;
use super::errors::{about, reading, shown, writing};
use super::facts::{self, Depth};
use super::reading::{PATH_MAX, connect_immutable, suffixed};

/// The longest name of a file in bytes, on every usual file system.
const NAME_MAX: usize = 255;
/// Bytes of a partial file's name besides the target's name: a dot, the mark, and what makes it unique.
const MARK: &str = ".coffre-partial-";
const RANDOM: usize = 12;

/// A target that is being made.
pub(super) struct Target {
    /// Where it will be.
    path: PathBuf,
    folder: PathBuf,
    /// 0600, made exclusively, removed when dropped.
    partial: NamedTempFile,
    /// Whether a load came to its end.
    loaded: Arc<AtomicBool>,
}

impl Target {
    /// Looks at the place, and makes the private file beside it.
    ///
    /// # Errors
    /// `REFUSED` where anything of that name exists (even empty, even a dangling link), or a log or journal of a former database of
    /// that name, which SQLite would take for this one's. `UNREACHABLE` without the folder, `PRIVILEGE` where it may not be written.
    pub(super) fn prepare(path: &Path) -> Result<Target> {
        let (folder, path) = place(path)?;
        let name = path.file_name().unwrap_or_default();
        let partial = tempfile::Builder::new()
            .prefix(&prefix(&name.to_string_lossy()))
            .rand_bytes(RANDOM)
            .tempfile_in(&folder)
            .map_err(|e| writing(&e, &folder))?;
        // Says that somebody is alive who writes this file (`sweep`). Where the file system knows no locks, nothing is swept either.
        if let Err(TryLockError::WouldBlock) = partial.as_file().try_lock() {
            return Err(Error::internal("sqlite target", "a new file is locked already"));
        }
        Ok(Target {
            path,
            folder,
            partial,
            loaded: Arc::default(),
        })
    }

    /// A sink for the plain bytes.
    pub(super) fn load(&self, cancel: Cancel) -> Result<FileLoad> {
        Ok(FileLoad {
            file: self.partial.as_file().try_clone().map_err(|e| writing(&e, &self.path))?,
            path: self.path.clone(),
            checker: FileChecker::shallow(),
            loaded: Arc::clone(&self.loaded),
            cancel,
            finished: false,
        })
    }

    fn assert_loaded(&self) -> Result<()> {
        if self.loaded.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(Error::internal("sqlite target", "nothing was loaded"))
        }
    }

    /// Rows of every table of the loaded file.
    pub(super) fn counts(&self, cancel: &Cancel) -> Result<Vec<TableCount>> {
        self.assert_loaded()?;
        // Nobody else knows this file, so it needs no locks, and nothing is created beside it.
        let connection = connect_immutable(self.partial.path(), &self.path)?;
        let fail = |e: &rusqlite::Error| reading(e, &self.path);
        let (counts, _remarked_when_dumped) =
            facts::interruptible(&connection, &|| cancel.check(), || facts::counts(&connection, false, &fail))?;
        Ok(counts)
    }

    /// Checks the loaded file once more and gives it its name, which nothing else may have taken meanwhile.
    pub(super) fn settle(self, cancel: &Cancel) -> Result<()> {
        self.assert_loaded()?;
        let connection = connect_immutable(self.partial.path(), &self.path)?;
        let findings = facts::interruptible(&connection, &|| cancel.check(), || {
            facts::check(&connection, Depth::Quick).map_err(|e| reading(&e, &self.path))
        })?;
        connection.close().map_err(|(_, e)| reading(&e, &self.path))?;
        if !findings.said.is_empty() {
            return Err(about(Code::VerifyMismatch, "sqlite_loaded_damaged", &self.path).with("said", findings.said.join("\n")));
        }
        cancel.check()?;
        assert_free(&self.path)?;
        self.partial
            .persist_noclobber(&self.path)
            .map_err(|e| writing(&e.error, &self.path))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| writing(&e, &self.folder))
    }

    /// Takes the private file back.
    pub(super) fn discard(self) -> Result<()> {
        self.partial.close().map_err(|e| writing(&e, &self.path))
    }
}

/// Looks only: what [`Target::prepare`] would refuse now is refused here.
///
/// # Errors
/// As [`Target::prepare`].
pub(super) fn look(path: &Path) -> Result<TargetLook> {
    let (folder, _) = place(path)?;
    rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|errno| writing(&errno.into(), &folder))?;
    let room = rustix::fs::statvfs(&folder).map_err(|errno| writing(&errno.into(), &folder))?;
    Ok(TargetLook {
        exists: false,
        server_version: None,
        space: Some(Space {
            free: room.f_bavail.saturating_mul(room.f_frsize),
            total: room.f_blocks.saturating_mul(room.f_frsize),
        }),
    })
}

/// The folder of a target, resolved, and the path that it will have, which is free.
fn place(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(about(Code::Usage, "sqlite_path_folder", path));
    };
    let folder = fs::canonicalize(parent).map_err(|e| match writing(&e, parent) {
        other if other.code() == Code::Internal => about(Code::Unreachable, "sqlite_folder_missing", parent),
        error => error,
    })?;
    let path = folder.join(name);
    if path.as_os_str().len() > PATH_MAX {
        return Err(about(Code::Usage, "sqlite_path_long", &path).with("max", PATH_MAX));
    }
    assert_free(&path)?;
    Ok((folder, path))
}

/// How the names of partial files of a target begin. What follows is random.
fn prefix(name: &str) -> String {
    let room = NAME_MAX - 1 - MARK.len() - RANDOM;
    let mut end = name.len().min(room);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}{MARK}", &name[..end])
}

/// Removes what killed restores into `path` left beside it: partial files that nobody holds any more.
pub(super) fn sweep(path: &Path) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let prefix = prefix(&name.to_string_lossy());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // The folder is gone, and with it what lay in it.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(writing(&e, folder)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| writing(&e, folder))?;
        let name = entry.file_name();
        let ours = name
            .to_str()
            .and_then(|name| name.strip_prefix(&prefix))
            .is_some_and(|rest| rest.len() == RANDOM && rest.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let file = match File::open(entry.path()) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(writing(&e, &entry.path())),
        };
        // Without the lock it cannot be known whether its writer lives: it stays.
        if file.try_lock().is_err() {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(writing(&e, &entry.path())),
        }
    }
    Ok(())
}

fn assert_free(path: &Path) -> Result<()> {
    let exists = |path: &Path| match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(writing(&e, path)),
    };
    if exists(path)? {
        return Err(about(Code::Refused, "sqlite_target_exists", path));
    }
    for suffix in ["-wal", "-journal", "-shm"] {
        let left = suffixed(path, suffix);
        if exists(&left)? {
            return Err(about(Code::Refused, "sqlite_target_leftover", path).with("leftover", shown(&left)));
        }
    }
    Ok(())
}

/// A load under way. The plain bytes are the database, so it only writes them down and looks whether they are all there.
pub(super) struct FileLoad {
    file: File,
    path: PathBuf,
    checker: FileChecker,
    loaded: Arc<AtomicBool>,
    cancel: Cancel,
    finished: bool,
}

impl FileLoad {
    /// A load into an empty private file.
    pub(super) fn into_file(file: File, named: &Path, cancel: Cancel) -> FileLoad {
        FileLoad {
            file,
            path: named.to_owned(),
            checker: FileChecker::shallow(),
            loaded: Arc::default(),
            cancel,
            finished: false,
        }
    }
}

impl Write for FileLoad {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancel.check()?;
        let written = self.file.write(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => writing(&e, &self.path).into(),
        })?;
        self.checker.feed(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Nothing is kept back here; `finish` brings it to the disk.
    }
}

impl Load for FileLoad {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.cancel.check()?;
        self.checker.finish()?;
        self.file.sync_all().map_err(|e| writing(&e, &self.path))?;
        self.finished = true;
        self.loaded.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for FileLoad {
    fn drop(&mut self) {
        if !self.finished {
            // Gives the space back early. The file itself goes with its target, so an error here loses nothing.
            let _goes_with_the_target = self.file.set_len(0);
        }
    }
}
