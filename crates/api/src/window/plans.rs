//! Plans: rows with their sums, the form checked while it is filled.

use chrono::{DateTime, Utc};
use coffre_engine::catalogue::PlanFigures;
use coffre_engine::scheduler::next_of;
use coffre_model::backup::{Backup, BackupState, BackupType, Kind};
use coffre_model::compression::Compression;
use coffre_model::hook::Hooks;
use coffre_model::plan::{Plan, Retention};
use coffre_model::schedule::{ClockChange, Schedule, preset};
use coffre_model::source::check_name;
use coffre_model::{Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::destinations::destination_by_id;
use super::drafts::DraftErrors;
use super::events::Noun;
use super::places::Mounts;
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
    /// `HH:MM` in `time_zone`, with `every`; nothing means the usual time.
    pub at: Option<String>,
    /// Five Unix fields, in place of `every` and `at`.
    pub cron: Option<String>,
    /// The time zone of both; nothing means that of this machine.
    pub time_zone: Option<String>,
    /// `zstd[:L]`, `gzip[:L]` or `none`.
    pub compression: String,
    /// The key that encrypts.
    pub key_id: Option<Id>,
    /// What is kept.
    pub retention: Retention,
    /// Commands before and after each run; where nothing is said they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional = nullable)]
    pub hooks: Option<Hooks>,
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
    /// Why the last one failed, if it did.
    pub last_error: Option<Error>,
}

/// A slot to come.
#[derive(Debug, Serialize, TS)]
pub struct Slot {
    /// When.
    pub at: DateTime<Utc>,
    /// What is odd about it.
    pub remark: Option<ClockChange>,
}

/// A backup that would leave.
#[derive(Debug, Serialize, TS)]
pub struct Departure {
    /// Local day, `YYYY-MM-DD`.
    pub day: String,
    /// The backup.
    pub code: String,
    /// When it was made.
    pub started_at: DateTime<Utc>,
    /// What it takes.
    pub stored_bytes: u64,
    /// Why: `ui.plans.departure.<reason>`.
    #[ts(type = "'older' | 'beyond_last' | 'daily' | 'weekly' | 'monthly'")]
    pub reason: &'static str,
}

/// What a plan would mean.
#[derive(Debug, Serialize, TS)]
pub struct PlanPreview {
    /// What is wrong with the form.
    pub errors: DraftErrors,
    /// Its next slots, five at most; empty where it is not started by itself.
    pub next: Vec<Slot>,
    /// Its schedule in words.
    pub explanation: Option<String>,
    /// Backups of this plan that lie somewhere now.
    pub kept_now: u64,
    /// How many would lie there in the long run; without the feature `retention`, all of them.
    pub kept_then: u64,
    /// What would leave; empty without the feature `retention`.
    pub departures: Vec<Departure>,
    /// Copies of each backup.
    pub copies: usize,
    /// In how many places.
    pub places: usize,
    /// How many of those away from this machine.
    pub offsite: usize,
    /// Size of the source's last plain dump.
    pub raw_bytes: Option<u64>,
    /// Size of its last artifact.
    pub stored_bytes: Option<u64>,
}

/// The arguments of `preview_plan`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewPlan {
    id: Option<Id>,
    draft: PlanDraft,
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
fn read_draft(coffre: &Coffre, id: Option<&Id>, draft: &PlanDraft) -> Result<(DraftErrors, Option<PlanChange>)> {
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
    if let Some(hooks) = &draft.hooks
        && let Err(error) = hooks.check()
    {
        errors.add("hooks", error);
    }
    if !errors.0.is_empty() {
        return Ok((errors, None));
    }
    let change = PlanChange {
        name: Some(draft.name.clone()),
        destinations: Some(destinations),
        every: draft.every,
        cron,
        time_zone,
        wait_for_network: None,
        wait_for_power: None,
        kind: Some(draft.kind),
        compression: Some(compression),
        key: Some(key),
        hooks: draft.hooks.clone().map(Into::into).unwrap_or_default(),
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
fn draft_cron(draft: &PlanDraft, errors: &mut DraftErrors) -> Option<String> {
    if let Some(cron) = &draft.cron {
        return Some(cron.clone());
    }
    let every = draft.every?;
    let usual = preset(every)?.to_owned();
    let Some(at) = draft.at.as_deref() else { return Some(usual) };
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let time = at.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
    match time {
        Some((hour, minute)) if hour < 24 && minute < 60 => Some(at_time(every, hour, minute)),
        _ => {
            let given: String = at.chars().take(20).collect();
            errors.add("at", Error::new(Code::Usage, "plan_at").with("given", given));
            None
        }
    }
}

/// The five fields of an interval at a time of day.
fn at_time(every: BackupType, hour: u32, minute: u32) -> String {
    match every {
        // On the hour: the form has no minute for it.
        BackupType::Hourly => "0 * * * *".to_owned(),
        BackupType::Weekly => format!("{minute} {hour} * * 1"),
        BackupType::Monthly => format!("{minute} {hour} 1 * *"),
        BackupType::Daily | BackupType::Manual => format!("{minute} {hour} * * *"),
    }
}

/// The time of day of a schedule that an interval and a time say as well.
fn time_of_day(every: BackupType, cron: &str) -> Option<String> {
    let mut fields = cron.split(' ');
    let minute: u32 = fields.next()?.parse().ok()?;
    let hour: u32 = match (every, fields.next()?) {
        // Whoever makes a daily plan of it begins with the usual time.
        (BackupType::Hourly, _) => 3,
        (_, hour) => hour.parse().ok()?,
    };
    (at_time(every, hour, minute) == cron).then(|| format!("{hour:02}:{minute:02}"))
}

fn draft_of(plan: &Plan) -> PlanDraft {
    let schedule = plan.schedule.as_ref();
    let at = plan
        .every
        .zip(schedule)
        .and_then(|(every, schedule)| time_of_day(every, &schedule.cron));
    PlanDraft {
        name: plan.name.clone(),
        source_id: plan.source_id.to_string(),
        destination_ids: plan.destination_ids.clone(),
        kind: plan.kind,
        every: plan.every,
        cron: schedule.filter(|_| at.is_none()).map(|schedule| schedule.cron.clone()),
        at,
        time_zone: schedule.map(|schedule| schedule.time_zone.clone()),
        compression: plan.compression.to_string(),
        key_id: plan.key_id,
        hooks: plan.hooks.clone(),
        retention: plan.retention.clone(),
    }
}

impl Window {
    pub(super) fn list_plans(&self, _: Nothing) -> Result<Vec<PlanRow>> {
        let coffre = self.coffre()?;
        let figures = coffre.engine.catalogue.plan_figures()?;
        let row = |plan: Plan| {
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
                plan,
            })
        };
        coffre.plans()?.into_iter().map(row).collect()
    }

    /// What the form would mean, and what is wrong with it.
    pub(super) fn preview_plan(&self, PreviewPlan { id, draft }: PreviewPlan) -> Result<PlanPreview> {
        let coffre = self.coffre()?;
        let (errors, _) = read_draft(&coffre, id.as_ref(), &draft)?;
        let zone = draft.time_zone.clone().unwrap_or_else(local_zone);
        let schedule = draft_cron(&draft, &mut DraftErrors::default()).and_then(|cron| Schedule::new(&cron, &zone).ok());
        let upcoming = schedule.iter().flat_map(|schedule| schedule.upcoming(super::now(), 5));
        let destinations = coffre.destinations()?;
        let chosen = destinations
            .iter()
            .filter(|destination| draft.destination_ids.contains(&destination.id));
        let sites = Mounts::now().sites(chosen.clone());
        let last = match draft.source_id.parse::<Id>() {
            Ok(source) => match coffre.sources()?.iter().find(|known| known.id == source) {
                Some(source) => coffre.engine.catalogue.latest_proof(source)?,
                None => None,
            },
            Err(()) => None,
        };
        let kept = match id {
            Some(id) => coffre.engine.catalogue.kept_of_plan(&id)?,
            None => 0,
        };
        Ok(PlanPreview {
            errors,
            next: upcoming
                .map(|slot| Slot {
                    at: slot.at,
                    remark: slot.remark,
                })
                .collect(),
            explanation: schedule
                .as_ref()
                .map(|schedule| self.words().schedule(&schedule.explanation(), schedule.zone_name())),
            kept_now: kept,
            kept_then: kept,
            departures: Vec::new(),
            copies: chosen.count(),
            places: sites.len(),
            offsite: sites.iter().filter(|site| site.offsite).count(),
            raw_bytes: last.as_ref().and_then(|backup| backup.raw_bytes),
            stored_bytes: last.as_ref().and_then(|backup| backup.stored_bytes),
        })
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
        // A form shows every rule and the interval: what is empty in it is meant to be empty. What a plan waits for is not in it.
        let change = PlanChange {
            wait_for_network: change.cron.as_ref().and(before.schedule.as_ref().map(|s| s.wait_for_network)),
            wait_for_power: change.cron.as_ref().and(before.schedule.as_ref().map(|s| s.wait_for_power)),
            ..change
        };
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
    fn an_interval_and_a_time_come_back_from_the_schedule() {
        for every in [BackupType::Daily, BackupType::Weekly, BackupType::Monthly] {
            assert_eq!(time_of_day(every, &at_time(every, 2, 30)).as_deref(), Some("02:30"));
        }
        assert_eq!(time_of_day(BackupType::Hourly, "0 * * * *").as_deref(), Some("03:00"));
        for (every, cron) in [
            (BackupType::Daily, "0 3 * * 1-5"),
            (BackupType::Weekly, "0 3 * * 0"),
            (BackupType::Hourly, "15 * * * *"),
            (BackupType::Daily, "*/15 3 * * *"),
            (BackupType::Hourly, "*/15 * * * *"),
        ] {
            assert_eq!(time_of_day(every, cron), None, "{cron}");
        }
    }
}
