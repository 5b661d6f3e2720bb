//! Backups: the list, running one, verifying, pin and note, download, the recovery sheet.

use chrono::{DateTime, Utc};
use coffre_engine::catalogue::{Filter, Search, Sort, Stats};
use coffre_model::backup::{Backup, BackupState, BackupType, Trigger};
use coffre_model::compression::Compression;
use coffre_model::naming::source_slug;
use coffre_model::plan::Plan;
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::ById;
use super::dialogs::{FileWritten, text_of};
use super::events::Noun;
use super::notices::RunEnd;
use super::plans::plan_by_id;
use super::running::{About, RunningNoun};
use super::sources::{adapter_of, source_by_id};
use super::{Window, one, tags};
use crate::Coffre;
use crate::backups::{By, Manual};
use crate::schedules::Telling;

/// The most rows on a page.
pub(super) const PER_PAGE_MAX: u64 = 500;
/// The longest text that is searched for.
pub(super) const SEARCH_MAX: usize = 1000;

/// By what the list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub(super) enum BackupSort {
    /// When the run began.
    StartedAt,
    /// The source's name.
    Source,
    /// The plan's name.
    Plan,
    /// The state.
    State,
    /// The type.
    Type,
    /// The size of the artifact.
    StoredBytes,
    /// How long the run took.
    DurationMs,
}

/// What is asked of the list.
#[derive(Debug, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupQuery {
    #[serde(default)]
    #[ts(optional = nullable)]
    source_id: Option<Id>,
    #[serde(default)]
    #[ts(optional = nullable)]
    plan_id: Option<Id>,
    #[serde(default)]
    #[ts(optional = nullable)]
    state: Option<BackupState>,
    #[serde(default, rename = "type")]
    #[ts(optional = nullable)]
    backup_type: Option<BackupType>,
    /// Searched in code, names, note and error, without regard to case.
    #[serde(default)]
    #[ts(optional = nullable)]
    text: Option<String>,
    sort: BackupSort,
    descending: bool,
    /// From 1.
    page: u64,
    per_page: u64,
}

/// The arguments of `list_backups`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ListBackups {
    query: BackupQuery,
}

/// Sums over all pages.
#[derive(Debug, Serialize, TS)]
pub struct BackupStats {
    /// Bytes of all copies that lie somewhere.
    pub stored_bytes: u64,
    /// Verified backups.
    pub verified: u64,
    /// Failed ones.
    pub failed: u64,
    /// When a copy of the newest verified backup was last read back.
    pub last_verified_at: Option<DateTime<Utc>>,
}

impl From<Stats> for BackupStats {
    fn from(stats: Stats) -> BackupStats {
        BackupStats {
            stored_bytes: stats.stored_bytes,
            verified: stats.verified,
            failed: stats.failed,
            last_verified_at: stats.last_verified_at,
        }
    }
}

/// A page of the list.
#[derive(Debug, Serialize, TS)]
pub struct BackupPage {
    /// The backups.
    pub backups: Vec<Backup>,
    /// How many there are on all pages.
    pub total: u64,
    /// The page, from 1.
    pub page: u64,
    /// How many on a page.
    pub per_page: u64,
    /// Sums over all pages.
    pub stats: BackupStats,
}

/// The arguments of `run_backup`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct RunBackup {
    /// By this plan; or
    plan_id: Option<Id>,
    /// of this source, without a plan, to the default destination.
    source_id: Option<Id>,
}

impl RunBackup {
    pub(super) fn of_plan(plan: Id) -> RunBackup {
        RunBackup {
            plan_id: Some(plan),
            source_id: None,
        }
    }
}

/// A backup that has begun.
#[derive(Debug, Serialize, TS)]
pub struct RunBegun {
    /// Its id.
    pub id: Id,
}

/// The arguments of `pin_backup`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct PinBackup {
    id: Id,
    pinned: bool,
}

/// The arguments of `note_backup`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct NoteBackup {
    id: Id,
    note: String,
}

/// The arguments of `download_backup`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct DownloadBackup {
    id: Id,
    /// The plain dump: decrypted and decompressed.
    raw: bool,
}

/// The arguments of `save_recovery_sheet`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveRecoverySheet {
    /// Of this backup; or of the latest verified one of every source.
    backup_id: Option<Id>,
    /// Whether the private keys are printed on it.
    #[serde(default)]
    #[ts(optional, as = "Option<bool>")]
    include_keys: bool,
}

/// Checks the numbers of a page.
pub(super) fn check_page(page: u64, per_page: u64) -> Result<()> {
    if page == 0 || per_page == 0 || per_page > PER_PAGE_MAX {
        return Err(Error::new(Code::Usage, "page_range").with("max", PER_PAGE_MAX));
    }
    Ok(())
}

/// A text to search for: nothing where there is none, refused where it is absurdly long.
pub(super) fn search_text(text: Option<String>) -> Result<Option<String>> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match &text {
        Some(long) if long.len() > SEARCH_MAX => Err(Error::new(Code::Usage, "field_long").with("max", SEARCH_MAX)),
        _ => Ok(text),
    }
}

/// The backup with this id: not a code, not `latest`.
pub(super) fn backup_by_id(coffre: &Coffre, id: &Id) -> Result<Backup> {
    coffre.engine.catalogue.backup(&id.to_string())
}

impl Window {
    pub(super) fn list_backups(&self, ListBackups { query }: ListBackups) -> Result<BackupPage> {
        let coffre = self.coffre()?;
        check_page(query.page, query.per_page)?;
        let text = search_text(query.text)?;
        let errors = match &text {
            Some(text) => self.words().entries_saying("errors", text),
            None => Vec::new(),
        };
        let (page, stats) = coffre.engine.catalogue.search(&Search {
            filter: Filter {
                source: query.source_id,
                plan: query.plan_id,
                state: query.state,
                backup_type: query.backup_type,
                text,
                errors,
            },
            sort: match query.sort {
                BackupSort::StartedAt => Sort::StartedAt,
                BackupSort::Source => Sort::Source,
                BackupSort::Plan => Sort::Plan,
                BackupSort::State => Sort::State,
                BackupSort::Type => Sort::Type,
                BackupSort::StoredBytes => Sort::StoredBytes,
                BackupSort::DurationMs => Sort::Duration,
            },
            descending: query.descending,
            page: query.page,
            per_page: query.per_page,
        })?;
        Ok(BackupPage {
            backups: page.backups,
            total: page.total,
            page: query.page,
            per_page: query.per_page,
            stats: stats.into(),
        })
    }

    /// Starts a backup; it goes on after the answer.
    pub(super) fn run_backup(&self, RunBackup { plan_id, source_id }: RunBackup) -> Result<RunBegun> {
        let coffre = self.coffre()?;
        let id = match (plan_id, source_id) {
            (Some(plan), None) => self.start_plan(&coffre, plan_by_id(&coffre, &plan)?)?,
            (None, Some(source)) => self.start_by_hand(&coffre, source_by_id(&coffre, &source)?)?,
            _ => return Err(Error::new(Code::Usage, "backup_of_what")),
        };
        Ok(RunBegun { id })
    }

    /// Starts a backup by a plan, now.
    pub(super) fn start_plan(&self, coffre: &Coffre, plan: Plan) -> Result<Id> {
        let source = source_by_id(coffre, &plan.source_id)?;
        let about = self.about_plan(coffre, &plan, &source);
        self.start_backup(source, about, By::Plan(Box::new(plan)))
    }

    fn start_by_hand(&self, coffre: &Coffre, source: Source) -> Result<Id> {
        let about = About {
            noun: RunningNoun::Backup,
            source: source.name.clone(),
            source_id: Some(source.id),
            adapter: adapter_of(coffre, &source),
            plan: None,
            id: None,
        };
        let manual = Manual {
            source: source.clone(),
            destinations: Vec::new(),
            compression: Compression::default(),
            key: None,
        };
        self.start_backup(source, about, By::Manual(Box::new(manual)))
    }

    fn start_backup(&self, source: Source, about: About, by: By) -> Result<Id> {
        let window = self.clone();
        self.start(about, move |coffre, observer, cancel| {
            let before = coffre.engine.catalogue.last_run(&source.id)?;
            let outcome = coffre.back_up(by, Trigger::Manual, "", false, observer, cancel);
            if let Ok(backup) = &outcome {
                window.keep_answers_of(backup);
            }
            window.tell_end(RunEnd {
                source: &source,
                before: before.as_ref(),
                outcome: &outcome,
            });
            outcome.map(drop)
        })
    }

    /// Makes the backup that a plan's schedule asks for, in sight like all other work, and waits for its end.
    pub(super) fn back_up_slot(
        &self,
        plan: &Plan,
        trigger: Trigger,
        begun: &(dyn Fn(Id) + Sync),
        cancelled: &Cancel,
    ) -> Result<Backup> {
        let coffre = self.coffre()?;
        let source = source_by_id(&coffre, &plan.source_id)?;
        let about = self.about_plan(&coffre, plan, &source);
        let by = By::Plan(Box::new(plan.clone()));
        self.attend_with(about, cancelled, |coffre, observer, cancel| {
            let before = coffre.engine.catalogue.last_run(&source.id)?;
            let telling = Telling::new(observer, begun);
            let outcome = coffre.back_up(by, trigger, "", false, &telling, cancel);
            if let Ok(backup) = &outcome {
                self.keep_answers_of(backup);
            }
            // Work on the same source that goes on is waited for: nothing to tell.
            if !matches!(&outcome, Err(error) if error.code() == Code::Busy) {
                self.tell_end(RunEnd {
                    source: &source,
                    before: before.as_ref(),
                    outcome: &outcome,
                });
            }
            outcome
        })
    }

    fn about_plan(&self, coffre: &Coffre, plan: &Plan, source: &Source) -> About {
        About {
            noun: RunningNoun::Backup,
            source: source.name.clone(),
            source_id: Some(source.id),
            adapter: adapter_of(coffre, source),
            plan: Some(plan.name.clone()),
            id: None,
        }
    }

    /// Starts to read a backup's copies again; it goes on after the answer.
    pub(super) fn verify_backup(&self, ById { id }: ById) -> Result<()> {
        let coffre = self.coffre()?;
        let backup = backup_by_id(&coffre, &id)?;
        let source = coffre.engine.catalogue.known_source(&backup.source_id.to_string())?;
        let about = About {
            noun: RunningNoun::Verify,
            source: backup.source.clone(),
            source_id: Some(backup.source_id),
            adapter: adapter_of(&coffre, &source),
            plan: backup.plan.clone(),
            id: Some(id),
        };
        let window = self.clone();
        self.start(about, move |coffre, observer, cancel| {
            let outcome = coffre.verify(&backup, None, observer, cancel);
            if let Ok((backup, _)) = &outcome {
                window.keep_answers_of(backup);
            }
            window.tell_verified(&backup, &outcome);
            outcome.map(drop)
        })
        .map(drop)
    }

    pub(super) fn pin_backup(&self, PinBackup { id, pinned }: PinBackup) -> Result<Backup> {
        let coffre = self.coffre()?;
        let backup = coffre.pin(&backup_by_id(&coffre, &id)?, pinned)?;
        // It may have been in the bin.
        self.changed([
            Noun::Backups.into(),
            one(Noun::Backups, id),
            Noun::Plans.into(),
            Noun::Journal.into(),
        ]);
        Ok(backup)
    }

    pub(super) fn note_backup(&self, NoteBackup { id, note }: NoteBackup) -> Result<Backup> {
        let coffre = self.coffre()?;
        let backup = coffre.note(&backup_by_id(&coffre, &id)?, &note)?;
        self.changed([Noun::Backups.into(), one(Noun::Backups, id), Noun::Journal.into()]);
        Ok(backup)
    }

    /// Asks where to, then copies the backup there, checked to its end. Nothing where the person thought better of it.
    pub(super) fn download_backup(&self, DownloadBackup { id, raw }: DownloadBackup) -> Result<Option<FileWritten>> {
        let coffre = self.coffre()?;
        let backup = backup_by_id(&coffre, &id)?;
        let Some(manifest) = coffre.manifest(&backup)? else {
            return Err(Error::new(Code::Refused, "nothing_to_restore")
                .with("backup", backup.code.as_str())
                .with("state", backup.state.as_str()));
        };
        let name = match raw {
            true => coffre_engine::download::plain_name(&manifest.artifact, manifest.format.extension()),
            false => manifest.artifact.clone(),
        };
        let Some(to) = self.ask_where(&name)? else { return Ok(None) };
        let about = About {
            noun: RunningNoun::Download,
            source: backup.source.clone(),
            source_id: Some(backup.source_id),
            adapter: manifest.database,
            plan: backup.plan.clone(),
            id: Some(id),
        };
        let path = self.attend(about, |coffre, observer, cancel| {
            coffre.download(&backup, &to, raw, observer, cancel)
        })?;
        self.changed([one(Noun::Backups, id), Noun::Journal.into()]);
        Ok(Some(FileWritten { path: text_of(path)? }))
    }

    /// Asks where to, then writes the recovery sheet there. Nothing where the person thought better of it.
    pub(super) fn save_recovery_sheet(
        &self,
        SaveRecoverySheet { backup_id, include_keys }: SaveRecoverySheet,
    ) -> Result<Option<FileWritten>> {
        let coffre = self.coffre()?;
        let backup = backup_id.map(|id| backup_by_id(&coffre, &id)).transpose()?;
        let name = match &backup {
            Some(backup) => format!("{}_{}.html", source_slug(&backup.source, &backup.source_id), backup.code),
            None => "coffre-recovery-sheet.html".to_owned(),
        };
        let Some(to) = self.ask_where(&name)? else { return Ok(None) };
        let written = coffre.recovery_sheet(&to, backup.as_ref(), None, include_keys, &self.words())?;
        self.changed(tags(&[Noun::Journal]));
        Ok(Some(FileWritten { path: written.path }))
    }
}
