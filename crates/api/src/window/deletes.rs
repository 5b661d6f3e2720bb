//! Deleting backups: what would vanish is shown first, and exactly that is deleted.

use std::collections::BTreeMap;

use coffre_engine::aim::aim;
use coffre_engine::catalogue::Filter;
use coffre_model::backup::{Backup, BackupState, CopyState};
use coffre_model::{Cancel, Code, Error, Id, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::backups::backup_by_id;
use super::confirmations::Shown;
use super::events::Noun;
use super::{Window, tags};
use crate::Coffre;

/// The most backups that are deleted at once.
const MAX: usize = 1000;

/// The arguments of `preview_delete`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewDelete {
    ids: Vec<Id>,
}

/// The arguments of `delete_backups`.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteBackups {
    ids: Vec<Id>,
    confirmation: String,
}

/// What would vanish.
#[derive(Debug, Serialize, TS)]
pub struct DeletePreview {
    /// How many backups.
    pub backups: usize,
    /// Bytes of all their copies.
    pub stored_bytes: u64,
    /// Verified backups of the same sources that stay.
    pub verified_left: u64,
    /// Why it cannot be done at all.
    pub refusal: Option<Error>,
    /// To hand back to `delete_backups`; good once, for a quarter of an hour.
    pub confirmation: String,
}

/// Each once, in the order of their ids.
fn sorted(mut ids: Vec<Id>) -> Result<Vec<Id>> {
    ids.sort();
    ids.dedup();
    if ids.is_empty() || ids.len() > MAX {
        return Err(Error::new(Code::Usage, "delete_count").with("max", MAX));
    }
    Ok(ids)
}

/// Why one backup may not be deleted, whatever else is.
fn refusal(backup: &Backup) -> Option<Error> {
    let refuse = |text: &'static str| {
        Some(
            Error::new(Code::Refused, text)
                .with("backup", backup.code.as_str())
                .with("source", backup.source.as_str()),
        )
    };
    match backup.state {
        BackupState::Running => refuse("delete_running"),
        BackupState::Deleted => Some(Error::new(Code::NotFound, "already_deleted").with("backup", backup.code.as_str())),
        _ if backup.pinned => refuse("delete_pinned"),
        _ => None,
    }
}

fn verified_of(coffre: &Coffre, source: &Id) -> Result<u64> {
    let filter = Filter {
        source: Some(*source),
        state: Some(BackupState::Verified),
        ..Filter::default()
    };
    Ok(coffre.engine.catalogue.list(&filter, 1, 1)?.total)
}

/// Whether no verified backup of what a source points to now would stay, where there is one.
fn takes_the_last_proof(coffre: &Coffre, source: &Id, chosen: &[Backup]) -> Result<bool> {
    let source = coffre.engine.catalogue.known_source_by_id(source)?;
    let here = aim(&source);
    let proof =
        |b: &&Backup| b.source_id == source.id && b.state == BackupState::Verified && b.aim.as_deref() == Some(here.as_str());
    let going = chosen.iter().filter(proof).count() as u64;
    Ok(going > 0 && coffre.engine.catalogue.proofs(&source)? <= going)
}

/// What would vanish, as things stand now; without a word to confirm it.
fn look(coffre: &Coffre, ids: &[Id]) -> Result<DeletePreview> {
    let chosen = ids.iter().map(|id| backup_by_id(coffre, id)).collect::<Result<Vec<_>>>()?;
    let mut verified: BTreeMap<Id, (u64, &Backup)> = BTreeMap::new();
    for backup in &chosen {
        let entry = verified.entry(backup.source_id).or_insert((0, backup));
        entry.0 += u64::from(backup.state == BackupState::Verified);
    }
    let mut refused = chosen.iter().find_map(refusal);
    let mut left = 0;
    for (source, (going, backup)) in &verified {
        let staying = verified_of(coffre, source)?.saturating_sub(*going);
        left += staying;
        if *going > 0 && (staying == 0 || takes_the_last_proof(coffre, source, &chosen)?) {
            refused.get_or_insert_with(|| {
                Error::new(Code::Refused, "delete_last_verified")
                    .with("backup", backup.code.as_str())
                    .with("source", backup.source.as_str())
            });
        }
    }
    let lying = |state: CopyState| !matches!(state, CopyState::Missing | CopyState::Deleted);
    let copies = chosen.iter().flat_map(|backup| &backup.copies);
    let bytes = copies.filter(|copy| lying(copy.state)).map(|copy| copy.stored_bytes).sum();
    Ok(DeletePreview {
        backups: chosen.len(),
        stored_bytes: bytes,
        verified_left: left,
        refusal: refused,
        confirmation: String::new(),
    })
}

impl Window {
    pub(super) fn preview_delete(&self, PreviewDelete { ids }: PreviewDelete) -> Result<DeletePreview> {
        let coffre = self.coffre()?;
        let ids = sorted(ids)?;
        let shown = look(&coffre, &ids)?;
        let (confirmation, _) = self.lock_confirmations().remember(Shown::Delete { ids }, super::now());
        Ok(DeletePreview { confirmation, ..shown })
    }

    /// Deletes exactly what was shown. Each backup is asked once more whether it may go: what changed since the preview counts.
    pub(super) fn delete_backups(&self, DeleteBackups { ids, confirmation }: DeleteBackups) -> Result<()> {
        let coffre = self.coffre()?;
        let ids = sorted(ids)?;
        self.lock_confirmations()
            .take(&confirmation, super::now(), |shown| match shown {
                Shown::Delete { ids: shown } if *shown == ids => Ok(()),
                _ => Err(Error::new(Code::Refused, "confirmation_other")),
            })?;
        // As a whole, before the first of them goes: two backups may be the last two, and neither of them the last.
        if let Some(refusal) = look(&coffre, &ids)?.refusal {
            return Err(refusal);
        }
        let mut first = None;
        let mut done: usize = 0;
        for id in &ids {
            let deleted = backup_by_id(&coffre, id).and_then(|backup| coffre.delete(&backup, &Cancel::new()));
            match deleted {
                Ok(_) => done += 1,
                // The others go on: each stands for itself, and the person hears of the first that stayed.
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        self.changed(tags(&[
            Noun::Backups,
            Noun::Overview,
            Noun::Sources,
            Noun::Destinations,
            Noun::Plans,
            Noun::Journal,
            Noun::Health,
        ]));
        match first {
            None => Ok(()),
            Some(error) => Err(error.or_with("deleted_count", done).or_with("asked_count", ids.len())),
        }
    }
}
