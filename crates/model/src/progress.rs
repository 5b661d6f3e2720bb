//! Progress of running work, as it is told to whoever watches.

use serde::Serialize;

use crate::backup::words;
use crate::id::Id;

words! {
    /// What is being done now.
    Step {
        /// Waiting for a free place (`max_parallel_runs`).
        Waiting = "waiting",
        /// Tools, server and destination are looked at.
        Preparing = "preparing",
        /// The dump flows to the destinations.
        Dumping = "dumping",
        /// Rows are counted and the database is checked in the dump's own snapshot.
        Counting = "counting",
        /// The stored bytes are read back.
        Verifying = "verifying",
        /// The backup is loaded into its new place.
        Loading = "loading",
        /// Rows are counted in the new place and compared.
        Comparing = "comparing",
        /// What was loaded and what is live change places.
        Swapping = "swapping",
        /// The manifest is written.
        Finishing = "finishing",
    }
}

/// One piece of news about running work.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Progress {
    /// The backup or restore that this is about.
    pub id: Option<Id>,
    /// What is being done.
    pub step: Step,
    /// Bytes done in this step.
    pub done: u64,
    /// Bytes in all, where known or estimated.
    pub total: Option<u64>,
    /// Whether `total` is an estimate.
    pub estimated: bool,
}

/// Somebody who watches. Called from the thread that does the work, at most ten times a second: must not block.
pub trait Observer: Send + Sync {
    /// Takes a piece of news.
    fn progress(&self, progress: &Progress);
}

/// Watches nothing.
pub struct Silent;

impl Observer for Silent {
    fn progress(&self, _: &Progress) {}
}
