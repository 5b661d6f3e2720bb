//! Drills in the window: a restore rehearsed in sight, like all other work.

use coffre_model::backup::Backup;
use coffre_model::drill::Drill;
use coffre_model::{Cancel, Result};

use super::Window;
use super::backups::backup_by_id;
use super::commands::ById;
use super::running::{About, RunningNoun};
use super::sources::adapter_of;
use crate::Coffre;

impl Window {
    /// Starts to rehearse a backup; it goes on after the answer, under the backup's own id. What it showed is in `show_backup`.
    pub(super) fn drill_backup(&self, ById { id }: ById) -> Result<()> {
        let coffre = self.coffre()?;
        let backup = backup_by_id(&coffre, &id)?;
        let about = about_backup(&coffre, &backup, RunningNoun::Drill)?;
        let window = self.clone();
        self.start(about, move |coffre, observer, cancel| {
            let before = last_of_source(coffre, &backup)?;
            let outcome = coffre.drill(&backup, observer, cancel);
            window.tell_drilled(&backup, before.as_ref(), &outcome);
            outcome.map(drop)
        })
        .map(drop)
    }

    /// Rehearses a backup because it is time to, in sight, and waits for its end.
    pub(super) fn drill_unasked(&self, backup: &Backup, cancelled: &Cancel) -> Result<Drill> {
        let about = about_backup(&*self.coffre()?, backup, RunningNoun::Drill)?;
        self.attend_with(about, cancelled, |coffre, observer, cancel| {
            let before = last_of_source(coffre, backup)?;
            let outcome = coffre.drill_by_schedule(backup, observer, cancel);
            self.tell_drilled(backup, before.as_ref(), &outcome);
            outcome
        })
    }
}

/// The last drill of the backup's source, whichever of its backups that was.
fn last_of_source(coffre: &Coffre, backup: &Backup) -> Result<Option<Drill>> {
    let drills = coffre.engine.catalogue.last_drill_of_each()?;
    Ok(drills.into_iter().find(|drill| drill.source_id == backup.source_id))
}

/// Work on a backup, known under the backup's id.
pub(super) fn about_backup(coffre: &Coffre, backup: &Backup, noun: RunningNoun) -> Result<About> {
    let source = coffre.engine.catalogue.known_source(&backup.source_id.to_string())?;
    Ok(About {
        noun,
        source: backup.source.clone(),
        source_id: Some(backup.source_id),
        adapter: adapter_of(coffre, &source),
        plan: backup.plan.clone(),
        id: Some(backup.id),
    })
}
