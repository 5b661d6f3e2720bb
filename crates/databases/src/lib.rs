//! One file per database: how to dump, check and load it. Adding one is a file and a line in [`kinds`].

use coffre_model::database::{Checker, DatabaseKind, DumpFormat};
use coffre_model::{Code, Error, Result};

pub mod postgres;
pub mod process;
pub mod recognise;
pub mod sqlite;

/// Every kind of database that this build knows.
pub fn kinds() -> &'static [&'static dyn DatabaseKind] {
    &[&postgres::Postgres, &sqlite::Sqlite]
}

/// The kind behind an address's scheme.
///
/// # Errors
/// `USAGE`, naming the schemes that are known.
pub fn find(scheme: &str) -> Result<&'static dyn DatabaseKind> {
    kinds()
        .iter()
        .copied()
        .find(|k| k.schemes().contains(&scheme))
        .ok_or_else(|| unknown(scheme))
}

/// The kind by its name, as a manifest gives it.
///
/// # Errors
/// `USAGE`, naming the kinds that are known.
pub fn named(name: &str) -> Result<&'static dyn DatabaseKind> {
    kinds()
        .iter()
        .copied()
        .find(|k| k.name() == name)
        .ok_or_else(|| unknown(name))
}

fn unknown(given: &str) -> Error {
    let known: Vec<_> = kinds().iter().flat_map(|k| k.schemes()).copied().collect();
    Error::new(Code::Usage, "scheme_unknown")
        .with("scheme", given)
        .with("known", known.join(", "))
}

/// A checker for a file made elsewhere: SQL text is asked for the mark that our own dumps end with only where it says that `pg_dump` made
/// it.
pub fn foreign_checker(kind: &'static dyn DatabaseKind, format: DumpFormat) -> Box<dyn Checker> {
    match format {
        DumpFormat::Sql => Box::new(postgres::ForeignText::default()),
        _ => kind.checker(format),
    }
}

/// What the plain bytes of a file made elsewhere are.
///
/// # Errors
/// `USAGE` or `DUMP_EMPTY`, saying what it is instead and what to do.
pub fn format_of(head: &[u8]) -> Result<DumpFormat> {
    match recognise::recognise(head) {
        recognise::Recognised::Plain(format) => Ok(format),
        recognise::Recognised::Unusable(error) => Err(error),
        // All containers were taken off before: what is left over is nested deeper than anything sensible.
        _ => Err(Error::new(Code::Usage, "nested_too_deep")),
    }
}
