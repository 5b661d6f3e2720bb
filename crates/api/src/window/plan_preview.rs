//! What a plan's form would mean: when it would run, and what would leave when, while it is filled.

use std::time::{Duration, Instant};

use chrono::{DateTime, Local, TimeDelta, Utc};
use coffre_model::backup::Kind;
use coffre_model::compression::Compression;
use coffre_model::plan::{Plan, PlanSchedule};
use coffre_model::retention::Reason;
use coffre_model::schedule::{ClockChange, Schedule};
use coffre_model::{Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Window;
use super::drafts::DraftErrors;
use super::places::Mounts;
use super::plans::{PlanDraft, draft_cron, read_draft};
use crate::Coffre;
use crate::retention::{SIMULATED_DAYS, ToldDeparture};
use crate::schedules::local_zone;

/// How long the coming days are played through for one look; then what was reached is shown. It follows the keys of a person.
const PATIENCE: Duration = Duration::from_millis(400);
/// The most departures that are told: a calendar of ninety days does not show more.
const DEPARTURES_MAX: usize = 4_000;
/// The most unusual backups that are told.
const UNUSUAL_MAX: usize = 10;

/// A slot to come.
#[derive(Debug, Serialize, TS)]
pub struct NextSlot {
    /// When.
    pub at: DateTime<Utc>,
    /// What is odd about it.
    pub remark: Option<ClockChange>,
}

/// A backup that would leave.
#[derive(Debug, Serialize, TS)]
pub struct Departure {
    /// The local day on which its bytes would go, `YYYY-MM-DD`.
    pub day: String,
    /// The backup; nothing for one that does not exist yet.
    pub id: Option<Id>,
    /// Its code, likewise.
    pub code: Option<String>,
    /// When it was made, or would be.
    pub started_at: DateTime<Utc>,
    /// When it would go into the bin; nothing where it is there already.
    pub chosen_at: Option<DateTime<Utc>>,
    /// When its bytes would go.
    pub leaves_at: DateTime<Utc>,
    /// What it takes.
    pub stored_bytes: u64,
    /// Why.
    pub reason: Reason,
    /// What keeps it until then, where something does.
    pub kept_by: Option<Reason>,
    /// Whether a newer one stands for the same stretch of time then.
    pub replaced: bool,
    /// So many would leave at once that Coffre stops and asks first.
    pub asks: bool,
}

/// A backup with a flag that nobody has looked at.
#[derive(Debug, Serialize, TS)]
pub struct Unusual {
    /// The backup.
    pub id: Id,
    /// Its code.
    pub code: String,
    /// When it was made.
    pub started_at: DateTime<Utc>,
    /// What is unusual: `flag.<word>`.
    pub flags: Vec<String>,
}

/// What a plan would mean.
#[derive(Debug, Serialize, TS)]
pub struct PlanPreview {
    /// What is wrong with the form.
    pub errors: DraftErrors,
    /// Its next slots, five at most; empty where it is not started by itself.
    pub next: Vec<NextSlot>,
    /// Its schedule in words.
    pub explanation: Option<String>,
    /// The five fields that the form means.
    pub cron: Option<String>,
    /// Backups of this plan that lie somewhere now.
    pub kept_now: u64,
    /// How many would lie there at the end of the days that were played through.
    pub kept_then: u64,
    /// What would leave within the next ninety days, if every run succeeds; first what is in the bin already.
    pub departures: Vec<Departure>,
    /// Nothing where all ninety days were played through; else how far it went.
    pub departures_until: Option<DateTime<Utc>>,
    /// Days in the bin before the bytes go.
    pub bin_days: i64,
    /// Why nothing leaves by the rules of this plan, where they stand still.
    pub retention_stopped: Option<Error>,
    /// Its backups with a flag that nobody has looked at: they count for no rule.
    pub unusual: Vec<Unusual>,
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

/// What was played through.
#[derive(Default)]
struct Played {
    departures: Vec<Departure>,
    /// How many runs there would be.
    runs: u64,
    until: Option<DateTime<Utc>>,
}

/// The plan that a form describes, as far as retention asks: also where something else in it is not right yet.
fn described(coffre: &Coffre, id: Option<Id>, draft: &PlanDraft, schedule: Option<&Schedule>) -> Option<Plan> {
    let source_id = draft.source_id.parse().ok()?;
    let retention = &draft.retention;
    Some(Plan {
        id: id.unwrap_or_else(Id::new),
        name: draft.name.clone(),
        source_id,
        source: String::new(),
        destination_ids: draft.destination_ids.clone(),
        destinations: Vec::new(),
        kind: Kind::Full,
        every: draft.every,
        compression: Compression::default(),
        encryption: None,
        key_id: None,
        retention: retention.clone(),
        schedule: schedule.map(|schedule| PlanSchedule {
            cron: schedule.expression().to_owned(),
            time_zone: schedule.zone_name().to_owned(),
            wait_for_network: draft.wait_for_network,
            wait_for_power: draft.wait_for_power,
        }),
        paused_at: None,
        created_at: (coffre.engine.now)(),
    })
}

fn told(departure: ToldDeparture) -> Option<Departure> {
    Some(Departure {
        day: departure.leaves_at.with_timezone(&Local).date_naive().to_string(),
        id: departure.id,
        code: departure.code,
        started_at: departure.made_at,
        chosen_at: departure.chosen_at,
        leaves_at: departure.leaves_at,
        stored_bytes: departure.bytes,
        reason: departure.reasons.into_iter().next()?,
        kept_by: departure.kept_by,
        replaced: departure.replaced,
        asks: departure.asks,
    })
}

impl Window {
    /// Plays the coming days through, for as long as a person waits.
    fn play(&self, coffre: &Coffre, plan: &Plan, schedule: Option<&Schedule>) -> Result<Played> {
        let end = super::now() + TimeDelta::days(SIMULATED_DAYS.into());
        let began = Instant::now();
        let mut played = Played::default();
        let next = |after: DateTime<Utc>| {
            let next = schedule?.next_after(after).filter(|next| *next <= end)?;
            if began.elapsed() > PATIENCE {
                played.until = Some(after);
                return None;
            }
            played.runs += 1;
            Some(next)
        };
        let departures = coffre.simulate_due(plan, &self.words(), next)?;
        if departures.len() > DEPARTURES_MAX {
            played.until = departures.get(DEPARTURES_MAX).map(|departure| departure.leaves_at);
        }
        played.departures = departures.into_iter().take(DEPARTURES_MAX).filter_map(told).collect();
        Ok(played)
    }

    /// What the form would mean, and what is wrong with it.
    pub(super) fn preview_plan(&self, PreviewPlan { id, draft }: PreviewPlan) -> Result<PlanPreview> {
        let coffre = self.coffre()?;
        let catalogue = &coffre.engine.catalogue;
        let (errors, _) = read_draft(&coffre, id.as_ref(), &draft)?;
        let zone = draft.time_zone.clone().unwrap_or_else(local_zone);
        let cron = draft_cron(&draft, &mut DraftErrors::default());
        let schedule = cron.as_deref().and_then(|cron| Schedule::new(cron, &zone).ok());
        let upcoming = schedule.iter().flat_map(|schedule| schedule.upcoming(super::now(), 5));
        let destinations = coffre.destinations()?;
        let chosen = destinations
            .iter()
            .filter(|destination| draft.destination_ids.contains(&destination.id));
        let sites = Mounts::now().sites(chosen.clone());
        let sources = coffre.sources()?;
        let source = draft.source_id.parse::<Id>().ok();
        let source = sources.iter().find(|known| Some(known.id) == source);
        let last = source.map(|source| catalogue.latest_proof(source)).transpose()?.flatten();
        let kept = id.map(|id| catalogue.kept_of_plan(&id)).transpose()?.unwrap_or_default();
        let played = match described(&coffre, id, &draft, schedule.as_ref()) {
            Some(plan) if source.is_some() => self.play(&coffre, &plan, schedule.as_ref())?,
            _ => Played::default(),
        };
        let gone = played.departures.len() as u64;
        Ok(PlanPreview {
            errors,
            next: upcoming
                .map(|slot| NextSlot {
                    at: slot.at,
                    remark: slot.remark,
                })
                .collect(),
            explanation: schedule
                .as_ref()
                .map(|schedule| self.words().schedule(&schedule.explanation(), schedule.zone_name())),
            cron,
            kept_now: kept,
            kept_then: (kept + played.runs).saturating_sub(gone),
            departures: played.departures,
            departures_until: played.until,
            bin_days: coffre.engine.bin()?.num_days(),
            retention_stopped: match id {
                Some(id) => catalogue.retention_hold(&id)?.map(|(_, reason)| reason),
                None => None,
            },
            unusual: id.map(|id| unusual(&coffre, &id, &draft)).transpose()?.unwrap_or_default(),
            copies: chosen.count(),
            places: sites.len(),
            offsite: sites.iter().filter(|site| site.offsite).count(),
            raw_bytes: last.as_ref().and_then(|backup| backup.raw_bytes),
            stored_bytes: last.as_ref().and_then(|backup| backup.stored_bytes),
        })
    }
}

/// A plan's backups with a flag that nobody has looked at, newest first.
fn unusual(coffre: &Coffre, plan: &Id, draft: &PlanDraft) -> Result<Vec<Unusual>> {
    let Ok(source) = draft.source_id.parse::<Id>() else {
        return Ok(Vec::new());
    };
    let found = coffre.engine.catalogue.candidates(&source)?;
    let found = found
        .iter()
        .rev()
        .filter(|backup| backup.plan == Some(*plan) && backup.unusual);
    found
        .take(UNUSUAL_MAX)
        .map(|candidate| {
            let backup = coffre.engine.catalogue.backup(&candidate.id.to_string())?;
            Ok(Unusual {
                id: backup.id,
                code: backup.code.to_string(),
                started_at: backup.started_at,
                flags: backup.flags,
            })
        })
        .collect()
}
