//! Plans: rows with their sums, the form checked while it is filled.

use chrono::{DateTime, Utc};
use coffre_engine::catalogue::PlanFigures;
use coffre_engine::scheduler::next_of;
use coffre_model::backup::{Backup, BackupState, BackupType, Kind};
use coffre_model::compression::Compression;
use coffre_model::plan::{Plan, Retention};
use coffre_model::schedule::{Schedule, preset};
use coffre_model::slot::SlotState;
use coffre_model::source::check_name;
use coffre_model::{Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::destinations::destination_by_id;
use super::drafts::DraftErrors;
use super::events::Noun;
use super::slots::SlotRow;
use super::sources::source_by_id;
use super::{Window, tags};
use crate::Coffre;
use crate::plans::PlanChange;
use crate::schedules::local_zone;

/// The most destinations of one plan: nobody has so many, and each is looked up.
const DESTINATIONS_MAX: usize = 100;

/// What a plan's form holds.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct PlanDraft {
    /// Its name.
    pub name: String,
    /// The source; nothing while none is chosen.
    #[ts(type = "Id")]
    pub source_id: String,
    /// The destinations, in order.
    pub destination_ids: Vec<Id>,
    /// How much each backup holds.
    pub kind: Kind,
    /// The interval.
    pub every: Option<BackupType>,
    /// `HH:MM` in `time_zone`, with `every`; nothing means the usual time. Of an hourly plan the minute counts.
    pub at: Option<String>,
    /// The day of the week of a weekly plan, 0 is Sunday; nothing means Monday.
    #[serde(default)]
    #[ts(optional = nullable)]
    pub weekday: Option<u32>,
    /// The day of the month of a monthly plan, up to 28, which every month has; nothing means the first.
    #[serde(default)]
    #[ts(optional = nullable)]
    pub month_day: Option<u32>,
    /// Five Unix fields, in place of `every` and `at`.
    pub cron: Option<String>,
    /// The time zone of both; nothing means that of this machine.
    pub time_zone: Option<String>,
    /// Wait for the network.
    #[serde(default)]
    pub wait_for_network: bool,
    /// Wait for mains power.
    #[serde(default)]
    pub wait_for_power: bool,
    /// `zstd[:L]`, `gzip[:L]` or `none`.
    pub compression: String,
    /// The key that encrypts.
    pub key_id: Option<Id>,
    /// What is kept.
    pub retention: Retention,
}

/// A plan in a list.
#[derive(Debug, Serialize, TS)]
pub struct PlanRow {
    /// The plan.
    pub plan: Plan,
    /// As it is edited.
    pub draft: PlanDraft,
    /// Whether it is paused.
    pub paused: bool,
    /// When it runs next.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Its last backup.
    pub last: Option<Backup>,
    /// Its verified backups.
    pub successes: u64,
    /// Its failed and interrupted ones.
    pub failures: u64,
    /// Slots that nobody was there for.
    pub missed: u64,
    /// Why the last one failed, if it did.
    pub last_error: Option<Error>,
    /// The slot that is due and has not run yet, with what it waits for.
    pub due: Option<SlotRow>,
    /// Why nothing leaves by its rules, where they stand still.
    pub retention_stopped: Option<Error>,
}

/// The arguments of `add_plan`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct AddPlan {
    draft: PlanDraft,
}

/// The arguments of `edit_plan`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct EditPlan {
    id: Id,
    draft: PlanDraft,
}

/// The arguments of `pause_plan`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct PausePlan {
    id: Id,
    paused: bool,
}

/// The arguments of `pause_schedules`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseSchedules {
    paused: bool,
}

/// The plan with this id, and no other.
pub(super) fn plan_by_id(coffre: &Coffre, id: &Id) -> Result<Plan> {
    let found = coffre.plans()?.into_iter().find(|plan| plan.id == *id);
    found.ok_or_else(|| Error::new(Code::NotFound, "plan_not_found").with("given", id.to_string()))
}

fn not_yet(what: &str) -> Error {
    Error::new(Code::Refused, "not_yet").with("what", what)
}

/// Checks every field of a form; answers what the plan would be made of, where nothing is wrong.
pub(super) fn read_draft(coffre: &Coffre, id: Option<&Id>, draft: &PlanDraft) -> Result<(DraftErrors, Option<PlanChange>)> {
    let mut errors = DraftErrors::default();
    let required = || Error::new(Code::Usage, "field_required");
    if let Err(error) = check_name(&draft.name) {
        errors.add("name", error);
    }
    let known = coffre.plans()?;
    errors.check_taken(&draft.name, id, known.iter().map(|other| (&other.id, other.name.as_str())));
    let source = match draft.source_id.parse::<Id>() {
        Ok(source) => source_by_id(coffre, &source)
            .map_err(|error| errors.add("source_id", error))
            .ok(),
        Err(()) => {
            errors.add("source_id", required());
            None
        }
    };
    if let (Some(source), Some(id)) = (&source, id)
        && plan_by_id(coffre, id)?.source_id != source.id
    {
        errors.add("source_id", Error::new(Code::Refused, "plan_other_source"));
    }
    let mut destinations = Vec::new();
    if draft.destination_ids.len() > DESTINATIONS_MAX {
        errors.add(
            "destination_ids",
            Error::new(Code::Usage, "field_lines").with("max", DESTINATIONS_MAX),
        );
    }
    for id in draft.destination_ids.iter().take(DESTINATIONS_MAX) {
        match destination_by_id(coffre, id) {
            Ok(destination) if destinations.contains(&destination) => {
                errors.add("destination_ids", Error::new(Code::Usage, "plan_destination_twice"));
            }
            Ok(destination) => destinations.push(destination),
            Err(error) => errors.add("destination_ids", error),
        }
    }
    if draft.destination_ids.is_empty() {
        errors.add("destination_ids", required());
    }
    if draft.kind != Kind::Full {
        errors.add("kind", not_yet(draft.kind.as_str()));
    }
    let cron = draft_cron(draft, &mut errors);
    let time_zone = cron.as_ref().map(|_| draft.time_zone.clone().unwrap_or_else(local_zone));
    if let (Some(cron), Some(zone)) = (&cron, &time_zone)
        && let Err(error) = Schedule::new(cron, zone)
    {
        let field = if error.text() == "time_zone_unknown" {
            "time_zone"
        } else {
            "cron"
        };
        errors.add(field, error);
    }
    let compression = match draft.compression.parse::<Compression>() {
        Ok(compression) => compression,
        Err(_) => {
            let given: String = draft.compression.chars().take(100).collect();
            errors.add("compression", Error::new(Code::Usage, "compression").with("given", given));
            Compression::default()
        }
    };
    let mut key = None;
    if let Some(id) = &draft.key_id {
        match coffre.keys()?.into_iter().find(|key| key.id == *id) {
            Some(found) => key = Some(found),
            None => errors.add(
                "key_id",
                Error::new(Code::NotFound, "key_not_found").with("given", id.to_string()),
            ),
        }
    }
    let rules = &draft.retention;
    for (what, given) in [
        ("keep-last", rules.keep_last),
        ("keep-days", rules.keep_days),
        ("keep-min", rules.keep_min),
    ] {
        if given == Some(0) {
            errors.add("retention", Error::new(Code::Usage, "keep_zero").with("what", what));
        }
    }
    if !errors.0.is_empty() {
        return Ok((errors, None));
    }
    // Without a schedule there is nothing that could wait.
    let waits = |chosen| cron.as_ref().map(|_| chosen);
    let (wait_for_network, wait_for_power) = (waits(draft.wait_for_network), waits(draft.wait_for_power));
    let change = PlanChange {
        name: Some(draft.name.clone()),
        destinations: Some(destinations),
        every: draft.every,
        cron,
        time_zone,
        wait_for_network,
        wait_for_power,
        kind: Some(draft.kind),
        compression: Some(compression),
        key: Some(key),
        retention: draft.retention.clone(),
        preset: None,
    };
    Ok((errors, Some(change)))
}

fn read_or_refuse(coffre: &Coffre, id: Option<&Id>, draft: &PlanDraft) -> Result<PlanChange> {
    let (errors, change) = read_draft(coffre, id, draft)?;
    errors.accept(change)
}

/// The five fields that a form means; nothing where the plan is not to run by itself.
pub(super) fn draft_cron(draft: &PlanDraft, errors: &mut DraftErrors) -> Option<String> {
    if let Some(cron) = &draft.cron {
        return Some(cron.clone());
    }
    let every = draft.every?;
    preset(every)?;
    let mut mark = |field: &'static str, given: String| {
        let given: String = given.chars().take(20).collect();
        errors.add(field, Error::new(Code::Usage, "plan_at").with("given", given));
        None
    };
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let time = match draft.at.as_deref() {
        None => Some(usual_time(every)),
        Some(at) => at.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?))),
    };
    let Some((hour, minute)) = time.filter(|(hour, minute)| *hour < 24 && *minute < 60) else {
        return mark("at", draft.at.clone().unwrap_or_default());
    };
    let (weekday, month_day) = (draft.weekday.unwrap_or(MONDAY), draft.month_day.unwrap_or(1));
    if weekday > 6 {
        return mark("weekday", weekday.to_string());
    }
    if !(1..=MONTH_DAY_MAX).contains(&month_day) {
        return mark("month_day", month_day.to_string());
    }
    let when = When {
        hour,
        minute,
        weekday,
        month_day,
    };
    Some(when.cron(every))
}

const MONDAY: u32 = 1;
/// The last day that every month has.
const MONTH_DAY_MAX: u32 = 28;

/// Hour and minute where a form says nothing.
fn usual_time(every: BackupType) -> (u32, u32) {
    match every {
        BackupType::Hourly => (0, 0),
        _ => (3, 0),
    }
}

/// When within its interval a plan is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct When {
    hour: u32,
    minute: u32,
    weekday: u32,
    month_day: u32,
}

impl When {
    /// The five fields.
    fn cron(self, every: BackupType) -> String {
        let When {
            hour,
            minute,
            weekday,
            month_day,
        } = self;
        match every {
            BackupType::Hourly => format!("{minute} * * * *"),
            BackupType::Weekly => format!("{minute} {hour} * * {weekday}"),
            BackupType::Monthly => format!("{minute} {hour} {month_day} * *"),
            BackupType::Daily | BackupType::Manual => format!("{minute} {hour} * * *"),
        }
    }

    /// The same back from the fields, where an interval says it as well.
    fn of(every: BackupType, cron: &str) -> Option<When> {
        let fields: Vec<Option<u32>> = cron.split(' ').map(|field| field.parse().ok()).collect();
        let &[Some(minute), hour, month_day, _, weekday] = fields.as_slice() else {
            return None;
        };
        let when = When {
            minute,
            // Whoever makes a daily plan of an hourly one begins with the usual time.
            hour: hour.unwrap_or(3),
            weekday: weekday.unwrap_or(MONDAY),
            month_day: month_day.filter(|day| *day <= MONTH_DAY_MAX).unwrap_or(1),
        };
        (when.cron(every) == cron).then_some(when)
    }
}

fn draft_of(plan: &Plan) -> PlanDraft {
    let schedule = plan.schedule.as_ref();
    let when = plan
        .every
        .zip(schedule)
        .and_then(|(every, schedule)| When::of(every, &schedule.cron));
    PlanDraft {
        name: plan.name.clone(),
        source_id: plan.source_id.to_string(),
        destination_ids: plan.destination_ids.clone(),
        kind: plan.kind,
        every: plan.every,
        cron: schedule.filter(|_| when.is_none()).map(|schedule| schedule.cron.clone()),
        at: when.map(|when| format!("{:02}:{:02}", when.hour, when.minute)),
        weekday: when.map(|when| when.weekday),
        month_day: when.map(|when| when.month_day),
        time_zone: schedule.map(|schedule| schedule.time_zone.clone()),
        wait_for_network: schedule.is_some_and(|schedule| schedule.wait_for_network),
        wait_for_power: schedule.is_some_and(|schedule| schedule.wait_for_power),
        compression: plan.compression.to_string(),
        key_id: plan.key_id,
        retention: plan.retention.clone(),
    }
}

impl Window {
    pub(super) fn list_plans(&self, _: Nothing) -> Result<Vec<PlanRow>> {
        let coffre = self.coffre()?;
        let figures = coffre.engine.catalogue.plan_figures()?;
        let slots = coffre.engine.catalogue.slot_figures()?;
        let row = |plan: Plan| {
            let slots = slots.get(&plan.id).cloned().unwrap_or_default();
            let due = slots.open.filter(|slot| slot.state == SlotState::Due);
            let last = coffre.engine.catalogue.last_of_plan(&plan.id)?;
            let PlanFigures { successes, failures } = figures.get(&plan.id).copied().unwrap_or_default();
            let failed = last.as_ref().filter(|last| {
                matches!(
                    last.state,
                    BackupState::Failed | BackupState::Interrupted | BackupState::Missed
                )
            });
            Ok(PlanRow {
                draft: draft_of(&plan),
                paused: plan.paused_at.is_some(),
                // A schedule that cannot be read any more has no next run; why is said in place of the last error.
                next_run_at: next_of(&coffre.engine, &plan).unwrap_or_default(),
                last_error: coffre
                    .schedule_of(&plan)
                    .err()
                    .or_else(|| failed.and_then(|failed| failed.error.clone())),
                last,
                successes,
                failures,
                missed: slots.missed,
                due: due.map(SlotRow::of),
                retention_stopped: coffre.engine.catalogue.retention_hold(&plan.id)?.map(|(_, reason)| reason),
                plan,
            })
        };
        coffre.plans()?.into_iter().map(row).collect()
    }

    pub(super) fn add_plan(&self, AddPlan { draft }: AddPlan) -> Result<Plan> {
        let coffre = self.coffre()?;
        let change = read_or_refuse(&coffre, None, &draft)?;
        let source = draft
            .source_id
            .parse()
            .map_err(|()| Error::new(Code::Usage, "field_required").with("field", "source_id"))?;
        let plan = coffre.add_plan(&draft.name, &source_by_id(&coffre, &source)?, change)?;
        self.plans_changed();
        Ok(plan)
    }

    pub(super) fn edit_plan(&self, EditPlan { id, draft }: EditPlan) -> Result<Plan> {
        let coffre = self.coffre()?;
        let before = plan_by_id(&coffre, &id)?;
        let change = read_or_refuse(&coffre, Some(&id), &draft)?;
        // A form shows every rule and the interval: what is empty in it is meant to be empty.
        let blank = Plan {
            retention: Retention::default(),
            every: None,
            schedule: None,
            ..before
        };
        let plan = coffre.edit_plan(&blank, change)?;
        self.plans_changed();
        Ok(plan)
    }

    pub(super) fn remove_plan(&self, ById { id }: ById) -> Result<()> {
        let coffre = self.coffre()?;
        coffre.remove_plan(&plan_by_id(&coffre, &id)?)?;
        self.plans_changed();
        Ok(())
    }

    fn plans_changed(&self) {
        self.wake_clockwork();
        self.changed(tags(&[
            Noun::Plans,
            Noun::Overview,
            Noun::Sources,
            Noun::Destinations,
            Noun::Journal,
            Noun::Health,
        ]));
    }

    /// Pauses one plan, or lets it go on.
    pub(super) fn pause_plan(&self, PausePlan { id, paused }: PausePlan) -> Result<()> {
        let coffre = self.coffre()?;
        coffre.pause_plan(&plan_by_id(&coffre, &id)?, paused)?;
        self.plans_changed();
        Ok(())
    }

    /// Pauses every schedule, or lets them go on.
    pub(super) fn pause_schedules(&self, PauseSchedules { paused }: PauseSchedules) -> Result<()> {
        self.pause_all(paused)
    }

    /// The same, for the tray.
    ///
    /// # Errors
    /// The catalogue's own.
    pub fn pause_all(&self, paused: bool) -> Result<()> {
        self.coffre()?.pause_schedules(paused)?;
        self.plans_changed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_and_its_time_come_back_from_the_schedule() {
        let when = When {
            hour: 2,
            minute: 30,
            weekday: 5,
            month_day: 15,
        };
        for (every, cron) in [
            (BackupType::Hourly, "30 * * * *"),
            (BackupType::Daily, "30 2 * * *"),
            (BackupType::Weekly, "30 2 * * 5"),
            (BackupType::Monthly, "30 2 15 * *"),
        ] {
            assert_eq!(when.cron(every), cron);
            assert_eq!(When::of(every, cron).unwrap().cron(every), cron);
        }
        for (every, cron) in [
            (BackupType::Daily, "0 3 * * 1-5"),
            (BackupType::Weekly, "0 3 * * 0,6"),
            (BackupType::Monthly, "0 3 31 * *"),
            (BackupType::Hourly, "*/15 * * * *"),
            (BackupType::Daily, "*/15 3 * * *"),
            (BackupType::Daily, "0 3 1 1 1"),
        ] {
            assert_eq!(When::of(every, cron), None, "{cron}");
        }
    }
}
