//! Plans: rows with their sums, the form checked while it is filled.

use chrono::{DateTime, Utc};
use coffre_engine::catalogue::PlanFigures;
use coffre_model::backup::{Backup, BackupState, BackupType, Kind};
use coffre_model::compression::Compression;
use coffre_model::plan::{Plan, Retention};
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
    /// `HH:MM` in `time_zone`; with the feature `schedule`.
    pub at: Option<String>,
    /// Five Unix fields, in place of `every` and `at`; with the feature `schedule`.
    pub cron: Option<String>,
    /// The time zone of `at`; with the feature `schedule`.
    pub time_zone: Option<String>,
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
    /// Why the last one failed, if it did.
    pub last_error: Option<Error>,
}

/// A slot to come.
#[derive(Debug, Serialize, TS)]
pub struct Slot {
    /// When.
    pub at: DateTime<Utc>,
    /// What is odd about it.
    #[ts(type = "'clock_back' | 'clock_forward' | null")]
    pub remark: Option<&'static str>,
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
    /// Its next slots, five at most; empty without the feature `schedule` or without an interval.
    pub next: Vec<Slot>,
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
#[allow(
    dead_code,
    reason = "read by the feature `schedule`, which is not there yet; the form is the contract"
)]
pub(super) struct PausePlan {
    id: Id,
    paused: bool,
}

/// The arguments of `pause_schedules`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "read by the feature `schedule`, which is not there yet; the form is the contract"
)]
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
    for (field, given) in [("at", &draft.at), ("cron", &draft.cron), ("time_zone", &draft.time_zone)] {
        if given.is_some() {
            errors.add(field, not_yet(field));
        }
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
    if !errors.0.is_empty() {
        return Ok((errors, None));
    }
    let change = PlanChange {
        name: Some(draft.name.clone()),
        destinations: Some(destinations),
        every: draft.every,
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

fn draft_of(plan: &Plan) -> PlanDraft {
    PlanDraft {
        name: plan.name.clone(),
        source_id: plan.source_id.to_string(),
        destination_ids: plan.destination_ids.clone(),
        kind: plan.kind,
        every: plan.every,
        at: None,
        cron: None,
        time_zone: None,
        compression: plan.compression.to_string(),
        key_id: plan.key_id,
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
                paused: false,
                next_run_at: None,
                last_error: failed.and_then(|failed| failed.error.clone()),
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
            next: Vec::new(),
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
        // A form shows every rule and the interval: what is empty in it is meant to be empty.
        let blank = Plan {
            retention: Retention::default(),
            every: None,
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
        self.changed(tags(&[
            Noun::Plans,
            Noun::Overview,
            Noun::Sources,
            Noun::Destinations,
            Noun::Journal,
            Noun::Health,
        ]));
    }

    /// # Errors
    /// `REFUSED`: nothing runs by itself yet, so nothing can be paused.
    pub(super) fn pause_plan(&self, PausePlan { id, .. }: PausePlan) -> Result<()> {
        plan_by_id(&*self.coffre()?, &id)?;
        Err(not_yet("pause_plan"))
    }

    /// # Errors
    /// `REFUSED`, likewise.
    pub(super) fn pause_schedules(&self, _: PauseSchedules) -> Result<()> {
        Err(not_yet("pause_schedules"))
    }
}
