//! The scheduler: which slots are due, which were missed, and what is started now.
//!
//! [`decide`] is pure: the time, the plans, the open slots and the conditions go in, actions come out. [`look`] brings it together with
//! the catalogue; [`begin`] and [`end`] frame one run. The loop around it, and threads, are the shells' (`coffre_api::schedules`).
//!
//! # Why nothing runs twice and nothing is lost
//! A slot is a row whose key is the plan and the moment. A row is claimed by one `UPDATE … WHERE state = 'due'` under the lease on its
//! plan; whoever comes second finds it taken. What lies between the last row of a plan and now is due, whatever the process did
//! meanwhile: it slept, was off, or its clock was wrong. Of several such moments the last one is run, and the others are written down as
//! missed. Rows of a future that has not come (a clock that was ahead) are forgotten where nothing ran.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::backup::{Backup, BackupState, Trigger};
use coffre_model::plan::{Plan, PlanSchedule};
use coffre_model::schedule::Schedule;
use coffre_model::slot::{COUNT, Slot, SlotState};
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::context::Engine;
use crate::lease::{Lease, Resource};

pub mod conditions;
pub mod drills;
pub mod jobs;
mod ledger;
mod sleep;
mod standing;

pub use ledger::{Ledger, ledger};
pub use sleep::on_wake;
pub use standing::{announce, count_from, is_watched, pause_all, paused_at};

/// What is seen later than this after its moment is caught up, not on time.
pub const ON_TIME: TimeDelta = TimeDelta::seconds(60);
/// How many missed slots of a plan get a row of their own at a time; older ones share one.
const ROWS: usize = 1_000;
/// How far back moments are counted one by one.
const FAR_BACK: TimeDelta = TimeDelta::days(400);
/// More than a minute's slots of all that time.
const MANY: usize = 700_000;
/// How often a slot is tried.
const TRIES: u32 = 4;
/// How long it waits before each further try.
const BACK_OFF: [TimeDelta; 3] = [TimeDelta::minutes(1), TimeDelta::minutes(5), TimeDelta::minutes(15)];
/// How long it waits for work on the same source that goes on.
const BUSY_FOR: TimeDelta = TimeDelta::seconds(15);

/// A plan as the decision sees it.
pub struct View<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// When it is due; nothing where it is not started by itself.
    pub schedule: Option<&'a Schedule>,
    /// Everything up to here is settled.
    pub floor: DateTime<Utc>,
    /// The first moment after the floor, where that is known already.
    pub next: Option<DateTime<Utc>>,
    /// Its slots that are due or running.
    pub open: Vec<Slot>,
}

/// A slot to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The plan.
    pub plan: Plan,
    /// The slot.
    pub slot: Slot,
    /// On time, or catching up.
    pub trigger: Trigger,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A slot gets its row.
    Add(Slot),
    /// A row in the state `from` becomes this.
    Settle {
        /// What it must be now.
        from: SlotState,
        /// What it will be.
        slot: Slot,
    },
    /// A due slot is run.
    Start(Box<Start>),
}

fn because(text: &'static str) -> Error {
    // A reason, not a failure: nobody's exit status comes from it.
    Error::new(Code::Busy, text)
}

fn new_slot(plan: &Plan, at: DateTime<Utc>, state: SlotState, reason: Option<Error>, now: DateTime<Utc>) -> Slot {
    Slot {
        plan_id: plan.id,
        at,
        state,
        reason,
        backup_id: None,
        tries: 0,
        next_try_at: None,
        seen_at: now,
        ended_at: (state != SlotState::Due).then_some(now),
    }
}

/// Decides. `paused`: nothing starts by itself. `lanes`: how many runs may be started. `waits_for`: what keeps a plan from running now.
pub fn decide(
    now: DateTime<Utc>,
    views: &[View<'_>],
    paused: bool,
    mut lanes: usize,
    waits_for: &dyn Fn(&Plan) -> Option<Error>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut due: Vec<(&Plan, Slot)> = Vec::new();
    for view in views {
        let asleep = paused || view.plan.paused_at.is_some();
        let Some(schedule) = view.schedule.filter(|_| !asleep) else {
            let reason = if asleep { "slot_paused" } else { "slot_no_schedule" };
            for slot in view.open.iter().filter(|slot| slot.state == SlotState::Due) {
                actions.push(closed(slot, SlotState::Skipped, because(reason), now));
            }
            continue;
        };
        due.extend(due_of(view, schedule, now, &mut actions).map(|slot| (view.plan, slot)));
    }
    due.sort_by_key(|(plan, slot)| (slot.at, plan.created_at, plan.id));
    for (plan, slot) in due {
        // A next try that lies further ahead than any back-off was written by another clock.
        let later = slot
            .next_try_at
            .is_some_and(|at| at > now && at - now <= BACK_OFF[BACK_OFF.len() - 1]);
        if later {
            continue;
        }
        let waits = waits_for(plan).or_else(|| (lanes == 0).then(|| because("slot_waits_turn")));
        match waits {
            Some(reason) => {
                if slot.reason.as_ref() != Some(&reason) {
                    let slot = Slot {
                        reason: Some(reason),
                        ..slot
                    };
                    actions.push(Action::Settle {
                        from: SlotState::Due,
                        slot,
                    });
                }
            }
            None => {
                lanes -= 1;
                let late = slot.seen_at - slot.at > ON_TIME;
                actions.push(Action::Start(Box::new(Start {
                    plan: plan.clone(),
                    slot,
                    trigger: if late { Trigger::CatchUp } else { Trigger::Scheduled },
                })));
            }
        }
    }
    actions
}

/// The one slot of a plan that is to be run, if any; what becomes of all others goes to `actions`.
fn due_of(view: &View<'_>, schedule: &Schedule, now: DateTime<Utc>, actions: &mut Vec<Action>) -> Option<Slot> {
    let plan = view.plan;
    let mut moments = match view.next.or_else(|| schedule.next_after(view.floor)) {
        Some(next) if next <= now => schedule.between(view.floor.max(now - FAR_BACK), now, MANY),
        _ => Vec::new(),
    };
    let running = view.open.iter().any(|slot| slot.state == SlotState::Running);
    let newest = if running { None } else { moments.pop() };
    let (state, reason): (_, fn() -> Error) = match running {
        true => (SlotState::Skipped, || because("slot_still_running")),
        false => (SlotState::Missed, || because("slot_missed")),
    };
    let (shared, own) = moments.split_at(moments.len().saturating_sub(ROWS));
    if let (Some(first), Some(last)) = (shared.first(), shared.last()) {
        let reason = because("slots_missed")
            .with(COUNT, shared.len())
            .with("from", first.to_rfc3339())
            .with("until", last.to_rfc3339());
        actions.push(Action::Add(new_slot(plan, *last, state, Some(reason), now)));
    }
    for at in own {
        actions.push(Action::Add(new_slot(plan, *at, state, Some(reason()), now)));
    }
    let newest = newest.map(|at| new_slot(plan, at, SlotState::Due, None, now));
    // A newer one is due: what still waits has had its time.
    let mut waiting: Vec<&Slot> = view.open.iter().filter(|slot| slot.state == SlotState::Due).collect();
    let kept = match newest {
        Some(_) => None,
        None if running => None,
        None => waiting.pop(),
    };
    for slot in waiting {
        actions.push(match &slot.reason {
            Some(error) if slot.tries > 0 => closed(slot, SlotState::Failed, error.clone(), now),
            reason => {
                let over = because("slot_superseded");
                let over = match reason {
                    Some(reason) => over.with_also("because", reason),
                    None => over,
                };
                closed(slot, SlotState::Missed, over, now)
            }
        });
    }
    if let Some(slot) = &newest {
        actions.push(Action::Add(slot.clone()));
    }
    newest.or_else(|| kept.cloned())
}

fn closed(slot: &Slot, state: SlotState, reason: Error, now: DateTime<Utc>) -> Action {
    Action::Settle {
        from: slot.state,
        slot: Slot {
            state,
            reason: Some(reason),
            ended_at: Some(now),
            ..slot.clone()
        },
    }
}

/// What becomes of a slot after its run. `stopping`: the run was cancelled because Coffre ends, not because a person wanted that.
pub fn after_run(slot: &Slot, outcome: &Result<Backup>, stopping: bool, now: DateTime<Utc>) -> Slot {
    let over = |state, reason: Option<Error>, backup_id| Slot {
        state,
        reason,
        backup_id,
        next_try_at: None,
        ended_at: Some(now),
        ..slot.clone()
    };
    let error = match outcome {
        Ok(backup) if backup.state == BackupState::Verified => return over(SlotState::Verified, None, Some(backup.id)),
        Ok(backup) => {
            let reason = backup
                .error
                .clone()
                .unwrap_or_else(|| Error::internal("run a slot", backup.state));
            return over(SlotState::Failed, Some(reason), Some(backup.id));
        }
        Err(error) => error,
    };
    let backup_id = error.detail("backup").and_then(|id| id.parse().ok()).or(slot.backup_id);
    let again = |at: Option<DateTime<Utc>>, tries| Slot {
        state: SlotState::Due,
        reason: Some(error.clone()),
        backup_id,
        tries,
        next_try_at: at,
        ended_at: None,
        ..slot.clone()
    };
    let back_off = BACK_OFF[(slot.tries.saturating_sub(1) as usize).min(BACK_OFF.len() - 1)];
    match error.code() {
        // Somebody else works on it: not a try of ours.
        Code::Busy => again(Some(now + BUSY_FOR), slot.tries.saturating_sub(1)),
        Code::Cancelled if stopping => again(None, slot.tries.saturating_sub(1)),
        // A person unlocks it, sooner or later.
        Code::SecretUnavailable => again(Some(now + back_off), slot.tries),
        code if can_pass(code) && slot.tries < TRIES => again(Some(now + back_off), slot.tries),
        _ => over(SlotState::Failed, Some(error.clone()), backup_id),
    }
}

/// Whether trying again can help without anybody changing anything.
fn can_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unreachable
            | Code::LockTimeout
            | Code::Stalled
            | Code::DumpFailed
            | Code::DumpTruncated
            | Code::DestUnreachable
            | Code::UploadIncomplete
            | Code::Interrupted
            | Code::HomeFull
    )
}

/// What a loop keeps between two looks: plans and their schedules, and when each is due next.
#[derive(Default)]
pub struct Memory {
    plans: Vec<Plan>,
    read: bool,
    schedules: HashMap<Id, (PlanSchedule, Result<Schedule>)>,
    next: HashMap<Id, (DateTime<Utc>, Option<DateTime<Utc>>)>,
}

impl Memory {
    /// Plans are to be read anew at the next look.
    pub fn forget(&mut self) {
        self.read = false;
    }
}

/// What a look found.
#[derive(Default)]
pub struct Looked {
    /// To be started now.
    pub starts: Vec<Start>,
    /// When something is due next, as far as is known.
    pub next: Option<DateTime<Utc>>,
    /// Whether a slot waits for something that no clock tells.
    pub waiting: bool,
    /// Whether rows were written.
    pub changed: bool,
}

/// Puts slots to rest whose run is over or dead, and which nobody holds any more. Answers whether there were any.
///
/// # Errors
/// The catalogue's own.
pub fn settle_dead(engine: &Engine) -> Result<bool> {
    let mut settled = false;
    for slot in engine.catalogue.open_slots()? {
        let resource = Resource::Plan(slot.plan_id).to_string();
        if slot.state != SlotState::Running || engine.catalogue.is_held(&resource)? {
            continue;
        }
        let now = (engine.now)();
        let state = match &slot.backup_id {
            Some(id) => engine.catalogue.state_of_backup(id)?,
            None => None,
        };
        let reason = || Error::new(Code::Interrupted, "slot_interrupted");
        let next = match state {
            // It is put to rest with its own lease; then this slot is looked at again.
            Some(BackupState::Running) => continue,
            Some(BackupState::Verified) => Slot {
                state: SlotState::Verified,
                ended_at: Some(now),
                ..slot
            },
            _ if slot.tries < TRIES => Slot {
                state: SlotState::Due,
                reason: Some(reason()),
                ..slot
            },
            _ => Slot {
                state: SlotState::Failed,
                reason: Some(reason()),
                ended_at: Some(now),
                ..slot
            },
        };
        settled |= engine.catalogue.settle_dead_slot(&resource, &next)?;
    }
    Ok(settled)
}

/// The schedules of plans: the last moments that are settled, and what is wrong with those that cannot be read.
struct Floors {
    last: BTreeMap<Id, DateTime<Utc>>,
    since: BTreeMap<String, DateTime<Utc>>,
    resumed: Option<DateTime<Utc>>,
}

impl Floors {
    fn read(engine: &Engine, now: DateTime<Utc>) -> Result<Floors> {
        Ok(Floors {
            last: engine.catalogue.last_slots(now)?,
            since: engine.catalogue.clockworks("since:")?,
            resumed: engine.catalogue.clockwork("resumed")?,
        })
    }

    /// From when on the plan's slots count.
    fn since(&self, plan: &Plan) -> DateTime<Utc> {
        let since = self.since.get(&plan.id.to_string()).copied().unwrap_or(plan.created_at);
        since.max(self.resumed.unwrap_or(since))
    }

    /// Nothing where the clock was ahead when the plan began to count.
    fn of(&self, plan: &Plan, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let since = self.since(plan);
        (since <= now).then(|| since.max(self.last.get(&plan.id).copied().unwrap_or(since)))
    }
}

/// When a plan is due next, as the scheduler will see it; for showing.
///
/// # Errors
/// The catalogue's own; `USAGE` where its schedule cannot be read any more.
pub fn next_of(engine: &Engine, plan: &Plan) -> Result<Option<DateTime<Utc>>> {
    let Some(schedule) = plan.schedule.as_ref().filter(|_| plan.paused_at.is_none()) else {
        return Ok(None);
    };
    if paused_at(engine)?.is_some() {
        return Ok(None);
    }
    Ok(Schedule::of(schedule)?.next_after((engine.now)()))
}

/// Looks at the clock and at every plan, writes down what became of slots, and answers what is to be started.
///
/// # Errors
/// The catalogue's own.
pub fn look(engine: &Engine, memory: &mut Memory) -> Result<Looked> {
    let now = (engine.now)();
    let catalogue = &engine.catalogue;
    let mut looked = Looked {
        changed: settle_dead(engine)?,
        ..Looked::default()
    };
    looked.changed |= catalogue.forget_false_future(now)? > 0;
    if !memory.read {
        memory.plans = catalogue.plans()?;
        memory.read = true;
        memory
            .schedules
            .retain(|id, _| memory.plans.iter().any(|plan| plan.id == *id));
    }
    let paused = paused_at(engine)?.is_some();
    let floors = Floors::read(engine, now)?;
    let mut open: BTreeMap<Id, Vec<Slot>> = BTreeMap::new();
    for slot in catalogue.open_slots()? {
        open.entry(slot.plan_id).or_default().push(slot);
    }
    let running: usize = open
        .values()
        .flatten()
        .filter(|slot| slot.state == SlotState::Running)
        .count();
    for plan in &memory.plans {
        if let Some(given) = &plan.schedule
            && memory.schedules.get(&plan.id).is_none_or(|(known, _)| known != given)
        {
            memory.schedules.insert(plan.id, (given.clone(), Schedule::of(given)));
            memory.next.remove(&plan.id);
        }
    }
    let mut views = Vec::with_capacity(memory.plans.len());
    for plan in &memory.plans {
        let schedule = plan.schedule.as_ref().and_then(|_| memory.schedules.get(&plan.id));
        let schedule = schedule.and_then(|(_, schedule)| schedule.as_ref().ok());
        let floor = match floors.of(plan, now) {
            Some(floor) => floor,
            None => {
                // The clock was ahead when the plan was made or resumed. Waiting for that time would be silence.
                if schedule.is_some() {
                    count_from(engine, &plan.id, now)?;
                }
                if floors.resumed.is_some_and(|resumed| resumed > now) {
                    catalogue.set_clockwork("resumed", Some(&now))?;
                }
                now
            }
        };
        let next = match schedule {
            None => None,
            Some(schedule) => match memory.next.get(&plan.id) {
                Some((known, next)) if *known == floor => *next,
                _ => {
                    let next = schedule.next_after(floor);
                    memory.next.insert(plan.id, (floor, next));
                    next
                }
            },
        };
        if plan.paused_at.is_none() && !paused {
            // What is due now is dealt with below; the loop waits for what comes after it.
            let coming = match next {
                Some(at) if at <= now => schedule.and_then(|schedule| schedule.next_after(now)),
                next => next,
            };
            looked.next = earliest(looked.next, coming);
        }
        let open = open.remove(&plan.id).unwrap_or_default();
        if schedule.is_some() || !open.is_empty() {
            views.push(View {
                plan,
                schedule,
                floor,
                next,
                open,
            });
        }
    }
    // Slots of plans that are gone.
    for slot in open.into_values().flatten().filter(|slot| slot.state == SlotState::Due) {
        if let Action::Settle { from, slot } = closed(&slot, SlotState::Skipped, because("slot_no_schedule"), now) {
            looked.changed |= catalogue.settle_slot(from, &slot)?;
        }
    }
    let lanes = (engine.max_parallel_runs()? as usize).saturating_sub(running);
    let actions = decide(now, &views, paused, lanes, &|plan| conditions::waits_for(engine, plan));
    let added: Vec<Slot> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Add(slot) => Some(slot.clone()),
            _ => None,
        })
        .collect();
    looked.changed |= catalogue.add_slots(&added)? > 0;
    for action in actions {
        match action {
            Action::Add(_) => {}
            Action::Settle { from, slot } => {
                looked.waiting |= slot.state == SlotState::Due;
                looked.changed |= catalogue.settle_slot(from, &slot)?;
            }
            Action::Start(start) => looked.starts.push(*start),
        }
    }
    for view in &views {
        for slot in view.open.iter().filter(|slot| slot.state == SlotState::Due) {
            looked.next = earliest(looked.next, slot.next_try_at.filter(|at| *at > now));
            looked.waiting = true;
        }
    }
    Ok(looked)
}

fn earliest(a: Option<DateTime<Utc>>, b: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A slot whose run is ours.
pub struct Begun {
    slot: Slot,
    /// Held until the slot is over: whoever else looks sees that somebody works on it.
    lease: Lease,
}

/// Takes a slot. Nothing where another process has it, or it is not due any more.
///
/// # Errors
/// The catalogue's own, and that of `cancel`.
pub fn begin(engine: &Engine, start: &Start, cancel: &Cancel) -> Result<Option<Begun>> {
    let resource = Resource::Plan(start.plan.id);
    let lease = match Lease::acquire(&engine.catalogue, &resource, &Id::new(), engine.lease()?, cancel) {
        Ok(lease) => lease,
        Err(error) if error.code() == Code::Busy => return Ok(None),
        Err(error) => return Err(error),
    };
    if !engine.catalogue.claim_slot(&start.plan.id, start.slot.at)? {
        return Ok(None);
    }
    let slot = Slot {
        state: SlotState::Running,
        tries: start.slot.tries + 1,
        reason: None,
        next_try_at: None,
        backup_id: None,
        ..start.slot.clone()
    };
    Ok(Some(Begun { slot, lease }))
}

impl Begun {
    /// Notes the run as soon as it has an id.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn has_run(&self, engine: &Engine, backup: &Id) -> Result<()> {
        engine.catalogue.slot_begun(&self.slot.plan_id, self.slot.at, backup)
    }
}

/// Writes down what became of a slot that was begun, and gives it back.
///
/// # Errors
/// The catalogue's own: then the slot is put to rest by the next look.
pub fn end(engine: &Engine, begun: Begun, outcome: &Result<Backup>, stopping: bool) -> Result<Slot> {
    let next = after_run(&begun.slot, outcome, stopping, (engine.now)());
    engine.catalogue.settle_slot(SlotState::Running, &next)?;
    drop(begun.lease);
    Ok(next)
}

#[cfg(test)]
mod tests;
