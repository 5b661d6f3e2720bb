//! What SQLite says, as Coffre's one error.

use std::path::Path;

use coffre_model::{Code, Error};
use rusqlite::ffi;

/// SQLite's result codes: the primary one (the low byte) and the extended one. Nothing where the error is not SQLite's.
pub(super) fn result_code(error: &rusqlite::Error) -> Option<(i32, i32)> {
    let extended = error.sqlite_error()?.extended_code;
    Some((extended & 0xff, extended))
}

/// Whether waiting can help: somebody holds a lock, or two processes are setting up the same `-shm` file.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        result_code(error),
        Some((ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL, _))
    )
}

/// Whether SQLite could not even compile the statement: an unknown function, collation, tokenizer or module.
pub(super) fn is_unknown_extension(error: &rusqlite::Error) -> bool {
    matches!(result_code(error), Some((ffi::SQLITE_ERROR, _)))
}

/// Whether `sqlite3_interrupt` ended the statement.
pub(super) fn is_interrupt(error: &rusqlite::Error) -> bool {
    matches!(result_code(error), Some((ffi::SQLITE_INTERRUPT, _)))
}

/// Whether SQLite met something that cannot be in a sound database.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(result_code(error), Some((ffi::SQLITE_CORRUPT, _)))
}

/// A path as a fact. Names are data: shown, never interpreted.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An error about a file, with the file as a fact.
pub(super) fn about(code: Code, text: &'static str, path: &Path) -> Error {
    Error::new(code, text).with("path", shown(path))
}

/// What reading a database ended with. `path` is the database that the person named.
pub(super) fn reading(error: &rusqlite::Error, path: &Path) -> Error {
    let (primary, extended) = result_code(error).unwrap_or((0, 0));
    let (code, text) = match primary {
        ffi::SQLITE_NOTADB => (Code::DumpFailed, "sqlite_not_database"),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => (Code::LockTimeout, "sqlite_locked"),
        ffi::SQLITE_CORRUPT => (Code::DumpFailed, "sqlite_damaged"),
        ffi::SQLITE_IOERR => (Code::DumpFailed, "sqlite_read_failed"),
        ffi::SQLITE_CANTOPEN => (Code::Unreachable, "sqlite_cannot_open"),
        ffi::SQLITE_PERM | ffi::SQLITE_AUTH | ffi::SQLITE_READONLY => (Code::Privilege, "sqlite_denied"),
        ffi::SQLITE_INTERRUPT => (Code::Cancelled, "cancelled"),
        _ => (Code::DumpFailed, "sqlite_failed"),
    };
    about(code, text, path)
        .with("cause", error.to_string())
        .with("sqlite_code", extended)
}

/// What reading the live file ended with, when it is to be replaced: SQLite's shared memory needs room beside it, and what is damaged
/// cannot be replaced in place.
pub(super) fn reading_live(error: Error, path: &Path) -> Error {
    let cause = error.detail("cause").unwrap_or_default();
    let no_room = error.detail("sqlite_code").as_deref() == Some(&ffi::SQLITE_IOERR_SHMSIZE.to_string());
    match error.text() {
        "sqlite_damaged" | "sqlite_not_database" => about(Code::Refused, "sqlite_live_damaged", path).with("cause", cause),
        _ if no_room => about(Code::DestFull, "sqlite_target_full", path).with("cause", cause),
        _ => error,
    }
}

/// What writing a file ended with. `path` is the file that the person named.
pub(super) fn writing(error: &std::io::Error, path: &Path) -> Error {
    use std::io::ErrorKind;
    let (code, text) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => (Code::DestFull, "sqlite_target_full"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (Code::Privilege, "sqlite_folder_denied"),
        ErrorKind::NotFound | ErrorKind::NotADirectory => (Code::Unreachable, "sqlite_folder_missing"),
        ErrorKind::AlreadyExists => (Code::Refused, "sqlite_target_exists"),
        ErrorKind::InvalidFilename => (Code::Usage, "sqlite_path_long"),
        _ => (Code::Internal, "sqlite_write_failed"),
    };
    about(code, text, path).with("cause", error.to_string())
}

/// What working on the live file ended with while it was being replaced. `errno` is the operating system's last error.
pub(super) fn live_error(error: &rusqlite::Error, path: &Path, errno: i32) -> Error {
    let (primary, extended) = result_code(error).unwrap_or((0, 0));
    let full = primary == ffi::SQLITE_IOERR && [libc::ENOSPC, libc::EDQUOT, libc::EFBIG].contains(&errno);
    let (code, text) = match primary {
        ffi::SQLITE_FULL => (Code::DestFull, "sqlite_target_full"),
        _ if full => (Code::DestFull, "sqlite_target_full"),
        ffi::SQLITE_NOTADB | ffi::SQLITE_CORRUPT => (Code::Refused, "sqlite_live_damaged"),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => (Code::LockTimeout, "sqlite_locked"),
        ffi::SQLITE_CANTOPEN => (Code::Unreachable, "sqlite_cannot_open"),
        ffi::SQLITE_PERM | ffi::SQLITE_AUTH | ffi::SQLITE_READONLY => (Code::Privilege, "sqlite_live_denied"),
        ffi::SQLITE_INTERRUPT => (Code::Cancelled, "cancelled"),
        _ => (Code::Internal, "sqlite_write_failed"),
    };
    about(code, text, path)
        .with("cause", error.to_string())
        .with("sqlite_code", extended)
}
