//! A restore: a journalled sequence of steps.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::error::Error;
use crate::id::Id;

words! {
    /// Where a restore stands.
    RestoreState {
        /// A plan was made (dry run).
        Planned = "planned",
        /// Work is going on.
        Running = "running",
        /// The target is exactly the backup.
        Done = "done",
        /// Taken back.
        Undone = "undone",
        /// It did not work; the target is as before.
        Failed = "failed",
        /// The process ended without finishing.
        Interrupted = "interrupted",
    }
}

words! {
    /// Where the backup goes.
    RestoreMode {
        /// Into a new or empty place.
        Into = "into",
        /// Only the plan.
        DryRun = "dry_run",
        /// In place of live data.
        Replace = "replace",
    }
}

words! {
    /// Where a step of a restore stands.
    StepState {
        /// Not yet begun.
        Pending = "pending",
        /// Going on.
        Running = "running",
        /// Done.
        Done = "done",
        /// Failed.
        Failed = "failed",
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RestoreStep {
    /// Into a new place: `verify`, `prepare`, `load`, `compare`, `settle`. In place of live data: `look`, `verify`, `safety`, `prepare`, `load`,
    /// `compare`, `swap`, `check`; and `undo`.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The rows of one table: in the target before and after, and in the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct CountComparison {
    /// The table.
    pub table: String,
    /// Rows in the target before; nothing where the table was not there.
    pub before: Option<u64>,
    /// Rows in the target now; nothing where it is not there (or in a dry run).
    pub after: Option<u64>,
    /// Rows in the backup; nothing where its manifest does not know (a file made elsewhere).
    pub backup: Option<u64>,
}

/// A restore, as the contract shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Restore {
    /// Identity.
    pub id: Id,
    /// The backup; nothing for a file from elsewhere.
    pub backup_id: Option<Id>,
    /// The file, when one was given.
    pub file: Option<String>,
    /// The address restored into.
    pub target: String,
    /// The source whose live data is replaced, or would be.
    pub source_id: Option<Id>,
    /// How.
    pub mode: RestoreMode,
    /// Where it stands.
    pub state: RestoreState,
    /// The copy of the target made first (with `--replace`).
    pub safety_backup_id: Option<Id>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What was done.
    pub steps: Vec<RestoreStep>,
    /// Rows per table.
    pub counts: Vec<CountComparison>,
    /// Until when what was live before is kept for an undo. Nothing where nothing is kept (any more).
    pub kept_until: Option<DateTime<Utc>>,
    /// How much room that takes in bytes.
    pub kept_bytes: Option<u64>,
    /// What a person should know of the way it was done: owners that had to be left out, …
    pub remarks: Vec<Error>,
    /// Why it failed.
    pub error: Option<Error>,
}
