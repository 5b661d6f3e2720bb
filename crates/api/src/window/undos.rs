//! Taking a restore in place of live data back; what is kept for that, until it goes; and what a start has to finish.

use std::time::Instant;

use coffre_model::backup::{Backup, BackupState};
use coffre_model::replace::ReplaceWay;
use coffre_model::restore::{Restore, RestoreMode, RestoreState};
use coffre_model::{Cancel, Code, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use super::commands::{ById, Nothing};
use super::events::Noun;
use super::running::{About, RunningNoun};
use super::sources::{adapter_of, place_of};
use super::{TRY_THE_STUCK, Window, one, tags};
use crate::Coffre;

/// A restore, with what can be done about it now.
#[derive(Debug, Serialize, TS)]
pub struct RestoreDetail {
    /// The restore.
    pub restore: Restore,
    /// The source whose live data it replaced, by its name now.
    pub source: Option<String>,
    /// The kind of database of that source.
    pub adapter: Option<String>,
    /// Where its data is, for a person: without scheme, password and options.
    pub place: String,
    /// The backup that was made of the live data first.
    pub safety: Option<Backup>,
    /// How it can be taken back now: `swap` puts back what is kept, in a moment; `within` restores the safety backup. Nothing where it cannot.
    pub undo: Option<ReplaceWay>,
}

/// Puts together what is known of a restore.
pub(super) fn detail(coffre: &Coffre, restore: Restore) -> Result<RestoreDetail> {
    let catalogue = &coffre.engine.catalogue;
    let source = restore
        .source_id
        .map(|id| catalogue.known_source(&id.to_string()))
        .transpose()?;
    // A safety backup may have been deleted since: then it is no way back any more.
    let safety = match restore.safety_backup_id.map(|id| catalogue.backup(&id.to_string())) {
        Some(Err(error)) if error.code() == Code::NotFound => None,
        other => other.transpose()?,
    };
    let undo = undo_of(coffre, &restore, safety.as_ref())?;
    Ok(RestoreDetail {
        adapter: source.as_ref().map(|source| adapter_of(coffre, source)),
        source: source.map(|source| source.name),
        place: place_of(&restore.target),
        safety,
        undo,
        restore,
    })
}

fn undo_of(coffre: &Coffre, restore: &Restore, safety: Option<&Backup>) -> Result<Option<ReplaceWay>> {
    let (RestoreMode::Replace, RestoreState::Done, Some(source)) = (restore.mode, restore.state, restore.source_id) else {
        return Ok(None);
    };
    let catalogue = &coffre.engine.catalogue;
    // Of several, the newest goes back first: only that one is what is live.
    if catalogue.last_undoable(&source)?.map(|last| last.id) != Some(restore.id) {
        return Ok(None);
    }
    let Some(plan) = catalogue.replacement(&restore.id)?.filter(|plan| plan.existed) else {
        return Ok(None);
    };
    let there = match plan.way {
        ReplaceWay::Swap => restore.kept_until.is_some(),
        ReplaceWay::Within => safety.is_some_and(|backup| backup.state == BackupState::Verified),
    };
    Ok(there.then_some(plan.way))
}

impl Window {
    /// Takes a restore in place of live data back; goes on after the answer. It can be cancelled until the moment of the swap.
    pub(super) fn undo_restore(&self, ById { id }: ById) -> Result<Restore> {
        let coffre = self.coffre()?;
        let RestoreDetail {
            source,
            adapter,
            restore,
            undo,
            ..
        } = detail(&coffre, coffre.restore_row(&id)?)?;
        let about = About {
            noun: RunningNoun::Undo,
            source: source.unwrap_or_else(|| restore.target.clone()),
            source_id: restore.source_id,
            adapter: adapter.unwrap_or_default(),
            plan: None,
            id: Some(id),
        };
        let (window, name) = (self.clone(), about.source.clone());
        self.start(about, move |coffre, observer, cancel| {
            let outcome = coffre.undo(&id, observer, cancel);
            // What is refused before it begins is told to whoever asked.
            if undo.is_some() {
                window.tell_undone(&name, &id, &outcome);
            }
            outcome.map(drop)
        })?;
        coffre.restore_row(&id)
    }

    /// What is kept of replaced data, those first that go first: for an undo, and after an undo what that took away.
    pub(super) fn list_kept(&self, _: Nothing) -> Result<Vec<RestoreDetail>> {
        let coffre = self.coffre()?;
        let kept = coffre.kept_replacements()?;
        kept.into_iter().map(|restore| detail(&coffre, restore)).collect()
    }

    /// Removes what is kept before its time; answers once it is gone.
    pub(super) fn forget_kept(&self, ById { id }: ById) -> Result<Restore> {
        let forgotten = self.coffre()?.forget_kept(&id, &Cancel::new())?;
        let mut changed = tags(&[Noun::Restores, Noun::Health, Noun::Journal]);
        changed.push(one(Noun::Restores, id));
        self.changed(changed);
        Ok(forgotten)
    }

    /// Removes what was kept long enough, and asks again about what could not be finished or taken back: a window lives for weeks. Cheap
    /// where there is nothing.
    pub(super) fn settle(&self, coffre: &Coffre) -> Result<()> {
        let cut_off = coffre.engine.catalogue.unsettled_replacements()?;
        let now = super::now();
        let over = coffre.kept_replacements()?;
        let over = over.iter().filter(|kept| kept.kept_until.is_some_and(|until| until <= now));
        let due: Vec<Id> = cut_off.iter().chain(over).map(|restore| restore.id).collect();
        {
            // What does not answer is not asked at every look.
            let known = self.0.unsettled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let tried = known
                .as_ref()
                .is_some_and(|(ids, at)| *ids == due && at.elapsed() < TRY_THE_STUCK);
            if due.is_empty() || tried {
                return Ok(());
            }
        }
        let left = coffre.settle_replacements(&Cancel::new())?;
        let mut looks = self.lock_looks();
        looks.left.retain(|error| !is_about_one_of(error, &due));
        looks.unsettled = left;
        drop(looks);
        *self.0.unsettled.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((due, Instant::now()));
        self.tell_settled(coffre, &cut_off);
        self.changed(tags(&[
            Noun::Restores,
            Noun::Health,
            Noun::Journal,
            Noun::Backups,
            Noun::Overview,
        ]));
        Ok(())
    }
}

fn is_about_one_of(error: &coffre_model::Error, ids: &[Id]) -> bool {
    error
        .detail("restore")
        .is_some_and(|about| ids.iter().any(|id| id.to_string() == about))
}
