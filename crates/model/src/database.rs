//! What a database must do. One file per database in `crates/databases`; the conformance suite in `crates/testkit` asks each of them
//! the same questions.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backup::{Tool, words};
use crate::cancel::Cancel;
use crate::error::{Code, Error, Result};
use crate::field::Field;
use crate::manifest::Scope;
use crate::replace::{Replace, TableShape};
use crate::secret::Secret;
use crate::source::Source;
use crate::storage::Space;
use crate::throw_away::{Need, ThrowAway};

words! {
    /// What a stream of plain bytes is.
    DumpFormat {
        /// PostgreSQL's custom archive (`PGDMP`).
        PgCustom = "pg_custom",
        /// SQL text.
        Sql = "sql",
        /// A SQLite database file.
        Sqlite = "sqlite",
    }
}

impl DumpFormat {
    /// The extension that says the truth, with its dot.
    pub fn extension(self) -> &'static str {
        match self {
            DumpFormat::PgCustom => ".dump",
            DumpFormat::Sql => ".sql",
            DumpFormat::Sqlite => ".db",
        }
    }
}

/// Exact rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct TableCount {
    /// The table; `schema.table` where the database has schemas, each part quoted as SQL would where it must be.
    pub table: String,
    /// Rows.
    pub rows: u64,
}

/// What a database gets to work with.
#[derive(Clone)]
pub struct Access {
    /// The source's password, if it has one.
    pub password: Option<Secret>,
    /// A private folder (0700) for credential files of this run; removed by the caller afterwards.
    pub runtime: PathBuf,
    /// Folders searched for tools before the usual places, first one first.
    pub tool_paths: Vec<PathBuf>,
    /// No bytes for so long ends the work as `STALLED`.
    pub stall: Duration,
    /// How long to wait for a lock held by another session before `LOCK_TIMEOUT`.
    pub lock_wait: Duration,
    /// Raised when the work is cancelled: children are killed and reaped within 5 seconds.
    pub cancel: Cancel,
}

/// What a kind of database can do; drawn by the shells, checked by the engine.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Capability {
    /// Needs programs of the database's maker.
    pub needs_tools: bool,
    /// Can reach a server over a network.
    pub network: bool,
    /// Can count rows in the dump's own snapshot.
    pub consistent_counts: bool,
    /// Can choose tables.
    pub table_choice: bool,
}

/// What a look at the database found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Probe {
    /// The server's (or file's) version.
    pub server_version: String,
    /// The tool that would make the dump.
    pub tool: Tool,
    /// About how many bytes a dump would have, for progress.
    pub estimated_bytes: Option<u64>,
    /// How many tables there are.
    pub tables: u64,
    /// Whether the connection is encrypted; nothing where there is no network.
    pub tls: Option<bool>,
    /// Remarks for a person: a newer tool than the server, tables that may not be read, …
    pub remarks: Vec<Error>,
}

/// What is known once a dump has ended well.
#[derive(Clone, Debug)]
pub struct DumpFacts {
    /// Exact rows per table, counted in the very state that was dumped.
    pub counts: Vec<TableCount>,
    /// What is in the dump and, above all, what is not.
    pub scope: Scope,
    /// Remarks for a person (never an error that was swallowed).
    pub remarks: Vec<Error>,
}

/// A program of a database's maker as it was found.
#[derive(Clone, Debug)]
pub struct FoundProgram {
    /// Name, path, and the version that it printed; empty where it printed none.
    pub tool: Tool,
    /// Why it cannot be used: it does not run, or is something else.
    pub error: Option<Error>,
}

/// What a look at a restore's target found. Nothing was made, nothing was changed.
#[derive(Clone, Debug, Default)]
pub struct TargetLook {
    /// Whether it is there already (with nothing in it), or would be made.
    pub exists: bool,
    /// The version of its server, where it has one.
    pub server_version: Option<String>,
    /// Room where it would lie, where that can be told.
    pub space: Option<Space>,
}

/// A kind of database: one line of registration.
pub trait DatabaseKind: Send + Sync {
    /// `postgres`, `sqlite`, …: the name used in text keys.
    fn name(&self) -> &'static str;
    /// The schemes of its addresses.
    fn schemes(&self) -> &'static [&'static str];
    /// Its settings form.
    fn fields(&self) -> Vec<Field>;
    /// What it can do.
    fn capability(&self) -> Capability;
    /// Checks address and options without connecting. Called when a source is added or edited.
    fn validate(&self, source: &Source) -> Result<()>;
    /// The formats that it can load, best first.
    fn formats(&self) -> &'static [DumpFormat];
    /// The format that a dump of this source has.
    fn dump_format(&self, source: &Source) -> DumpFormat;
    /// A reader of this format that is fed the plain bytes in order and finds damage, above all a missing end.
    fn checker(&self, format: DumpFormat) -> Box<dyn Checker>;
    /// The stock command lines that load a plain file of this format into a new place. `<file>` stands for the plain file, `<target>` for
    /// a plain name of the new database. One command a line, no shell tricks.
    fn stock_load(&self, format: DumpFormat) -> Vec<String>;
    /// Every program of the database's maker that is found, whether or not it can be used. Nothing for a kind that needs none.
    ///
    /// # Errors
    /// `CANCELLED` alone: a program that does not run is a finding.
    fn programs(&self, _access: &Access) -> Result<Vec<FoundProgram>> {
        Ok(Vec::new())
    }
    /// Takes back what a restore into `target` that was killed left outside of the database (an unfinished file beside it). Must not
    /// connect, and must leave alone what a living restore is writing. Called for each restore whose process is gone; idempotent.
    fn sweep_target(&self, _target: &Source) -> Result<()> {
        Ok(())
    }
    /// Makes the database ready for use. Must not connect yet, must not write.
    fn open(&self, source: &Source, access: Access) -> Result<Box<dyn Database>>;
    /// Makes ready to replace what the source points to. Must not connect yet, must not write.
    ///
    /// # Errors
    /// `REFUSED` for a kind that cannot.
    fn replace(&self, _source: &Source, _access: Access) -> Result<Box<dyn Replace>> {
        Err(Error::new(Code::Refused, "replace_unsupported").with("database", self.name()))
    }
    /// A throw-away database for a drill, or to look into a backup; the inner error says why none can be made on this machine. `access` holds the
    /// private folder in which everything of it lies.
    ///
    /// # Errors
    /// What starting it can bring, and a cancellation.
    fn throw_away(&self, _need: &Need, _access: Access) -> Result<std::result::Result<Box<dyn ThrowAway>, Error>> {
        Ok(Err(
            Error::new(Code::ToolMissing, "throw_away_unsupported").with("database", self.name())
        ))
    }
    /// Whether one can be made here at all, as far as can be told without making it.
    ///
    /// # Errors
    /// What looking for programs can bring.
    fn can_throw_away(&self, _need: &Need, _access: &Access) -> Result<std::result::Result<(), Error>> {
        Ok(Ok(()))
    }
    /// Takes back what a throw-away database whose process is gone left outside of the private folder `runtime` of its run (a server, a folder of
    /// its user's). Called for each such folder before it is removed; idempotent.
    fn sweep_throw_away(&self, _runtime: &Path) -> Result<()> {
        Ok(())
    }
}

/// One database, for one piece of work.
pub trait Database: Send {
    /// Connects and looks: version, tool, size, privileges. Everything that can be refused is refused here, before anything is created.
    fn probe(&mut self) -> Result<Probe>;
    /// Starts a dump. Called at most once, after `probe`.
    fn dump(&mut self) -> Result<Box<dyn Dump>>;
    /// Exact rows per table, now.
    fn counts(&mut self) -> Result<Vec<TableCount>>;
    /// Looks at this database as a restore's target without making anything; nothing where that cannot be done. What it finds may have
    /// changed before `prepare_target`, which decides.
    ///
    /// # Errors
    /// Those with which `prepare_target` would end now.
    fn look_at_target(&mut self) -> Result<Option<TargetLook>> {
        Ok(None)
    }
    /// Looks at this database as a restore's target: creates it where it does not exist. Called once, before `load`. Where it fails
    /// midway, `discard_target` takes back what was made until then.
    ///
    /// # Errors
    /// `REFUSED` where there is anything in it: nothing that exists is ever touched.
    fn prepare_target(&mut self) -> Result<()>;
    /// Starts to load a plain dump of `format` (one of the kind's `formats`).
    fn load(&mut self, format: DumpFormat) -> Result<Box<dyn Load>>;
    /// Makes the loaded target final, after its counts were compared.
    fn settle_target(&mut self) -> Result<()>;
    /// Takes back what `prepare_target` (also one that failed) and `load` made, so that the target is as before. Idempotent.
    fn discard_target(&mut self) -> Result<()>;
    /// Remarks for a person about what was done to a target so far (owners that had to be left out, …), each told once.
    fn remarks(&mut self) -> Vec<Error> {
        Vec::new()
    }
}

/// A dump as a stream. **A failed dump is a failed read**: exit status, end marker and non-zero length are checked inside `read`
/// before it answers 0, so no reader can take a truncated dump for a whole one. Errors travel inside `io::Error`
/// (`model::error::from_io`). Dropping it kills and reaps what it started.
pub trait Dump: Read + Send {
    /// Called once, after `read` answered 0: finishes what goes on beside the stream (counting, checks of that state).
    ///
    /// # Errors
    /// Any of them means that the backup must not become green.
    fn finish(self: Box<Self>) -> Result<DumpFacts>;
}

/// A load as a sink. Dropping it without `finish` rolls back.
pub trait Load: Write + Send {
    /// Called once, after the last byte: ends the input, waits for the tool, and answers whether everything arrived.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// What a checker found in a whole dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Rows per table, for the tables whose rows the format lets a reader count. Must agree with the manifest.
    pub counts: Vec<TableCount>,
    /// Objects seen (entries, statements or pages), so that "nothing at all" can be told from "a little".
    pub objects: u64,
    /// What the tables are made of; nothing where the format does not say, or not in a way that can be compared with a live database.
    pub shapes: Option<Vec<TableShape>>,
}

/// A push parser: fed every plain byte in order, bounded memory, panics on nothing.
pub trait Checker: Send {
    /// Takes the next bytes, in pieces of any size.
    ///
    /// # Errors
    /// `DUMP_TRUNCATED` or `VERIFY_MISMATCH` with what is wrong and at which byte.
    fn feed(&mut self, bytes: &[u8]) -> Result<()>;
    /// The end of the bytes.
    ///
    /// # Errors
    /// `DUMP_TRUNCATED` where the end marker is missing, `DUMP_EMPTY` where there was nothing.
    fn finish(&mut self) -> Result<Parsed>;
}
