//! One file per database: how to dump, check and load it. Adding one is a file and a line in [`kinds`].

use coffre_model::database::{Checker, DatabaseKind, DumpFormat};
use coffre_model::{Code, Error, Result};

pub mod recognise;

/// Every kind of database that this build knows.
pub fn kinds() -> &'static [&'static dyn DatabaseKind] {
    &[]
}

/// The kind behind an address's scheme.
///
/// # Errors
/// `USAGE`, naming the schemes that are known.
pub fn find(scheme: &str) -> Result<&'static dyn DatabaseKind> {
    kinds().iter().copied().find(|k| k.schemes().contains(&scheme)).ok_or_else(|| unknown(scheme))
}

/// The kind by its name, as a manifest gives it.
///
/// # Errors
/// `USAGE`, naming the kinds that are known.
pub fn named(name: &str) -> Result<&'static dyn DatabaseKind> {
    kinds().iter().copied().find(|k| k.name() == name).ok_or_else(|| unknown(name))
}

fn unknown(given: &str) -> Error {
    let known: Vec<_> = kinds().iter().flat_map(|k| k.schemes()).copied().collect();
    Error::new(Code::Usage, "scheme_unknown").with("scheme", given).with("known", known.join(", "))
}

/// A checker for a file made elsewhere: SQL text is not asked for the mark that our own dumps end with.
pub fn foreign_checker(kind: &'static dyn DatabaseKind, format: DumpFormat) -> Box<dyn Checker> {
    kind.checker(format)
}
