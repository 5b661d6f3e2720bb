//! A throw-away database: made for a drill or to look into a backup, never reachable from elsewhere, gone afterwards.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::database::{Access, DumpFormat};
use crate::error::Result;
use crate::source::Source;

words! {
    /// How deep a drill got.
    DrillLevel {
        /// The stored bytes are what was written.
        Bytes = "bytes",
        /// They decrypt, decompress and parse to their end.
        Structure = "structure",
        /// They were loaded into a throw-away database.
        Restored = "restored",
        /// Every table's rows were counted there and compared, and the database's own check found nothing.
        Counted = "counted",
    }
}

words! {
    /// How a table is exported.
    ExportFormat {
        /// Comma-separated values (RFC 4180) with a line of names; NULL is nothing, an empty text is `""`.
        Csv = "csv",
        /// SQL text that makes the table and fills it.
        Sql = "sql",
    }
}

/// What a throw-away database is needed for.
#[derive(Clone, Debug)]
pub struct Need {
    /// What will be loaded.
    pub format: DumpFormat,
    /// The version of the server that it came from; nothing where it is not known.
    pub server_version: Option<String>,
}

/// One page of a table's rows, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RowPage {
    /// The columns, in order.
    pub columns: Vec<String>,
    /// Rows; each value as the database writes it, nothing for NULL. A very long value is cut, and ends with `…`.
    pub rows: Vec<Vec<Option<String>>>,
    /// Rows that fit the search, in all.
    pub total: u64,
    /// Which page, from 1.
    pub page: u64,
    /// Rows a page.
    pub per_page: u64,
}

/// A throw-away database. Dropping it removes everything: processes, folders, sockets; also when what uses it was cancelled.
pub trait ThrowAway: Send {
    /// How to reach it: an empty database to restore into, with the kind's own `open`. Private to this process.
    fn source(&self) -> Source;
    /// What to reach it with.
    fn access(&self) -> Access;
    /// The version of the program that serves it.
    fn version(&self) -> String;
    /// The database's own check of what was loaded (`integrity_check`, `pg_amcheck`): what is wrong, at most a few lines; nothing where all is
    /// well. `None` where there is no such check on this machine.
    fn check(&mut self) -> Result<Option<Vec<String>>>;
    /// A page of a table's rows in a stable order (the primary key's where there is one). `search` is text that any value of a row holds, letter case
    /// aside; data, never a pattern.
    ///
    /// # Errors
    /// `NOT_FOUND` for a table that is not there.
    fn rows(&mut self, table: &str, search: Option<&str>, page: u64, per_page: u64) -> Result<RowPage>;
    /// Writes one table; answers its rows. `name`: what the table is to be called in SQL text, its own name if nothing.
    fn export(&mut self, table: &str, format: ExportFormat, name: Option<&str>, out: &mut dyn Write) -> Result<u64>;
    /// Copies one table, with its rows, into another database under a name that nothing has there, in one transaction. Answers its rows.
    ///
    /// # Errors
    /// `REFUSED` where the name is taken.
    fn copy_table(&mut self, table: &str, into: &Source, access: Access, name: &str) -> Result<u64>;
}
