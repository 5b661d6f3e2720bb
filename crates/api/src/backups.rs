//! Backups: make, list, show, verify, download, delete, pin, note.

use std::path::{Path, PathBuf};

use coffre_engine::backup::{Job, back_up};
use coffre_engine::catalogue::{Filter, Page, Stats};
use coffre_engine::context::Subject;
use coffre_engine::delete::delete;
use coffre_engine::download::download;
use coffre_engine::verify::{Check, verify};
use coffre_model::backup::{Backup, BackupState, BackupType, Trigger};
use coffre_model::compression::Compression;
use coffre_model::destination::Destination;
use coffre_model::hook::HookRun;
use coffre_model::key::Key;
use coffre_model::manifest::Manifest;
use coffre_model::plan::Plan;
use coffre_model::progress::Observer;
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Result};

use crate::Coffre;
use crate::retention::AfterBackup;

/// How a backup without a plan is made.
pub struct Manual {
    /// The source.
    pub source: Source,
    /// Where to; the default destination if empty.
    pub destinations: Vec<Destination>,
    /// Compression.
    pub compression: Compression,
    /// Encryption.
    pub key: Option<Key>,
}

/// By what a backup is made.
pub enum By {
    /// A plan, now.
    Plan(Box<Plan>),
    /// Without one.
    Manual(Box<Manual>),
}

/// A filter from names.
///
/// # Errors
/// `NOT_FOUND` for a source or plan that never was.
pub fn filter(
    coffre: &Coffre,
    source: Option<&str>,
    plan: Option<&str>,
    state: Option<BackupState>,
    backup_type: Option<BackupType>,
) -> Result<Filter> {
    let catalogue = &coffre.engine.catalogue;
    Ok(Filter {
        source: source.map(|name| catalogue.known_source(name)).transpose()?.map(|s| s.id),
        plan: plan.map(|name| catalogue.known_plan(name)).transpose()?.map(|p| p.id),
        state,
        backup_type,
        ..Filter::default()
    })
}

impl Coffre {
    /// Makes a backup now, and then lets the retention of its plan look at the older ones (what it did is in the journal).
    ///
    /// # Errors
    /// `BUSY` with the running one's id; else why it failed (and the row keeps it).
    pub fn back_up(
        &self,
        by: By,
        trigger: Trigger,
        note: &str,
        pinned: bool,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Backup> {
        self.back_up_and_retain(by, trigger, note, pinned, observer, cancel)
            .map(|(backup, _)| backup)
    }

    /// The same; answers also what retention did, where there was anything to decide.
    ///
    /// # Errors
    /// Likewise: those of the backup alone.
    pub fn back_up_and_retain(
        &self,
        by: By,
        trigger: Trigger,
        note: &str,
        pinned: bool,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(Backup, Option<AfterBackup>)> {
        let catalogue = &self.engine.catalogue;
        let note = note.to_owned();
        let job = match by {
            By::Plan(plan) => Job {
                source: catalogue.known_source(&plan.source_id.to_string())?,
                destinations: plan
                    .destination_ids
                    .iter()
                    .map(|id| catalogue.known_destination(&id.to_string()))
                    .collect::<Result<_>>()?,
                trigger,
                compression: plan.compression,
                key: plan.key_id.map(|id| catalogue.key(&id.to_string())).transpose()?,
                plan: Some(*plan),
                note,
                pinned,
            },
            By::Manual(manual) => Job {
                destinations: match manual.destinations.is_empty() {
                    true => vec![self.default_destination()?],
                    false => manual.destinations,
                },
                source: manual.source,
                plan: None,
                trigger,
                compression: manual.compression,
                key: manual.key,
                note,
                pinned,
            },
        };
        let mut seen: Vec<_> = job.destinations.iter().map(|d| d.id).collect();
        seen.sort();
        seen.dedup();
        if seen.len() != job.destinations.len() {
            return Err(Error::new(Code::Usage, "plan_destinations"));
        }
        let backup = back_up(&self.engine, &job, observer, cancel)?;
        let retained = self.retain_after(&backup, cancel);
        Ok((backup, retained))
    }

    /// One page of backups, newest first, and figures over all that the filter lets through.
    pub fn backups(&self, filter: &Filter, page: u64, per_page: u64) -> Result<(Page, Stats)> {
        Ok((
            self.engine.catalogue.list(filter, page, per_page)?,
            self.engine.catalogue.stats(filter)?,
        ))
    }

    /// One backup: an id, a code, or `latest` of a source (the latest verified one).
    ///
    /// # Errors
    /// `NOT_FOUND`; `USAGE` for `latest` without a source.
    pub fn backup(&self, reference: &str, source: Option<&str>) -> Result<Backup> {
        if reference == "latest" {
            let source = source.ok_or_else(|| Error::new(Code::Usage, "latest_of_what"))?;
            let source = self.engine.catalogue.known_source(source)?;
            return self
                .engine
                .catalogue
                .latest(&source.id, true)?
                .ok_or_else(|| Error::new(Code::NotFound, "no_verified_backup").with("source", source.name.as_str()));
        }
        let backup = self.engine.catalogue.backup(reference)?;
        if let Some(source) = source {
            let wanted = self.engine.catalogue.known_source(source)?;
            if backup.source_id != wanted.id {
                return Err(Error::new(Code::NotFound, "backup_of_other_source")
                    .with("backup", backup.code.as_str())
                    .with("source", wanted.name.as_str())
                    .with("found", backup.source.as_str()));
            }
        }
        Ok(backup)
    }

    /// A backup's manifest, where it got that far.
    pub fn manifest(&self, backup: &Backup) -> Result<Option<Manifest>> {
        self.engine.manifest(&backup.id)
    }

    /// What became of the commands before and after its run.
    pub fn hook_runs(&self, backup: &Backup) -> Result<Vec<HookRun>> {
        self.engine.catalogue.hook_runs(&backup.id)
    }

    /// Verifies a backup's copies.
    pub fn verify(
        &self,
        backup: &Backup,
        only: Option<&str>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(Backup, Vec<Check>)> {
        verify(&self.engine, backup, only, observer, cancel)
    }

    /// Every backup that has copies to verify, oldest first.
    pub fn verifiable(&self) -> Result<Vec<Backup>> {
        let mut found = Vec::new();
        for state in [BackupState::Verified, BackupState::Stored, BackupState::Failed] {
            let filter = Filter {
                state: Some(state),
                ..Filter::default()
            };
            let mut page = 1;
            loop {
                let got = self.engine.catalogue.list(&filter, page, 500)?;
                let last = got.backups.len() < 500;
                found.extend(
                    got.backups
                        .into_iter()
                        .filter(|b| b.copies.iter().any(|c| c.sha256.is_some())),
                );
                if last {
                    break;
                }
                page += 1;
            }
        }
        found.sort_by_key(|b| b.started_at);
        Ok(found)
    }

    /// Copies a backup to a file; answers its path.
    pub fn download(&self, backup: &Backup, to: &Path, raw: bool, observer: &dyn Observer, cancel: &Cancel) -> Result<PathBuf> {
        download(&self.engine, backup, to, raw, observer, cancel)
    }

    /// Deletes a backup and its copies.
    pub fn delete(&self, backup: &Backup, cancel: &Cancel) -> Result<Backup> {
        delete(&self.engine, backup, cancel)
    }

    /// Pins or unpins a backup.
    pub fn pin(&self, backup: &Backup, pinned: bool) -> Result<Backup> {
        self.engine.catalogue.set_pinned(&backup.id, pinned)?;
        self.record_backup(if pinned { "backup.pin" } else { "backup.unpin" }, backup)?;
        self.engine.catalogue.backup(&backup.id.to_string())
    }

    /// Sets a backup's note.
    pub fn note(&self, backup: &Backup, note: &str) -> Result<Backup> {
        if note.len() > 10_000 || note.contains('\0') {
            return Err(Error::new(Code::Usage, "note_long").with("max", 10_000));
        }
        self.engine.catalogue.set_note(&backup.id, note)?;
        self.record_backup("backup.note", backup)?;
        self.engine.catalogue.backup(&backup.id.to_string())
    }

    fn record_backup(&self, action: &str, backup: &Backup) -> Result<()> {
        self.engine.record(
            action,
            Subject {
                kind: "backup",
                id: Some(&backup.id),
                name: backup.code.as_str(),
            },
            None,
        )
    }
}
