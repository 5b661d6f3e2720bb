//! The recovery sheet: what to print and put away, so that a backup comes back without Coffre, on another machine, years later.
//!
//! Pure: from what the catalogue and the manifests know to a text or a page. The words come from the caller; commands are the same in
//! every language. What lives where: [`commands`] makes the stock commands (also for the manifest's `recovery`), [`content`] decides
//! what the sheet says, `plain` and `page` only draw it.

mod commands;
mod content;
mod facts;
mod page;
mod plain;
mod query;
mod wording;

use chrono::{DateTime, Utc};
use coffre_model::backup::Backup;
use coffre_model::key::Key;
use coffre_model::manifest::Manifest;
use coffre_model::{Id, Secret};

pub use commands::{FILE_MARK, KEY_FILE, Step, StepKind, TARGET, TARGET_MARK, commands, shell_quote, steps};

/// What goes on a sheet.
pub struct Sheet {
    /// When it is made.
    pub made_at: DateTime<Utc>,
    /// The Coffre that makes it.
    pub coffre_version: String,
    /// The backups, in the order in which they are printed. Failed ones are allowed, and say so.
    pub entries: Vec<Entry>,
    /// The keys that open them.
    pub keys: Vec<SheetKey>,
}

/// One backup on a sheet.
pub struct Entry {
    /// The backup with its copies, as the catalogue knows it now.
    pub backup: Backup,
    /// Its manifest; nothing for a backup that never got that far.
    pub manifest: Option<Manifest>,
    /// The addresses of the destinations of its copies. Canonical ones, which hold no secret.
    pub places: Vec<Place>,
    /// What loads its plain file: `DatabaseKind::stock_load`, with [`FILE_MARK`] and [`TARGET_MARK`] in it.
    pub stock_load: Vec<String>,
}

/// Where a destination is.
pub struct Place {
    /// The destination's id, as in the copies.
    pub destination_id: Id,
    /// Its address, without a secret.
    pub address: String,
}

/// A key on a sheet.
pub struct SheetKey {
    /// Name, kind, public part.
    pub key: Key,
    /// Its secret part, only where a person asked for it to be printed.
    pub secret: Option<Secret>,
}

/// The words of one language.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    /// `en` or `fr`: decides how numbers are written, and is declared in the page.
    pub language: &'a str,
    /// Answers the text of a key such as `sheet.title`, `scope.roles` or `errors.<text>.message`, with its `{facts}` unfilled.
    pub look_up: &'a dyn Fn(&str) -> String,
}

/// The sheet as plain text, lines of at most 100 characters except where a command or a value is longer.
///
/// With secrets among the keys, the answer is a secret: write it to a 0600 file, and nowhere else.
pub fn text(sheet: &Sheet, words: Words) -> String {
    plain::draw(&content::of(sheet, words))
}

/// The sheet as one HTML page for A4: no script, nothing loaded from anywhere, readable in greyscale. See [`text`] about secrets.
pub fn html(sheet: &Sheet, words: Words) -> String {
    page::draw(&content::of(sheet, words))
}

#[cfg(test)]
mod tests;
