//! A drill: a rehearsed restore into a throw-away database.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::error::{Code, Error};
use crate::id::Id;
use crate::throw_away::DrillLevel;

words! {
    /// Where a drill stands.
    DrillState {
        /// Work is going on.
        Running = "running",
        /// It got as deep as this machine can, and found everything right.
        Done = "done",
        /// The backup does not hold, or the rehearsal could not be carried out.
        Failed = "failed",
        /// The process ended without finishing.
        Interrupted = "interrupted",
        /// Somebody stopped it.
        Cancelled = "cancelled",
    }
}

/// A drill, as the contract shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Drill {
    /// Identity.
    pub id: Id,
    /// The backup that was rehearsed.
    pub backup_id: Id,
    /// Its source.
    pub source_id: Id,
    /// Where it stands.
    pub state: DrillState,
    /// The deepest level that was reached and found right. Nothing where not even the bytes are.
    pub level: Option<DrillLevel>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// From the first byte read to the last row counted, without the making of the throw-away database: what a real restore would take here.
    pub restore_ms: Option<u64>,
    /// The version of what served the throw-away database.
    pub server_version: Option<String>,
    /// Tables counted.
    pub tables: Option<u64>,
    /// Rows counted.
    pub rows: Option<u64>,
    /// Why it did not go deeper, and what else a person should know.
    pub remarks: Vec<Error>,
    /// Why it failed.
    pub error: Option<Error>,
}

impl Drill {
    /// Whether it found the backup itself not to hold. Other failures (a full disk, a destination that does not answer) say nothing about it.
    pub fn says_it_does_not_hold(&self) -> bool {
        let about_the_backup = |error: &Error| {
            matches!(
                error.code(),
                Code::VerifyMismatch
                    | Code::DecryptFailed
                    | Code::ArchiveUnsafe
                    | Code::DumpFailed
                    | Code::DumpTruncated
                    | Code::DumpEmpty
                    | Code::NotFound
            )
        };
        // A program that was ended from outside, or had no room, speaks of this machine.
        let of_this_machine = |error: &Error| {
            error.text() == "pg_tool_session_ended"
                || error
                    .detail("stderr")
                    .is_some_and(|said| said.contains("No space left on device") || said.contains("out of memory"))
        };
        let error = self.error.as_ref().filter(|error| !of_this_machine(error));
        self.state == DrillState::Failed && error.is_some_and(about_the_backup)
    }
}

/// The last drill of a backup, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LastDrill {
    /// Which one.
    pub id: Id,
    /// `done` or `failed`: what was cut off or stopped says nothing.
    pub state: DrillState,
    /// How deep it got.
    pub level: Option<DrillLevel>,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// What a restore took.
    pub restore_ms: Option<u64>,
}
