//! Replacing live data with a backup, and taking that back: what a database must be able to do, and what is known on the way.
//!
//! The order is the safety. What is loaded lies *beside* the live data until it was compared; then the two change places in one moment, and
//! what was live is kept for an undo. Everything that must be known to finish or take back after a kill stands in a [`Replacement`],
//! which the engine writes down before the first thing is made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::database::{DumpFormat, Load, TableCount};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::storage::Space;

words! {
    /// How live data is replaced.
    ReplaceWay {
        /// Loaded beside it; then the two change places in one moment, and the old one is kept for an undo.
        Swap = "swap",
        /// Where nothing can be made beside it (a managed database): one transaction inside the live one, which is exactly the backup after it,
        /// or exactly as before. Only the safety backup is kept.
        Within = "within",
    }
}

/// One column of a table (or one constraint of it), as its maker would write it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ColumnShape {
    /// The column; for a constraint its name, or its text where it has none.
    pub name: String,
    /// Type, default, … with single spaces; compared as text.
    pub definition: String,
}

/// What a table is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct TableShape {
    /// The table, named as in [`TableCount`].
    pub table: String,
    /// Its columns and constraints, in order.
    pub columns: Vec<ColumnShape>,
}

/// The newest moment that a table holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct NewestValue {
    /// The table, named as in [`TableCount`].
    pub table: String,
    /// Its column of times that was looked at.
    pub column: String,
    /// The greatest value, as the database writes it.
    pub value: String,
}

/// Somebody who is connected to the live data now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LiveSession {
    /// The program, as it calls itself.
    pub program: String,
    /// The user, where there are users.
    pub user: Option<String>,
    /// Whether it is in the middle of a transaction.
    pub in_transaction: bool,
}

/// What a look at live data found. Nothing was made, nothing was changed.
#[derive(Clone, Debug, Default)]
pub struct LiveLook {
    /// Whether there is anything: a database that was dropped can be replaced too, and then nothing is lost.
    pub exists: bool,
    /// Which database this is, however it is called: another one behind the same address has another identity. (Of PostgreSQL: the server's
    /// system identifier and the database's oid. Of a file: device and inode.)
    pub identity: String,
    /// How it would be replaced.
    pub way: Option<ReplaceWay>,
    /// Exact rows per table, now.
    pub counts: Vec<TableCount>,
    /// What its tables are made of, now. Nothing where that cannot be told.
    pub shapes: Option<Vec<TableShape>>,
    /// The newest moment per table, for tables that have a column of times.
    pub newest: Vec<NewestValue>,
    /// Its size on the disk in bytes.
    pub bytes: Option<u64>,
    /// Room where the second one would lie, where that can be told.
    pub space: Option<Space>,
    /// The version of its server.
    pub server_version: Option<String>,
    /// Who is connected, ourselves left out. Nothing where that cannot be told.
    pub sessions: Option<Vec<LiveSession>>,
    /// What forbids it now (prepared transactions, no privilege, …), each told once.
    pub refusals: Vec<Error>,
    /// What a person should know.
    pub remarks: Vec<Error>,
}

/// A replacement under way or done. Made by [`Replace::plan`], written down by the engine before anything else happens and after each step that
/// changes it; an adapter finds in it everything it needs to go on after a kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// How.
    pub way: ReplaceWay,
    /// Which database is replaced, as [`LiveLook::identity`]. Empty in what earlier builds wrote down.
    #[serde(default)]
    pub identity: String,
    /// Whether there was anything to keep.
    pub existed: bool,
    /// What the new data is called until the swap (a database, a file); unique, begins with a mark of ours, never anybody's.
    pub scratch: String,
    /// What the old data is called after the swap; unique like `scratch`. Empty where nothing is kept.
    pub kept: String,
    /// What the adapter wants to remember: identities, settings to carry over. No secrets.
    pub facts: BTreeMap<String, serde_json::Value>,
}

/// Where a replacement stands that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The live data is what it was; nothing of ours is left beside it.
    Before,
    /// The live data is the backup; the old one is kept.
    After,
}

/// Replaces the live data of one database. One value for one piece of work; every call may be the first one after a kill, with a
/// [`Replacement`] that an earlier process planned.
pub trait Replace: Send {
    /// Looks. Bounded: columns of times are only searched where that takes moments.
    ///
    /// # Errors
    /// What connecting can bring. What forbids a replacement is no error but a refusal in the look.
    fn look(&mut self) -> Result<LiveLook>;

    /// The names of the live tables now, as [`Replace::counts`] writes them. Counts nothing: it takes moments whatever the size.
    ///
    /// # Errors
    /// What connecting can bring; `NOT_FOUND` where there is no live database.
    fn tables(&mut self) -> Result<Vec<String>>;

    /// Decides how, and gives names that nothing has yet. Makes nothing. `id` is the restore's.
    ///
    /// # Errors
    /// The first of the look's refusals.
    fn plan(&mut self, id: &Id) -> Result<Replacement>;

    /// Makes what the dump is loaded into, with everything about the database itself that a dump does not carry: its owner, privileges,
    /// settings, comment; a file's mode and owner. The live data is not touched. Called once, before `load`.
    fn prepare(&mut self, plan: &mut Replacement) -> Result<()>;

    /// Starts to load a plain dump. `Within`: begins the transaction, removes what is there, and loads; nothing is committed by the load's `finish`.
    fn load(&mut self, plan: &Replacement, format: DumpFormat) -> Result<Box<dyn Load>>;

    /// Exact rows per table of what was loaded and is not live yet.
    fn counts(&mut self, plan: &Replacement) -> Result<Vec<TableCount>>;

    /// Tables of somebody else that a replacement `Within` leaves as they are, by how their names begin (`auth.`): known once `load` has begun.
    /// They are in no comparison.
    fn left_alone(&self) -> Vec<String> {
        Vec::new()
    }

    /// The moment: refuses new connections, lets who is at work finish for a moment, ends them politely, and has the two change places (`Within`: commits).
    /// Afterwards everybody can connect again. All or nothing, also when killed in the middle.
    ///
    /// # Errors
    /// After any of them `recover` tells which of the two it is.
    fn swap(&mut self, plan: &mut Replacement) -> Result<()>;

    /// Takes back everything that `prepare` and `load` made. The live data is not touched. Idempotent.
    fn discard(&mut self, plan: &Replacement) -> Result<()>;

    /// After a kill or a failed swap: looks which of the two the live data is, finishes what `swap` had begun or takes back what `prepare` had made, and
    /// makes sure that everybody can connect. Idempotent. What it cannot tell for certain it leaves where it is, and says so in a remark.
    ///
    /// # Errors
    /// What connecting can bring: then it is asked again at the next start.
    fn recover(&mut self, plan: &Replacement) -> Result<Standing>;

    /// Puts the old data back, in one moment, and keeps what was live until now under `scratch` (nothing that was written since is destroyed).
    /// Not for `Within`, whose undo is a replacement by the safety backup.
    ///
    /// # Errors
    /// `REFUSED` where the kept data is not there any more, or the live data is not what the swap made live.
    fn undo(&mut self, plan: &Replacement) -> Result<()>;

    /// Whether an undo that was cut off has happened.
    fn is_undone(&mut self, plan: &Replacement) -> Result<bool>;

    /// How much room the kept data takes, in bytes; nothing where nothing is kept (any more).
    fn kept_bytes(&mut self, plan: &Replacement) -> Result<Option<u64>>;

    /// Removes what is kept for an undo (or, after an undo, what the undo kept). Idempotent. Never touches the live data.
    fn forget(&mut self, plan: &Replacement) -> Result<()>;

    /// Remarks for a person about what was done so far, each told once.
    fn remarks(&mut self) -> Vec<Error> {
        Vec::new()
    }
}
