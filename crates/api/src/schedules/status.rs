//! How schedules stand, their pause, and what they say.

use chrono::{DateTime, Utc};
use coffre_engine::scheduler;
use coffre_model::plan::Plan;
use coffre_model::schedule::Schedule;
use coffre_model::slot::SlotState;
use coffre_model::{Code, Error, Result};
use serde::Serialize;

use crate::Coffre;
use crate::notifications::Unheard;

/// How one plan stands with its schedule.
#[derive(Clone, Debug, Serialize)]
pub struct PlanStatus {
    /// The plan's name.
    pub plan: String,
    /// Its source's name.
    pub source: String,
    /// When it runs next; nothing while it is paused, or not started by itself.
    pub next_run: Option<DateTime<Utc>>,
    /// The last slot whose run is over.
    pub last_run: Option<DateTime<Utc>>,
    /// What went wrong last, if the last slot did not end well; or why its schedule cannot be read.
    pub last_error: Option<Error>,
    /// Slots whose backup is verified.
    pub successes: u64,
    /// Slots that failed.
    pub failures: u64,
    /// Slots that nobody was there for.
    pub missed: u64,
    /// The slot that is due and has not run yet.
    pub due: Option<DateTime<Utc>>,
    /// What it waits for.
    pub waiting_for: Option<Error>,
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
}

/// How all schedules stand.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Whether a process on this home watches the clock.
    pub running: bool,
    /// Since when nothing starts by itself, if so.
    pub paused_at: Option<DateTime<Utc>>,
    /// Coffre's own work.
    pub jobs: Vec<crate::jobs::JobStatus>,
    /// Every plan.
    pub plans: Vec<PlanStatus>,
    /// Who should be told of what fails, and cannot be.
    pub unheard: Unheard,
}

impl Coffre {
    /// How all schedules stand.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn schedules(&self) -> Result<Status> {
        let engine = &self.engine;
        let figures = engine.catalogue.slot_figures()?;
        let status = |plan: Plan| {
            let figures = figures.get(&plan.id).cloned().unwrap_or_default();
            let (next_run, unreadable) = match scheduler::next_of(engine, &plan) {
                Ok(next) => (next, None),
                Err(error) if error.code() == Code::Usage => (None, Some(error)),
                Err(error) => return Err(error),
            };
            let due = figures.open.filter(|slot| slot.state == SlotState::Due);
            let failed = figures.last.as_ref().filter(|slot| slot.state == SlotState::Failed);
            let tried = due
                .as_ref()
                .filter(|slot| slot.tries > 0)
                .and_then(|slot| slot.reason.clone());
            Ok(PlanStatus {
                next_run,
                last_run: figures.last.as_ref().map(|slot| slot.at),
                last_error: unreadable.or(tried).or_else(|| failed.and_then(|slot| slot.reason.clone())),
                successes: figures.successes,
                failures: figures.failures,
                missed: figures.missed,
                due: due.as_ref().map(|slot| slot.at),
                waiting_for: due.and_then(|slot| slot.reason),
                paused_at: plan.paused_at,
                plan: plan.name,
                source: plan.source,
            })
        };
        Ok(Status {
            running: scheduler::is_watched(engine)?,
            paused_at: scheduler::paused_at(engine)?,
            jobs: self.jobs()?,
            unheard: self.unheard()?,
            plans: self.plans()?.into_iter().map(status).collect::<Result<_>>()?,
        })
    }

    /// Pauses every schedule, or lets them go on: from now on, without making up for what the pause left out.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn pause_schedules(&self, paused: bool) -> Result<()> {
        scheduler::pause_all(&self.engine, paused)
    }

    /// A plan's schedule, understood; nothing where a person starts it.
    ///
    /// # Errors
    /// `USAGE` where it cannot be read any more.
    pub fn schedule_of(&self, plan: &Plan) -> Result<Option<Schedule>> {
        plan.schedule.as_ref().map(Schedule::of).transpose()
    }
}
