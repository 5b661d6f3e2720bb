//! A backup, its copies, and the states both can be in.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::compression::Compression;
use crate::error::Error;
use crate::id::{BackupCode, Id};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
        pub enum $name { $($(#[doc = $doc])* #[serde(rename = $text)] $variant,)* }
        impl $name {
            /// Every value, in the contract's order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// The word used in JSON and in the catalogue.
            pub fn as_str(self) -> &'static str { match self { $($name::$variant => $text),* } }
            /// Reads the word back.
            pub fn parse(text: &str) -> Option<Self> { match text { $($text => Some($name::$variant),)* _ => None } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use words;

words! {
    /// Where a backup stands. Only `Verified` is green.
    BackupState {
        /// Work is going on, under a lease.
        Running = "running",
        /// Written, not yet read back.
        Stored = "stored",
        /// Read back to its end from where it lies, decrypted, decompressed and parsed.
        Verified = "verified",
        /// It did not work, or it is no longer what it was; the error says why.
        Failed = "failed",
        /// The process that made it ended without finishing.
        Interrupted = "interrupted",
        /// Somebody stopped it.
        Cancelled = "cancelled",
        /// A slot that was left out, with the reason.
        Skipped = "skipped",
        /// A slot that nobody was there for.
        Missed = "missed",
        /// Being removed.
        Deleting = "deleting",
        /// Removed; the row stays as a record.
        Deleted = "deleted",
    }
}

impl BackupState {
    /// Whether the catalogue may go from this state to `next`. The SQL trigger `backups_transition` says the same.
    pub fn may_become(self, next: BackupState) -> bool {
        use BackupState::{Cancelled, Deleted, Deleting, Failed, Interrupted, Missed, Running, Skipped, Stored, Verified};
        match self {
            Running => matches!(next, Stored | Verified | Failed | Interrupted | Cancelled),
            Stored => matches!(next, Verified | Failed | Deleting),
            Verified => matches!(next, Failed | Deleting),
            // A later verification can find a lost disk mounted again.
            Failed => matches!(next, Verified | Deleting),
            Interrupted | Cancelled | Skipped | Missed => matches!(next, Deleting),
            Deleting => matches!(next, Deleted),
            Deleted => false,
        }
    }

    /// Whether nothing more will happen by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, BackupState::Running | BackupState::Deleting)
    }
}

words! {
    /// How one copy stands at its destination.
    CopyState {
        /// Written, not yet read back.
        Stored = "stored",
        /// Read back to its end.
        Verified = "verified",
        /// Not there any more.
        Missing = "missing",
        /// There, but not what was written.
        Corrupt = "corrupt",
        /// Being removed.
        Deleting = "deleting",
        /// Removed.
        Deleted = "deleted",
    }
}

words! {
    /// What started a run.
    Trigger {
        /// A person, in the window or the terminal.
        Manual = "manual",
        /// The plan's schedule.
        Scheduled = "scheduled",
        /// The one run that makes up for missed slots.
        CatchUp = "catch_up",
        /// The copy made before a restore replaces live data.
        Safety = "safety",
        /// `coffre guard`.
        Guard = "guard",
        /// REST.
        Api = "api",
    }
}

words! {
    /// The interval a backup stands for; retention counts by it.
    BackupType {
        /// Every hour.
        Hourly = "hourly",
        /// Every day.
        Daily = "daily",
        /// Every week.
        Weekly = "weekly",
        /// Every month.
        Monthly = "monthly",
        /// Made without a plan; never expires by itself.
        Manual = "manual",
    }
}

words! {
    /// How much of the source a backup holds.
    Kind {
        /// Everything; restorable alone.
        Full = "full",
        /// What changed since the last full backup.
        Differential = "differential",
        /// What changed since the last backup.
        Incremental = "incremental",
    }
}

/// Flags that say something else than "look at this": a copy that did not come about makes a backup no less usual, nor does one that grew
/// or took long.
const USUAL: [&str; 3] = ["copies_missing", "grew", "slow"];

impl Backup {
    /// Whether something about it is unusual (it shrank, for one) and nobody has said yet that this is right. Such a backup neither counts
    /// for retention nor pushes others out. A flag that this version does not know is unusual.
    pub fn is_unusual(&self) -> bool {
        self.acknowledged_at.is_none() && unusual(&self.flags)
    }
}

/// Whether one of these flags says that something is unusual.
pub fn unusual(flags: &[String]) -> bool {
    flags.iter().any(|flag| !USUAL.contains(&flag.as_str()))
}

/// The program that made a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Tool {
    /// `pg_dump`, or `sqlite` for the built-in way.
    pub name: String,
    /// Absolute path; nothing for the built-in way.
    pub path: Option<String>,
    /// The version that it printed when executed.
    pub version: String,
}

/// A backup as it lies at one destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Copy {
    /// The destination's name.
    pub destination: String,
    /// The destination's id.
    pub destination_id: Id,
    /// Where the artifact lies below the destination's root.
    pub key: String,
    /// How it stands.
    pub state: CopyState,
    /// Size of the artifact as stored.
    pub stored_bytes: u64,
    /// SHA-256 of the artifact as stored, in hexadecimal.
    pub sha256: Option<String>,
    /// When it was last read back to its end.
    pub verified_at: Option<DateTime<Utc>>,
    /// Why it is missing or corrupt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub error: Option<Error>,
}

/// A backup: one attempt and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Backup {
    /// Identity.
    pub id: Id,
    /// The readable name.
    pub code: BackupCode,
    /// The source's name as it was.
    pub source: String,
    /// The source's id.
    pub source_id: Id,
    /// Which database the source pointed to when this was made: SHA-256 of [`crate::source::Source::database_address`], in hexadecimal. A
    /// backup proves something of its source only while the source still points there. Nothing in backups that do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub aim: Option<String>,
    /// The plan's name, if a plan made it.
    pub plan: Option<String>,
    /// The plan's id, if a plan made it.
    pub plan_id: Option<Id>,
    /// What started it.
    pub trigger: Trigger,
    /// The interval it stands for.
    #[serde(rename = "type")]
    pub backup_type: BackupType,
    /// How much it holds.
    pub kind: Kind,
    /// What it builds on (differential and incremental).
    pub base_id: Option<Id>,
    /// Where it stands.
    pub state: BackupState,
    /// When the run began.
    pub started_at: DateTime<Utc>,
    /// When it ended, in whatever way.
    pub ended_at: Option<DateTime<Utc>>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// Size of the plain dump.
    pub raw_bytes: Option<u64>,
    /// Size of the artifact.
    pub stored_bytes: Option<u64>,
    /// SHA-256 of the stored artifact.
    pub sha256: Option<String>,
    /// SHA-256 of the plain dump.
    pub raw_sha256: Option<String>,
    /// How it is compressed.
    pub compression: Compression,
    /// The name of the key that opens it.
    pub encryption: Option<String>,
    /// How many tables it holds.
    pub tables: Option<u64>,
    /// How many rows it holds.
    pub rows: Option<u64>,
    /// What made the dump.
    pub tool: Option<Tool>,
    /// The server's version.
    pub server_version: Option<String>,
    /// Remarks that change how it counts, such as `shrunk`.
    pub flags: Vec<String>,
    /// Why it failed.
    pub error: Option<Error>,
    /// A person's remark.
    pub note: String,
    /// Never removed by retention.
    pub pinned: bool,
    /// Chosen by retention: its bytes go at this time, and until then it can be taken back by pinning it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub leaves_at: Option<DateTime<Utc>>,
    /// When a person said that what is unusual about it (`flags`) is right: since then it counts for retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Where it lies.
    pub copies: Vec<Copy>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_deleted_and_nothing_turns_green_from_the_dead() {
        for next in BackupState::ALL {
            assert!(!BackupState::Deleted.may_become(*next));
        }
        for dead in [
            BackupState::Interrupted,
            BackupState::Cancelled,
            BackupState::Skipped,
            BackupState::Missed,
            BackupState::Deleting,
        ] {
            assert!(!dead.may_become(BackupState::Verified));
        }
    }
}
