//! Slots: what became of each moment at which a plan was due.

use chrono::{DateTime, Utc};
use coffre_model::slot::{COUNT, Slot, SlotState};
use coffre_model::{Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::plans::plan_by_id;

/// The most that is shown at once.
const MAX: u32 = 500;

/// One moment at which a plan was due.
#[derive(Clone, Debug, Serialize, TS)]
pub struct SlotRow {
    /// The moment.
    pub at: DateTime<Utc>,
    /// What became of it.
    pub state: SlotState,
    /// Why; for `due`, what it waits for.
    pub reason: Option<Error>,
    /// For how many moments it stands: missed ones of long ago share one.
    pub count: u64,
    /// Its run.
    pub backup_id: Option<Id>,
    /// How often it was tried.
    pub tries: u32,
    /// Not tried again before.
    pub next_try_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The arguments of `list_slots`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ListSlots {
    plan_id: Id,
    limit: u32,
}

impl SlotRow {
    pub(super) fn of(slot: Slot) -> Self {
        let count = slot.reason.as_ref().and_then(|reason| reason.detail(COUNT));
        SlotRow {
            at: slot.at,
            state: slot.state,
            count: count.and_then(|count| count.parse().ok()).unwrap_or(1),
            reason: slot.reason,
            backup_id: slot.backup_id,
            tries: slot.tries,
            next_try_at: slot.next_try_at,
            ended_at: slot.ended_at,
        }
    }
}

impl Window {
    /// The last slots of a plan, newest first: also those that left no backup behind.
    pub(super) fn list_slots(&self, ListSlots { plan_id, limit }: ListSlots) -> Result<Vec<SlotRow>> {
        if !(1..=MAX).contains(&limit) {
            return Err(Error::new(Code::Usage, "page_range").with("max", MAX));
        }
        let coffre = self.coffre()?;
        let plan = plan_by_id(&coffre, &plan_id)?;
        let slots = coffre.engine.catalogue.slots_of_plan(&plan.id, limit)?;
        Ok(slots.into_iter().map(SlotRow::of).collect())
    }
}
