//! Replacing live data with a backup, taking that back, and what is kept for it.

use coffre_engine::replace::{self, Job, Safety};
use coffre_engine::restore::What;
use coffre_engine::undo;
use coffre_model::backup::{Backup, Trigger};
use coffre_model::compression::Compression;
use coffre_model::impact::Impact;
use coffre_model::progress::Observer;
use coffre_model::restore::Restore;
use coffre_model::source::Source;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::Coffre;
use crate::backups::{By, Manual};
use crate::restores::From;

/// How a person agreed to a replacement.
#[derive(Clone, Copy, Default)]
pub struct Agreed {
    /// The word of the preview that was shown; nothing where preview and answer were one and the same piece of work.
    pub confirmation: Option<Id>,
    /// Rows may have come or gone since.
    pub rows_may_differ: bool,
}

impl Coffre {
    /// The source whose live data a backup would replace: its own, as it is known now. A file needs one that is named.
    ///
    /// # Errors
    /// `REFUSED` for a source that was removed, or is known from manifests alone; `USAGE` for a file without a source.
    pub fn replaced_source(&self, from: &From, source: Option<&str>) -> Result<Source> {
        match (from, source) {
            (From::Backup(backup), _) => match self.engine.catalogue.source(&backup.source_id.to_string()) {
                Ok(source) if !source.address.is_empty() => Ok(source),
                Ok(source) => Err(replace_source_gone(&source.name)),
                Err(error) if error.code() == Code::NotFound => Err(replace_source_gone(&backup.source)),
                Err(error) => Err(error),
            },
            (From::File(..), Some(name)) => self.source(name),
            (From::File(..), None) => Err(Error::new(Code::Usage, "replace_which_source")),
        }
    }

    /// What replacing a source's live data would mean. Changes nothing.
    pub fn preview_replace(
        &self,
        from: &From,
        source: &Source,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(Restore, Impact)> {
        let estimated = self.restore_estimate(source, from)?;
        replace::preview(&self.engine, &self.what(from)?, source, estimated, observer, cancel)
    }

    /// Replaces a source's live data.
    pub fn replace(
        &self,
        from: &From,
        source: &Source,
        agreed: Agreed,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Restore> {
        let like = match from {
            From::Backup(backup) => Some(backup.as_ref()),
            From::File(..) => None,
        };
        let job = Job {
            what: self.what(from)?,
            safety: self.safety(source, like)?,
            source: source.clone(),
            confirmation: agreed.confirmation,
            rows_may_differ: agreed.rows_may_differ,
        };
        replace::replace(&self.engine, &job, observer, cancel)
    }

    fn what(&self, from: &From) -> Result<What> {
        Ok(match from {
            From::Backup(backup) => What::Backup(backup.clone()),
            From::File(path, key) => What::File(path.clone(), self.keys_for_file(key.as_deref())?),
        })
    }

    /// How the safety backup is made: as the plan of the backup makes its own, else as the source's first plan does; without any, locally, with the
    /// backup's key.
    fn safety(&self, source: &Source, like: Option<&Backup>) -> Result<Safety> {
        let catalogue = &self.engine.catalogue;
        let plans: Vec<_> = catalogue.plans()?.into_iter().filter(|p| p.source_id == source.id).collect();
        let wanted = like.and_then(|b| b.plan_id);
        let plan = plans.iter().find(|p| Some(p.id) == wanted).or(plans.first());
        if let Some(plan) = plan {
            return Ok(Safety {
                destinations: plan
                    .destination_ids
                    .iter()
                    .map(|id| catalogue.known_destination(&id.to_string()))
                    .collect::<Result<_>>()?,
                compression: plan.compression,
                key: plan.key_id.map(|id| catalogue.key(&id.to_string())).transpose()?,
            });
        }
        let key = like.and_then(|b| b.encryption.as_deref());
        Ok(Safety {
            destinations: vec![self.default_destination()?],
            compression: Compression::default(),
            key: key.map(|name| catalogue.key(name)).transpose()?,
        })
    }

    /// How long bringing back a backup of this source took the last time, in milliseconds.
    fn restore_estimate(&self, source: &Source, from: &From) -> Result<Option<u64>> {
        let aim = match from {
            From::Backup(backup) => backup.aim.as_deref(),
            From::File(..) => None,
        };
        let last = self.engine.catalogue.last_restore_of_source(&source.id, aim)?;
        Ok(last
            .and_then(|restore| Some(restore.ended_at? - restore.started_at))
            .and_then(|took| u64::try_from(took.num_milliseconds()).ok()))
    }

    /// The backup that `guard` makes before a command: as a safety backup is made.
    pub fn guard_backup(&self, source: &Source, note: &str, observer: &dyn Observer, cancel: &Cancel) -> Result<Backup> {
        let Safety {
            destinations,
            compression,
            key,
        } = self.safety(source, None)?;
        let by = By::Manual(Box::new(Manual {
            source: source.clone(),
            destinations,
            compression,
            key,
        }));
        self.back_up(by, Trigger::Guard, note, false, observer, cancel)
    }

    /// Takes a replacement back.
    pub fn undo(&self, id: &Id, observer: &dyn Observer, cancel: &Cancel) -> Result<Restore> {
        undo::undo(&self.engine, id, |source| self.safety(source, None), observer, cancel)
    }

    /// Removes what is kept for an undo before its time.
    pub fn forget_kept(&self, id: &Id, cancel: &Cancel) -> Result<Restore> {
        undo::forget(&self.engine, id, cancel)
    }

    /// Replacements whose old data is still kept, those first whose time is over first.
    pub fn kept_replacements(&self) -> Result<Vec<Restore>> {
        self.engine.catalogue.kept_replacements(None)
    }

    /// Finishes or takes back what was cut off, and removes what was kept long enough. Part of every start; the window also asks now and then.
    pub fn settle_replacements(&self, cancel: &Cancel) -> Result<Vec<Error>> {
        undo::settle(&self.engine, cancel)
    }
}

fn replace_source_gone(name: &str) -> Error {
    Error::new(Code::Refused, "replace_source_gone").with("source", name)
}
