//! A slot: one moment at which a plan was due, and what became of it.

use chrono::{DateTime, Utc};

use crate::backup::words;
use crate::error::Error;
use crate::id::Id;

words! {
    /// What became of a slot.
    SlotState {
        /// To be run as soon as it can be.
        Due = "due",
        /// Its run goes on.
        Running = "running",
        /// Its backup is verified.
        Verified = "verified",
        /// It did not work; the reason says why.
        Failed = "failed",
        /// It was left out, with the reason.
        Skipped = "skipped",
        /// Nobody was there for it, or it waited until the next one was due.
        Missed = "missed",
    }
}

/// The fact of a reason that says for how many slots its row stands, where that is not one.
pub const COUNT: &str = "slots_count";

/// One moment at which a plan was due.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The plan.
    pub plan_id: Id,
    /// The moment.
    pub at: DateTime<Utc>,
    /// What became of it.
    pub state: SlotState,
    /// Why; for `due`, what it waits for.
    pub reason: Option<Error>,
    /// Its run.
    pub backup_id: Option<Id>,
    /// How often it was tried.
    pub tries: u32,
    /// Not tried again before.
    pub next_try_at: Option<DateTime<Utc>>,
    /// When it was first seen.
    pub seen_at: DateTime<Utc>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
}
