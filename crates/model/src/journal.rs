//! The journal: everything that was done, by whom, with what result.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::error::Error;

words! {
    /// Through what a person or a machine acted.
    Author {
        /// `coffre` in a terminal.
        Cli = "cli",
        /// The window.
        App = "app",
        /// A REST token.
        Api = "api",
        /// A schedule.
        Schedule = "schedule",
        /// Coffre itself, at a start.
        System = "system",
    }
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Entry {
    /// Order of writing.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Through what.
    pub author: Author,
    /// The user of the system, or a token's name.
    pub actor: Option<String>,
    /// What: `backup.run`, `source.add`, `restore.run`, … (`journal.<action>` in the catalogues of words).
    pub action: String,
    /// The kind of thing acted on: `backup`, `source`, …
    pub subject_kind: String,
    /// Its id.
    pub subject_id: Option<String>,
    /// Its name or code as it was.
    pub subject: String,
    /// `ok`, or `failed` (then with the error).
    #[cfg_attr(feature = "typescript", ts(type = "'ok' | 'failed'"))]
    pub result: String,
    /// Why it failed.
    pub error: Option<Error>,
}
