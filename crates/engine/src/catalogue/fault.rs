//! From what SQLite says to an error with a precise text. Nothing else in the catalogue turns one into the other.

use std::path::Path;

use coffre_model::{Code, Error};
use rusqlite::ErrorCode;
use rusqlite::ffi;

/// What can go wrong inside a piece of work on the connection: SQLite's error, or one of ours.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite's.
    Sql(rusqlite::Error),
    /// Ours; passed on as it is, with the catalogue's path where it concerns the catalogue.
    Ours(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Ours(error)
    }
}

impl Fault {
    /// The error for people, about the catalogue at `path`.
    pub(crate) fn into_error(self, path: &Path) -> Error {
        match self {
            Fault::Sql(error) => translate(&error, path),
            Fault::Ours(error) if error.code() == Code::CatalogueCorrupt => error.or_with("path", path.display().to_string()),
            Fault::Ours(error) => error,
        }
    }
}

/// `CATALOGUE_CORRUPT` because of a value that no Coffre of this version writes.
pub(crate) fn strange(what: &str, value: impl Into<serde_json::Value>) -> Error {
    Error::new(Code::CatalogueCorrupt, "catalogue_value")
        .with("what", what)
        .with("value", value)
}

/// `CATALOGUE_CORRUPT`: the file itself is damaged.
pub(crate) fn corrupt(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::CatalogueCorrupt, "catalogue_corrupt")
        .with("path", path.display().to_string())
        .with("cause", cause.to_string())
}

/// Whether the error says that another connection holds a lock.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

fn translate(error: &rusqlite::Error, path: &Path) -> Error {
    let about = |code: Code, text: &'static str| {
        Error::new(code, text)
            .with("path", path.display().to_string())
            .with("cause", error.to_string())
    };
    let extended = error.sqlite_error().map_or(0, |e| e.extended_code);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => corrupt(path, error),
        Some(ErrorCode::DiskFull) => about(Code::HomeFull, "catalogue_full"),
        // The shared-memory file and a few other calls say "input/output" where the disk is full.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if disk_is_full(path) => about(Code::HomeFull, "catalogue_full"),
        Some(ErrorCode::SystemIoFailure) => about(Code::Internal, "catalogue_io").with("sqlite", extended),
        Some(ErrorCode::CannotOpen) => about(Code::Internal, "catalogue_open"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            about(Code::Privilege, "catalogue_read_only")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            about(Code::Busy, "catalogue_busy")
        }
        Some(ErrorCode::ConstraintViolation) if extended == ffi::SQLITE_CONSTRAINT_TRIGGER => {
            about(Code::Refused, "catalogue_rule")
        }
        _ => match error {
            // Every statement is ours and fits our schema: one that cannot even be prepared means that the schema in the file is not
            // what was written. Likewise a column that does not hold what its table declares.
            rusqlite::Error::SqlInputError { .. }
            | rusqlite::Error::InvalidColumnName(..)
            | rusqlite::Error::InvalidColumnIndex(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
            | rusqlite::Error::InvalidColumnType(..) => corrupt(path, error),
            _ => about(Code::Internal, "catalogue_fault").with("sqlite", extended),
        },
    }
}

#[cfg(unix)]
fn disk_is_full(path: &Path) -> bool {
    // Less than one piece of the shared-memory file (32 KB). Unknown counts as not full: then the other text is the true one.
    let folder = path.parent().unwrap_or(path);
    rustix::fs::statvfs(folder).is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) < 32 * 1024)
}

#[cfg(not(unix))]
fn disk_is_full(_path: &Path) -> bool {
    false
}
