//! Where a plan's retention stands still: what would leave, and the word of a person that it is right.

use chrono::{DateTime, Utc};
use coffre_model::backup::{Backup, BackupState};
use coffre_model::retention::Reason;
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::backups::backup_by_id;
use super::commands::ById;
use super::confirmations::Shown;
use super::events::Noun;
use super::plans::plan_by_id;
use super::{Window, one, tags};
use crate::Coffre;
use crate::retention::{Cleanup, CleanupReport};

/// The most backups that are listed; all of them are counted.
const LISTED: usize = 200;

/// A backup that would leave.
#[derive(Debug, Serialize, TS)]
pub struct Leaving {
    /// The backup.
    pub id: Id,
    /// Its code.
    pub code: String,
    /// When it was made.
    pub started_at: DateTime<Utc>,
    /// Where it stands.
    pub state: BackupState,
    /// What it takes, everywhere.
    pub stored_bytes: u64,
    /// When its bytes would go.
    pub leaves_at: Option<DateTime<Utc>>,
    /// Why.
    pub reason: Reason,
}

/// What a plan's retention would do now.
#[derive(Debug, Serialize, TS)]
pub struct RetentionPreview {
    /// What would leave, newest first; the first of them where they are very many.
    pub leaving: Vec<Leaving>,
    /// How many that are in all.
    pub leaving_count: usize,
    /// What they take.
    pub bytes: u64,
    /// How many of the plan's backups stay.
    pub kept: usize,
    /// How many of those are verified.
    pub kept_verified: usize,
    /// Why nothing is done by itself.
    pub stopped: Option<Error>,
    /// To hand back to `confirm_retention`; good once, for a quarter of an hour.
    pub confirmation: String,
}

/// The arguments of `confirm_retention`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmRetention {
    plan_id: Id,
    confirmation: String,
}

/// What was done then.
#[derive(Debug, Serialize, TS)]
pub struct RetentionDone {
    /// How many are in the bin.
    pub leaving: usize,
    /// How many are gone.
    pub removed: usize,
    /// Why some that are due are still there; they are tried again.
    pub waiting: Vec<Error>,
}

/// What would leave, in the order of the ids.
fn ids(report: &CleanupReport) -> Vec<Id> {
    let mut ids: Vec<Id> = report.leaving.iter().map(|told| told.backup.id).collect();
    ids.sort();
    ids
}

impl Window {
    fn look_at_retention(&self, coffre: &Coffre, plan: &Id) -> Result<CleanupReport> {
        let plan = plan_by_id(coffre, plan)?;
        let asked = Cleanup {
            dry_run: true,
            ..Cleanup::default()
        };
        coffre.cleanup(Some(&plan), asked, &self.words(), &Cancel::new())
    }

    /// What retention would do with a plan, if a person says that it is right. Changes nothing.
    pub(super) fn preview_retention(&self, ById { id }: ById) -> Result<RetentionPreview> {
        let coffre = self.coffre()?;
        let report = self.look_at_retention(&coffre, &id)?;
        let shown = Shown::Retention {
            plan: id,
            ids: ids(&report),
        };
        let (confirmation, _) = self.lock_confirmations().remember(shown, super::now());
        let leaving = report.leaving.iter().take(LISTED).filter_map(|told| {
            Some(Leaving {
                id: told.backup.id,
                code: told.backup.code.to_string(),
                started_at: told.backup.started_at,
                state: told.backup.state,
                stored_bytes: told.backup.copies.iter().map(|copy| copy.stored_bytes).sum(),
                leaves_at: told.backup.leaves_at,
                reason: told.reasons.first().cloned()?,
            })
        });
        Ok(RetentionPreview {
            leaving: leaving.collect(),
            leaving_count: report.leaving.len(),
            bytes: report.bytes,
            kept: report.kept.len(),
            kept_verified: report
                .kept
                .iter()
                .filter(|told| told.backup.state == BackupState::Verified)
                .count(),
            stopped: report.stopped,
            confirmation,
        })
    }

    /// Carries out what was shown, because a person says that it is right; refused where something else would leave by now.
    pub(super) fn confirm_retention(
        &self,
        ConfirmRetention { plan_id, confirmation }: ConfirmRetention,
    ) -> Result<RetentionDone> {
        let coffre = self.coffre()?;
        let now = ids(&self.look_at_retention(&coffre, &plan_id)?);
        self.lock_confirmations()
            .take(&confirmation, super::now(), |shown| match shown {
                Shown::Retention { plan, ids } if *plan == plan_id && *ids == now => Ok(()),
                _ => Err(Error::new(Code::Refused, "confirmation_other")),
            })?;
        let asked = Cleanup {
            confirmed: true,
            ..Cleanup::default()
        };
        let done = coffre.cleanup(Some(&plan_by_id(&coffre, &plan_id)?), asked, &self.words(), &Cancel::new());
        self.retention_changed();
        let done = done?;
        match done.stopped {
            Some(error) => Err(error),
            None => Ok(RetentionDone {
                leaving: done.leaving.len(),
                removed: done.removed.len(),
                waiting: done.waiting,
            }),
        }
    }

    /// A person has looked at what is unusual about a backup, and says that it is right.
    pub(super) fn acknowledge_backup(&self, ById { id }: ById) -> Result<Backup> {
        let coffre = self.coffre()?;
        let backup = coffre.acknowledge(&backup_by_id(&coffre, &id)?)?;
        self.changed([one(Noun::Backups, id)]);
        self.retention_changed();
        Ok(backup)
    }

    fn retention_changed(&self) {
        self.changed(tags(&[
            Noun::Plans,
            Noun::Backups,
            Noun::Overview,
            Noun::Sources,
            Noun::Destinations,
            Noun::Journal,
            Noun::Health,
        ]));
    }
}
